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
    found = {}
    for name, body in re.findall(
        r"^```sql\n-- ([^\n]+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    ):
        statements = body.replace("'lake/", f"'{lake}/").split(";")
        found[name] = [one.strip() for one in statements if one.strip()]
    return found


def load_questions(lake: Path) -> dict[str, str]:
    """Those that ask something, the same for both engines."""
    return {name: one for name, [one, *_] in sql_blocks(lake).items() if name not in ENGINES}


def duckdb_answers(lake: Path) -> QueryResults:
    """What DuckDB says."""
    import duckdb

    with duckdb.connect() as engine:
        for statement in sql_blocks(lake)["DuckDB"]:
            engine.execute(statement)
        return {
            name: rows_as_json(engine.execute(question).fetchall())
            for name, question in load_questions(lake).items()
        }


def missing_for_spark() -> str | None:
    """What is missing for Spark; None: nothing."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed: `make spark-tools`"
    home = os.environ.get("JAVA_HOME")
    java = which("java", path=f"{home}/bin") if home else which("java")
    if java is None:
        return "Spark needs Java, on the PATH or in JAVA_HOME"
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', told)
    if found is None or int(found[1]) < JAVA_MIN:
        return f"Spark needs Java {JAVA_MIN} or newer, not {told.partition(chr(10))[0]!r}"
    return None


def spark_answers(lake: Path) -> QueryResults:
    """What Spark says, in local mode, in a process of its own: a JVM does not leave by itself.

    Raises:
        CalledProcessError: it failed; its stderr says why.
    """
    asked = [sys.executable, "-m", "tests.data_lake.spark", str(lake)]
    done = subprocess.run(
        asked, capture_output=True, text=True, check=False, cwd=ROOT, timeout=3_600
    )
    if done.returncode:
        raise RuntimeError(f"Spark: {done.stderr[-4_000:]}")
    answers: QueryResults = json.loads(done.stdout.splitlines()[-1])
    return answers


def rows_as_json(rows: list[tuple[Any, ...]]) -> ResultRows:
    """As JSON can carry it; a decimal without the zeros that its column adds."""
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
    """Without an exponent, and without the zeros that a column adds."""
    return format(value.normalize(), "f")
