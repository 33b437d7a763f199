"""How fast does the journal grow, how much is written for it, and how long does the flash last?

`python -m station.simulation.experiments.growth DIRECTORY`: an idle day and hours of charging on the reference
product, with the settings of the product, on the disk the directory is on. What is written is what
the kernel counts for this process, in whole pages; what a file system adds is in the assumptions.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import trio

from journal.format.segments import find_segments
from journal.maintenance.retention import RetentionLimits, archive_oldest_entries
from journal.storage.connection import PAGE_BYTES, StoreSettings
from journal.storage.reader import Reader
from journal.storage.store import Store
from station.config.station_toml import JournalConfig
from station.runtime.loop.startup import event_registry
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE
from station.simulation.world import SimulatedWorld, run_simulation

PROFILE: Final = "evs-flash-300"
HOUR_S: Final = 3_600
SETTLE_S: Final = 900  # boot and registration, or plugging in, are not what is measured
POWER_W: Final = 120_000
CHARGING_HOURS: Final = 6

EMMC_BYTES: Final = 8_000_000_000
ERASE_CYCLES: Final = 3_000  # program and erase, of MLC flash
WRITE_AMPLIFICATION: Final = 3  # by the flash itself and by the file system's own journal
ENDURANCE_BYTES: Final = (
    EMMC_BYTES * ERASE_CYCLES / WRITE_AMPLIFICATION
)  # bytes a program may write
DAYS_PER_YEAR: Final = 365


class GrowthSample(NamedTuple):
    """What some hours came to."""

    hours: float
    entries: int
    journal_bytes: int  # of rows, as SQLite lays them out
    written_bytes: int  # to the disk, by the kernel's count

    def scaled_to(self, hours: float) -> GrowthSample:
        """The same rate for as long."""
        share = hours / self.hours
        return GrowthSample(
            hours,
            round(self.entries * share),
            round(self.journal_bytes * share),
            round(self.written_bytes * share),
        )


class ArchiveResult(NamedTuple):
    """What the archive makes of entries."""

    entries: int
    file_bytes: int  # they took in the journal's file
    segment_bytes: int
    written_bytes: int

    @property
    def compression_ratio(self) -> float:
        return self.file_bytes / self.segment_bytes


def product_store_settings() -> StoreSettings:
    """As a station.toml that says nothing has it."""
    own = JournalConfig()
    return StoreSettings(own.checkpoint_pages, own.grow_bytes, own.powersafe_overwrite)


def measure_idle(directory: Path, hours: float = 24) -> GrowthSample:
    """Nobody comes; heartbeats go to and fro."""
    return _measure_growth(directory, hours, evs_count=0)


def measure_charging(directory: Path, hours: float = CHARGING_HOURS) -> GrowthSample:
    """One EV charges at a steady power; the difference to an idle station is one EVSE's."""
    return _measure_growth(directory, hours, evs_count=1)


def _measure_growth(directory: Path, hours: float, *, evs_count: int) -> GrowthSample:
    found: list[GrowthSample] = []

    async def main() -> None:
        world = SimulatedWorld(
            directory, seed=0, profile=PROFILE, store_settings=product_store_settings()
        )

        async def work() -> None:
            await trio.sleep(SETTLE_S)
            for evse_id in list(world.evses)[:evs_count]:
                ev = SimulatedEv(power_w=POWER_W, energy_needed_wh=Decimal(POWER_W * 1_000))
                world.schedule_session(evse_id, ALICE, ev, stay_s=(hours + 2) * HOUR_S)
            await trio.sleep(SETTLE_S)
            before = _read_counters(world)
            await trio.sleep(hours * HOUR_S)
            after = _read_counters(world)
            found.append(GrowthSample(hours, *(b - a for a, b in zip(before, after, strict=True))))

        await world.run(work)

    run_simulation(main, seed=0)
    return found[0]


def _read_counters(world: SimulatedWorld) -> tuple[int, int, int]:
    """Entries, their bytes, and bytes written so far; what waits in the log is moved first."""
    assert world.process is not None, "the station lives"
    store = world.process.store
    store.checkpoint()
    return world.process.recorder.head.seq, _used_bytes(store.reader), bytes_written()


def _used_bytes(reader: Reader) -> int:
    """Of the file, without pages that are free."""
    (pages,) = reader.connection.execute("PRAGMA page_count").fetchone()
    (free,) = reader.connection.execute("PRAGMA freelist_count").fetchone()
    return PAGE_BYTES * int(pages - free)


def bytes_written() -> int:
    """Bytes this process has made the kernel write, or will."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise OSError("the kernel does not tell write_bytes")


def archive_journal(directory: Path) -> ArchiveResult:
    """Archive all that a life left in this directory."""
    [path] = directory.rglob("journal.db")
    with Reader.open(path, event_registry()) as reader:
        journal_id = reader.journal_id
    with Store.open(
        path, event_registry(), journal_id_if_new=journal_id, settings=product_store_settings()
    ) as store:
        head = store.head
        assert head.at is not None, "somebody lived here"
        limits = RetentionLimits(head.seq, (), head.at + timedelta(days=1))
        file_bytes, before = _used_bytes(store.reader), bytes_written()
        entries = 0
        while moved := archive_oldest_entries(store, path, limits, only_if_worthwhile=False):
            entries += moved.entry_count
        store.checkpoint()
        size = sum(one.path.stat().st_size for one in find_segments(path, journal_id))
        return ArchiveResult(entries, file_bytes, size, bytes_written() - before)


def charging_day(
    idle_growth: GrowthSample, charging_growth: GrowthSample, hours: float
) -> GrowthSample:
    """A day with so many hours of charging, of all EVSEs together."""
    idle_day, busy = idle_growth.scaled_to(24), charging_growth.scaled_to(hours)
    while_charging = idle_growth.scaled_to(hours)  # counted in `charge` already
    return GrowthSample(
        24,
        idle_day.entries + busy.entries - while_charging.entries,
        idle_day.journal_bytes + busy.journal_bytes - while_charging.journal_bytes,
        idle_day.written_bytes + busy.written_bytes - while_charging.written_bytes,
    )


def format_row(
    name: str, growth: GrowthSample, archive_result: ArchiveResult, *, show_lifetime: bool = True
) -> str:
    """A row of the README's table."""
    share = growth.entries / archive_result.entries
    kept = share * archive_result.segment_bytes
    wrote = (
        growth.written_bytes + share * archive_result.written_bytes
    )  # once now, once for the archive
    years = ENDURANCE_BYTES / (wrote * 24 / growth.hours * DAYS_PER_YEAR)
    cells = (
        name,
        f"{growth.entries:,}",
        f"{growth.journal_bytes / 1000:,.0f} kB",
        f"{kept / 1000:,.0f} kB",
        f"{wrote / 1e6:,.1f} MB",
        f"{years:,.0f} years" if show_lifetime else "",
    )
    return f"| {' | '.join(cells)} |"


def format_report(
    idle_growth: GrowthSample, charging_growth: GrowthSample, archive_result: ArchiveResult
) -> list[str]:
    """The table, and what the archive does."""
    return [
        "| | entries | journal | archived | written | 8 GB of eMMC last |",
        "|---|---|---|---|---|---|",
        format_row(
            "hour of charging, one EVSE",
            charging_growth.scaled_to(1),
            archive_result,
            show_lifetime=False,
        ),
        format_row("idle day", idle_growth.scaled_to(24), archive_result),
        format_row(
            "day with 6 hours of charging",
            charging_day(idle_growth, charging_growth, 6),
            archive_result,
        ),
        format_row(
            "day with both EVSEs charging throughout",
            charging_day(idle_growth, charging_growth, 48),
            archive_result,
        ),
        "",
        f"Archive: {archive_result.entries:,} entries, {archive_result.file_bytes / archive_result.entries:.0f} bytes each in "
        f"the journal, {archive_result.segment_bytes / archive_result.entries:.1f} in segments, a "
        f"{archive_result.compression_ratio:.0f}th; {archive_result.written_bytes / archive_result.entries:.0f} bytes written for each.",
    ]


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="station.simulation.experiments.growth", description=__doc__
    )
    parser.add_argument("directory", type=Path, nargs="?", default=Path(), help="on a real disk")
    parser.add_argument("--hours", type=float, default=CHARGING_HOURS, help="of charging")
    parser.add_argument("--idle-hours", type=float, default=24)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.directory, prefix="growth-") as directory:
        root = Path(directory)
        for name in ("idle", "charging"):
            (root / name).mkdir()
        rest = measure_idle(root / "idle", asked.idle_hours)
        charge = measure_charging(root / "charging", asked.hours)
        if not charge.written_bytes:
            print(f"{root}: not on a disk: the kernel counts nothing there", file=sys.stderr)
            return 2
        print("\n".join(format_report(rest, charge, archive_journal(root / "charging"))))
    return 0


if __name__ == "__main__":
    logging.disable()  # here, for it holds for the whole process
    sys.exit(main(sys.argv[1:]))
