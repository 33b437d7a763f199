"""`python -m tests.data_lake --stations 1000`: a month of each, queried with DuckDB and Spark.

Exit code 1 if an answer differs from the truth.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from tests.data_lake.lake import fill_lake
from tests.data_lake.months import GroundTruth
from tests.data_lake.questions import QueryResults, duckdb_answers, missing_for_spark, spark_answers
from tests.data_lake.truth import find_differences


@click.command()
@click.option("--stations", default=100, show_default=True, help="Number of stations.")
@click.option("--days", default=30, show_default=True, help="Days per station.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--lake", type=click.Path(path_type=Path), help="Keep the lake in this new directory."
)
def main(stations: int, days: int, seed: int, lake: Path | None) -> None:
    """Simulate stations, export them, and run the queries of the documentation."""
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:
        wrong = _run_fleet(lake or Path(directory) / "lake", stations, days, seed)
    sys.exit(1 if wrong else 0)


def _run_fleet(lake: Path, stations: int, days: int, seed: int) -> bool:
    started_at = time.perf_counter()
    truths = fill_lake(lake, stations, days, seed, Progress(stations).on_station_done)
    took_s = time.perf_counter() - started_at
    files = list(lake.rglob("*.parquet"))
    click.echo(
        f"{stations} stations, {days} days each, seed {seed}: "
        f"{sum(truth.entry_count for truth in truths)} entries, "
        f"{sum(truth.transaction_count for truth in truths)} transactions, "
        f"{sum(sum(truth.fault_counts.values()) for truth in truths)} faults; {len(files)} files, "
        f"{sum(file.stat().st_size for file in files) / 2**20:.0f} MiB, in {took_s:.0f} s"
    )
    wrong = _query_engine("DuckDB", duckdb_answers, lake, truths)
    missing = missing_for_spark()
    if missing:
        click.echo(f"Spark: not run, {missing}")
        return wrong
    return _query_engine("Spark", spark_answers, lake, truths) or wrong


def _query_engine(
    engine: str, query: Callable[[Path], QueryResults], lake: Path, truths: list[GroundTruth]
) -> bool:
    started_at = time.perf_counter()
    answers = query(lake)
    differences = find_differences(answers, truths)
    counts = ", ".join(f"{name}: {len(rows)} rows" for name, rows in answers.items())
    click.echo(
        f"{engine}: {counts}, in {time.perf_counter() - started_at:.1f} s; "
        f"{len(differences)} differences from the truth"
    )
    for difference in differences[:20]:
        click.echo(f"  {difference}")
    return bool(differences)


class Progress:
    """Prints the number of finished stations on a terminal."""

    def __init__(self, stations: int) -> None:
        self._stations = stations
        self._done = 0

    def on_station_done(self, number: int, truth: GroundTruth) -> None:
        self._done += 1
        if sys.stderr.isatty():
            print(f"\r{self._done} of {self._stations}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
