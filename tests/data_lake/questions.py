"""Runs the SQL of station/history/README.md over a lake with DuckDB and Spark.

The SQL is read from that page, so the page is what is tested. Each block of SQL begins with a
comment that names it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "station" / "history" / "README.md"
ENGINES: Final = ("DuckDB", "Spark")
SPARK_HEAP: Final = "2g"
JAVA_MIN: Final = 17

ResultRows = list[list[Any]]
QueryResults = dict[str, ResultRows]  # question -> rows; days and decimals as text


def sql_blocks(lake: Path) -> dict[str, list[str]]:
    """The statements of each block of SQL in the README, by its name, over this lake."""
    text = README.read_text(encoding="utf-8")
    blocks = {}
    for name, body in re.findall(
        r"^```sql\n-- ([^\n]+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    ):
        statements = body.replace("'lake/", f"'{lake}/").split(";")
        blocks[name] = [statement.strip() for statement in statements if statement.strip()]
    return blocks


def load_questions(lake: Path) -> dict[str, str]:
    """The queries, which are the same for both engines, by name."""
    return {name: query for name, [query, *_] in sql_blocks(lake).items() if name not in ENGINES}


def duckdb_answers(lake: Path) -> QueryResults:
    """The answers of DuckDB."""
    import duckdb

    with duckdb.connect() as engine:
        for statement in sql_blocks(lake)["DuckDB"]:
            engine.execute(statement)
        return {
            name: rows_as_json(engine.execute(question).fetchall())
            for name, question in load_questions(lake).items()
        }


def missing_for_spark() -> str | None:
    """What is missing to run Spark, None if nothing."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed: `make spark-tools`"
    home = os.environ.get("JAVA_HOME")
    java = which("java", path=f"{home}/bin") if home else which("java")
    if java is None:
        return "Spark needs Java, on the PATH or in JAVA_HOME"
    version = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', version)
    if match is None or int(match[1]) < JAVA_MIN:
        return f"Spark needs Java {JAVA_MIN} or newer, not {version.partition(chr(10))[0]!r}"
    return None


def spark_answers(lake: Path) -> QueryResults:
    """The answers of Spark in local mode, in a process of its own: a JVM does not end by itself.

    Raises:
        RuntimeError: the process failed; the message has the end of its stderr.
    """
    command = [sys.executable, "-m", "tests.data_lake.spark", str(lake)]
    completed = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=3_600
    )
    if completed.returncode:
        raise RuntimeError(f"Spark: {completed.stderr[-4_000:]}")
    answers: QueryResults = json.loads(completed.stdout.splitlines()[-1])
    return answers


def rows_as_json(rows: list[tuple[Any, ...]]) -> ResultRows:
    """Rows as JSON values; decimals without the zeros that their column adds."""
    return [[_json_value(value) for value in row] for row in rows]


def _json_value(value: Any) -> Any:
    match value:
        case Decimal():
            return format_plain(value)
        case date():
            return value.isoformat()
        case _:
            return value


def format_plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    return format(value.normalize(), "f")
