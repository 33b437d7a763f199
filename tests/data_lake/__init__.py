"""A fleet of simulated stations: their exports as a data lake, queried with DuckDB and Spark.

`months` simulates a station and keeps the truth about it, `lake` exports many of them, `questions`
runs the SQL of the documentation, and `truth` compares the answers.
"""
