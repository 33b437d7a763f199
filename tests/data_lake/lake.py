"""How do the months of many stations get into one tree?

Each station's journal is written by the real store and exported by the real command, once for each
table; then it is thrown away, for a thousand of them would fill a disk.
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
    """Let the stations live and put them into the lake; what is true of each, by its number.

    `told` hears of each station as it is done.

    Raises:
        ExportFailed: the command did not end with 0.
    """
    truths: dict[int, GroundTruth] = {}
    context = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        months = {
            pool.submit(make_month, lake, number, days, seed): number
            for number in range(1, stations + 1)
        }
        for done in as_completed(months):
            truths[months[done]] = done.result()
            on_station_done(months[done], done.result())
    return [truths[number] for number in sorted(truths)]


class ExportFailed(Exception):
    """What the command said."""


def make_month(lake: Path, number: int, days: int, seed: int) -> GroundTruth:
    """One station, lived, written, exported."""
    lived = SimulatedStation(number, seed)
    entries = lived.simulate_days(days)
    data = lake / f".{lived.identity}"
    data.mkdir(parents=True)
    try:
        with Store.open(
            data / "journal.db",
            event_registry(),
            journal_id_if_new=lived.state.journal_id,
            settings=StoreSettings(grow_bytes=0),
        ) as store:
            for first in range(0, len(entries), BATCH):
                store.append(entries[first : first + BATCH])
        for table in TABLES:
            _export_table(data, table, lake)
    finally:
        shutil.rmtree(data)
    return lived.ground_truth


def _export_table(data: Path, table: str, lake: Path) -> None:
    out = ["--format", "parquet", "--out", str(lake / table), "--key", str(lake / ".key.pem")]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.run_cli(["export", str(data), table, *out])
    if code != 0:
        raise ExportFailed(said.getvalue())
