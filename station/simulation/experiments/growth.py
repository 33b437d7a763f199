"""Growth of the journal, bytes written to the disk, and the resulting life of the flash.

`python -m station.simulation.experiments.growth DIRECTORY` simulates an idle day and hours of
charging of the reference product, with the settings of the product, on the disk of that directory.
Written bytes are what the kernel counts for this process, in whole pages; what a file system adds
is in the assumptions (`WRITE_AMPLIFICATION`).
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
from station.config.file_tables import JournalConfig
from station.runtime.loop.startup import event_registry
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE
from station.simulation.world import SimulatedWorld, run_simulation

PROFILE: Final = "evs-flash-300"
HOUR_S: Final = 3_600
SETTLE_S: Final = 900  # excludes boot and registration, then plugging in, from the measurement
POWER_W: Final = 120_000
CHARGING_HOURS: Final = 6

EMMC_BYTES: Final = 8_000_000_000
ERASE_CYCLES: Final = 3_000  # program and erase, of MLC flash
WRITE_AMPLIFICATION: Final = 3  # by the flash itself and by the file system's own journal
ENDURANCE_BYTES: Final = EMMC_BYTES * ERASE_CYCLES / WRITE_AMPLIFICATION  # a program may write
DAYS_PER_YEAR: Final = 365


class GrowthSample(NamedTuple):
    """Growth in some hours."""

    hours: float
    entries: int
    journal_bytes: int  # of pages in use
    written_bytes: int  # to the disk, by the kernel's count

    def scaled_to(self, hours: float) -> GrowthSample:
        """The growth in `hours` at the same rate."""
        share = hours / self.hours
        return GrowthSample(
            hours,
            round(self.entries * share),
            round(self.journal_bytes * share),
            round(self.written_bytes * share),
        )


class ArchiveResult(NamedTuple):
    """Size of entries before and after archiving."""

    entries: int
    file_bytes: int  # in the journal's file
    segment_bytes: int
    written_bytes: int

    @property
    def compression_ratio(self) -> float:
        return self.file_bytes / self.segment_bytes


def product_store_settings() -> StoreSettings:
    """The settings of a station.toml without [journal]."""
    config = JournalConfig()
    return StoreSettings(config.checkpoint_pages, config.grow_bytes, config.powersafe_overwrite)


def measure_idle(directory: Path, hours: float = 24) -> GrowthSample:
    """Growth of an idle station, which only exchanges heartbeats."""
    return _measure_growth(directory, hours, evs_count=0)


def measure_charging(directory: Path, hours: float = CHARGING_HOURS) -> GrowthSample:
    """Growth while one EV charges at constant power; the difference to idle is that of one EVSE."""
    return _measure_growth(directory, hours, evs_count=1)


def _measure_growth(directory: Path, hours: float, *, evs_count: int) -> GrowthSample:
    samples: list[GrowthSample] = []

    async def main() -> None:
        world = SimulatedWorld(
            directory, seed=0, profile=PROFILE, store_settings=product_store_settings()
        )

        async def run_script() -> None:
            await trio.sleep(SETTLE_S)
            for evse_id in list(world.evses)[:evs_count]:
                ev = SimulatedEv(power_w=POWER_W, energy_needed_wh=Decimal(POWER_W * 1_000))
                world.schedule_session(evse_id, ALICE, ev, stay_s=(hours + 2) * HOUR_S)
            await trio.sleep(SETTLE_S)
            before = _read_counters(world)
            await trio.sleep(hours * HOUR_S)
            after = _read_counters(world)
            growth = (end - start for start, end in zip(before, after, strict=True))
            samples.append(GrowthSample(hours, *growth))

        await world.run(run_script)

    run_simulation(main, seed=0)
    return samples[0]


def _read_counters(world: SimulatedWorld) -> tuple[int, int, int]:
    """Entries, bytes in the file and bytes written so far, after a checkpoint of the WAL."""
    assert world.process is not None, "the station does not run"
    store = world.process.store
    store.checkpoint()
    return world.process.recorder.head.seq, _used_bytes(store.reader), bytes_written()


def _used_bytes(reader: Reader) -> int:
    """Bytes of the file without free pages."""
    (pages,) = reader.connection.execute("PRAGMA page_count").fetchone()
    (free,) = reader.connection.execute("PRAGMA freelist_count").fetchone()
    return PAGE_BYTES * int(pages - free)


def bytes_written() -> int:
    """Bytes that this process caused the kernel to write, now or later."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise OSError("the kernel does not report write_bytes")


def archive_journal(directory: Path) -> ArchiveResult:
    """Archive all entries of the journal in this directory."""
    [path] = directory.rglob("journal.db")
    with Reader.open(path, event_registry()) as reader:
        journal_id = reader.journal_id
    with Store.open(
        path, event_registry(), journal_id_if_new=journal_id, settings=product_store_settings()
    ) as store:
        head = store.head
        assert head.at is not None, "the journal is empty"
        limits = RetentionLimits(head.seq, (), head.at + timedelta(days=1))
        file_bytes, before = _used_bytes(store.reader), bytes_written()
        entries = 0
        while moved := archive_oldest_entries(store, path, limits, only_if_worthwhile=False):
            entries += moved.entry_count
        store.checkpoint()
        segment_bytes = sum(
            segment.path.stat().st_size for segment in find_segments(path, journal_id)
        )
        return ArchiveResult(entries, file_bytes, segment_bytes, bytes_written() - before)


def charging_day(
    idle_growth: GrowthSample, charging_growth: GrowthSample, hours: float
) -> GrowthSample:
    """Growth of a day with so many hours of charging, of all EVSEs together."""
    idle_day, charging = idle_growth.scaled_to(24), charging_growth.scaled_to(hours)
    idle_share = idle_growth.scaled_to(hours)  # included in `charging`
    return GrowthSample(
        24,
        idle_day.entries + charging.entries - idle_share.entries,
        idle_day.journal_bytes + charging.journal_bytes - idle_share.journal_bytes,
        idle_day.written_bytes + charging.written_bytes - idle_share.written_bytes,
    )


def format_row(
    name: str, growth: GrowthSample, archive_result: ArchiveResult, *, show_lifetime: bool = True
) -> str:
    """A row of the table in the README."""
    share = growth.entries / archive_result.entries
    archived_bytes = share * archive_result.segment_bytes
    # Each entry is written to the journal, and later to the archive.
    total_bytes = growth.written_bytes + share * archive_result.written_bytes
    years = ENDURANCE_BYTES / (total_bytes * 24 / growth.hours * DAYS_PER_YEAR)
    cells = (
        name,
        f"{growth.entries:,}",
        f"{growth.journal_bytes / 1000:,.0f} kB",
        f"{archived_bytes / 1000:,.0f} kB",
        f"{total_bytes / 1e6:,.1f} MB",
        f"{years:,.0f} years" if show_lifetime else "",
    )
    return f"| {' | '.join(cells)} |"


def format_report(
    idle_growth: GrowthSample, charging_growth: GrowthSample, archive_result: ArchiveResult
) -> list[str]:
    """The table of growth, and a line about the archive."""
    archived = archive_result.entries
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
        f"Archive: {archived:,} entries, {archive_result.file_bytes / archived:.0f} bytes each in "
        f"the journal, {archive_result.segment_bytes / archived:.1f} in segments, a "
        f"{archive_result.compression_ratio:.0f}th; "
        f"{archive_result.written_bytes / archived:.0f} bytes written for each.",
    ]


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="station.simulation.experiments.growth", description=__doc__
    )
    parser.add_argument("directory", type=Path, nargs="?", default=Path(), help="on a real disk")
    parser.add_argument("--hours", type=float, default=CHARGING_HOURS, help="of charging")
    parser.add_argument("--idle-hours", type=float, default=24)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="growth-") as directory:
        root = Path(directory)
        for name in ("idle", "charging"):
            (root / name).mkdir()
        idle = measure_idle(root / "idle", options.idle_hours)
        charging = measure_charging(root / "charging", options.hours)
        if not charging.written_bytes:
            print(f"{root}: not on a disk; the kernel counts no bytes there", file=sys.stderr)
            return 2
        print("\n".join(format_report(idle, charging, archive_journal(root / "charging"))))
    return 0


if __name__ == "__main__":
    logging.disable()  # only here: it affects the whole process
    sys.exit(main(sys.argv[1:]))
