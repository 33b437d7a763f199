"""`python -m tests.data_lake.spark LAKE`: the answers of Apache Spark, as one line of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from pyspark.sql import SparkSession

from tests.data_lake.questions import SPARK_HEAP, load_questions, rows_as_json, sql_blocks

SPARK_SETTINGS: Final = {
    "spark.ui.enabled": "false",
    "spark.driver.memory": SPARK_HEAP,
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # starts faster
    "spark.sql.codegen.wholeStage": "false",  # not worth it for three queries
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
}


def main(lake: Path) -> None:
    builder = SparkSession.builder.master("local[2]")
    for name, value in SPARK_SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.config("spark.sql.warehouse.dir", str(lake / ".warehouse")).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    for statement in sql_blocks(lake)["Spark"]:
        spark.sql(statement)
    answers = {
        name: rows_as_json([tuple(row) for row in spark.sql(question).collect()])
        for name, question in load_questions(lake).items()
    }
    spark.stop()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
