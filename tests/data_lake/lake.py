"""Fills a directory tree with the exports of many stations.

Each station's journal is written by the real store and exported by the real command, once for each
table. Then the journal is deleted: a thousand of them would fill a disk.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from station import cli
from station.runtime.loop.startup import event_registry
from tests.data_lake.months import GroundTruth, SimulatedStation

TABLES: Final = ("transactions", "states", "faults")
BATCH: Final = 256  # entries in one commit


def fill_lake(
    lake: Path,
    stations: int,
    days: int,
    seed: int,
    on_station_done: Callable[[int, GroundTruth], None],
) -> list[GroundTruth]:
    """Simulate and export the stations; returns the truth about each, in order of their numbers.

    `on_station_done` is called for each finished station.

    Raises:
        ExportFailed: the exit code of the command is not 0.
    """
    truths: dict[int, GroundTruth] = {}
    context = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        months = {
            pool.submit(make_month, lake, number, days, seed): number
            for number in range(1, stations + 1)
        }
        for month in as_completed(months):
            truths[months[month]] = month.result()
            on_station_done(months[month], month.result())
    return [truths[number] for number in sorted(truths)]


class ExportFailed(Exception):
    """`station export` failed; the message is its output."""


def make_month(lake: Path, number: int, days: int, seed: int) -> GroundTruth:
    """Simulate, write and export one station."""
    station = SimulatedStation(number, seed)
    entries = station.simulate_days(days)
    data = lake / f".{station.identity}"
    data.mkdir(parents=True)
    try:
        with Store.open(
            data / "journal.db",
            event_registry(),
            journal_id_if_new=station.state.journal_id,
            settings=StoreSettings(grow_bytes=0),
        ) as store:
            for first in range(0, len(entries), BATCH):
                store.append(entries[first : first + BATCH])
        for table in TABLES:
            _export_table(data, table, lake)
    finally:
        shutil.rmtree(data)
    return station.ground_truth


def _export_table(data: Path, table: str, lake: Path) -> None:
    out = ["--format", "parquet", "--out", str(lake / table), "--key", str(lake / ".key.pem")]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = cli.run_cli(["export", str(data), table, *out])
    if code != 0:
        raise ExportFailed(output.getvalue())
