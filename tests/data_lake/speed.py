"""`python -m tests.data_lake.speed --entries 1000000`: CPU time and memory of exports.

A journal of that many entries is made (or given with --journal), and each table exported in each
format by a process of its own. CPU time is measured, because the machine may be busy otherwise.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import click

from journal.storage.connection import StoreSettings
from journal.storage.reader import Reader
from journal.storage.store import Store
from station.history.export.tables import TABLE_COLUMNS
from station.runtime.loop.startup import event_registry
from tests.data_lake.lake import BATCH
from tests.data_lake.months import SimulatedStation

ENTRIES_A_DAY: Final = 350  # about as many as a station of the fleet
FORMATS: Final = ("csv", "jsonl", "parquet")


class ProcessUsage(NamedTuple):
    """The resources used by one process."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    exit_code: int


@click.command()
@click.option(
    "--entries", default=1_000_000, show_default=True, help="Number of entries, approximately."
)
@click.option(
    "--journal", type=click.Path(path_type=Path, exists=True), help="An existing data directory."
)
def main(entries: int, journal: Path | None) -> None:
    """Measure each table in each format."""
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="speed-") as directory:
        data = journal or _make_journal(Path(directory) / "data", entries)
        with Reader.open(data / "journal.db", event_registry()) as reader:
            entry_count = reader.read_head().seq
        click.echo(f"{entry_count} entries")
        baseline = _measure_command([])
        click.echo(
            f"{'(the command alone)':27} {baseline.cpu_s:7.2f} s CPU {baseline.peak_mib:20.0f} MiB"
        )
        for table in TABLE_COLUMNS:
            for format in FORMATS:
                _print_export_speed(
                    table, format, data, Path(directory) / f"{table}-{format}", entry_count
                )


def _print_export_speed(table: str, format: str, data: Path, out: Path, entry_count: int) -> None:
    key = str(out.with_name("key.pem"))
    arguments = ["export", str(data), table, "--format", format, "--out", str(out), "--key", key]
    usage = _measure_command(arguments)
    if usage.exit_code:
        sys.exit(f"{table} {format}: exit code {usage.exit_code}")
    click.echo(
        f"{table:17} {format:9} {usage.cpu_s:7.2f} s CPU {usage.wall_s:8.2f} s "
        f"{entry_count / usage.cpu_s:9.0f} entries/s {usage.peak_mib:6.0f} MiB"
    )


CHILD_PROGRAM: Final = """
import sys, time
from station import cli
code = cli.run_cli(sys.argv[1:]) if sys.argv[1:] else 0
with open("/proc/self/status") as status:  # not getrusage, which includes the parent's
    [peak] = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(code, time.process_time(), peak)
"""


def _measure_command(arguments: list[str]) -> ProcessUsage:
    started_at = time.perf_counter()
    completed = subprocess.run(
        [sys.executable, "-c", CHILD_PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    exit_code, cpu_s, peak_kib = completed.stdout.splitlines()[-1].split()
    return ProcessUsage(
        float(cpu_s), time.perf_counter() - started_at, int(peak_kib) / 1024, int(exit_code)
    )


def _make_journal(data: Path, entries: int) -> Path:
    station = SimulatedStation(1, 0)
    journal_entries = station.simulate_days(-(-entries // ENTRIES_A_DAY))
    data.mkdir()
    with Store.open(
        data / "journal.db",
        event_registry(),
        journal_id_if_new=station.state.journal_id,
        settings=StoreSettings(grow_bytes=0),
    ) as store:
        for first in range(0, len(journal_entries), BATCH):
            store.append(journal_entries[first : first + BATCH])
            if store.is_checkpoint_due:
                store.checkpoint()
    return data


if __name__ == "__main__":
    main()
