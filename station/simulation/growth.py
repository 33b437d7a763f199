"""How fast does the journal grow, how much is written for it, and how long does the flash last?

`python -m station.simulation.growth DIRECTORY`: an idle day and hours of charging on the reference
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

from journal.reader import Reader
from journal.retention import Limits, archive
from journal.segments import segments_beside
from journal.store import PAGE_BYTES, Store, StoreSettings
from station.config import JournalConfig
from station.runtime.memory import registry
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE
from station.simulation.world import World, simulate

PROFILE: Final = "evs-flash-300"
HOUR_S: Final = 3_600
SETTLES_S: Final = 900  # boot and registration, or plugging in, are not what is measured
POWER_W: Final = 120_000
HOURS: Final = 6

EMMC_BYTES: Final = 8_000_000_000
CYCLES: Final = 3_000  # program and erase, of MLC flash
AMPLIFICATION: Final = 3  # by the flash itself and by the file system's own journal
ENDURANCE: Final = EMMC_BYTES * CYCLES / AMPLIFICATION  # bytes a program may write
YEAR: Final = 365


class Grown(NamedTuple):
    """What some hours came to."""

    hours: float
    entries: int
    journal_bytes: int  # of rows, as SQLite lays them out
    written_bytes: int  # to the disk, by the kernel's count

    def of(self, hours: float) -> Grown:
        """The same rate for as long."""
        share = hours / self.hours
        return Grown(
            hours,
            round(self.entries * share),
            round(self.journal_bytes * share),
            round(self.written_bytes * share),
        )


class Archived(NamedTuple):
    """What the archive makes of entries."""

    entries: int
    file_bytes: int  # they took in the journal's file
    segment_bytes: int
    written_bytes: int

    @property
    def ratio(self) -> float:
        return self.file_bytes / self.segment_bytes


def product_settings() -> StoreSettings:
    """As a station.toml that says nothing has it."""
    own = JournalConfig()
    return StoreSettings(own.checkpoint_pages, own.grow_bytes, own.powersafe_overwrite)


def idle(directory: Path, hours: float = 24) -> Grown:
    """Nobody comes; heartbeats go to and fro."""
    return _lived(directory, hours, cars=0)


def charging(directory: Path, hours: float = HOURS) -> Grown:
    """One EV charges at a steady power; the difference to an idle station is one EVSE's."""
    return _lived(directory, hours, cars=1)


def _lived(directory: Path, hours: float, *, cars: int) -> Grown:
    found: list[Grown] = []

    async def main() -> None:
        world = World(directory, seed=0, profile=PROFILE, settings=product_settings())

        async def work() -> None:
            await trio.sleep(SETTLES_S)
            for evse_id in list(world.bays)[:cars]:
                ev = Ev(power_w=POWER_W, needs_wh=Decimal(POWER_W * 1_000))
                world.session(evse_id, ALICE, ev, stays_s=(hours + 2) * HOUR_S)
            await trio.sleep(SETTLES_S)
            before = _counted(world)
            await trio.sleep(hours * HOUR_S)
            after = _counted(world)
            found.append(Grown(hours, *(b - a for a, b in zip(before, after, strict=True))))

        await world.run(work)

    simulate(main, seed=0)
    return found[0]


def _counted(world: World) -> tuple[int, int, int]:
    """Entries, their bytes, and bytes written so far; what waits in the log is moved first."""
    assert world.life is not None, "the station lives"
    store = world.life.store
    store.checkpoint()
    return world.life.scribe.head.seq, _bytes_of(store.reader), written()


def _bytes_of(reader: Reader) -> int:
    """Of the file, without pages that are free."""
    (pages,) = reader.connection.execute("PRAGMA page_count").fetchone()
    (free,) = reader.connection.execute("PRAGMA freelist_count").fetchone()
    return PAGE_BYTES * int(pages - free)


def written() -> int:
    """Bytes this process has made the kernel write, or will."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise OSError("the kernel does not tell write_bytes")


def archived(directory: Path) -> Archived:
    """Archive all that a life left in this directory."""
    [path] = directory.rglob("journal.db")
    with Reader.open(path, registry()) as reader:
        journal_id = reader.journal_id
    with Store.open(
        path, registry(), journal_id_if_new=journal_id, settings=product_settings()
    ) as store:
        head = store.head
        assert head.at is not None, "somebody lived here"
        limits = Limits(head.seq, (), head.at + timedelta(days=1))
        file_bytes, before = _bytes_of(store.reader), written()
        entries = 0
        while moved := archive(store, path, limits, worth=False):
            entries += moved.entries
        store.checkpoint()
        size = sum(one.path.stat().st_size for one in segments_beside(path, journal_id))
        return Archived(entries, file_bytes, size, written() - before)


def day_of(rest: Grown, charge: Grown, hours: float) -> Grown:
    """A day with so many hours of charging, of all EVSEs together."""
    idle_day, busy = rest.of(24), charge.of(hours)
    while_charging = rest.of(hours)  # counted in `charge` already
    return Grown(
        24,
        idle_day.entries + busy.entries - while_charging.entries,
        idle_day.journal_bytes + busy.journal_bytes - while_charging.journal_bytes,
        idle_day.written_bytes + busy.written_bytes - while_charging.written_bytes,
    )


def row(name: str, grown: Grown, moved: Archived, *, lasts: bool = True) -> str:
    """A row of the README's table."""
    share = grown.entries / moved.entries
    kept = share * moved.segment_bytes
    wrote = grown.written_bytes + share * moved.written_bytes  # once now, once for the archive
    years = ENDURANCE / (wrote * 24 / grown.hours * YEAR)
    cells = (
        name,
        f"{grown.entries:,}",
        f"{grown.journal_bytes / 1000:,.0f} kB",
        f"{kept / 1000:,.0f} kB",
        f"{wrote / 1e6:,.1f} MB",
        f"{years:,.0f} years" if lasts else "",
    )
    return f"| {' | '.join(cells)} |"


def told(rest: Grown, charge: Grown, moved: Archived) -> list[str]:
    """The table, and what the archive does."""
    return [
        "| | entries | journal | archived | written | 8 GB of eMMC last |",
        "|---|---|---|---|---|---|",
        row("hour of charging, one EVSE", charge.of(1), moved, lasts=False),
        row("idle day", rest.of(24), moved),
        row("day with 6 hours of charging", day_of(rest, charge, 6), moved),
        row("day with both EVSEs charging throughout", day_of(rest, charge, 48), moved),
        "",
        f"Archive: {moved.entries:,} entries, {moved.file_bytes / moved.entries:.0f} bytes each in "
        f"the journal, {moved.segment_bytes / moved.entries:.1f} in segments, a "
        f"{moved.ratio:.0f}th; {moved.written_bytes / moved.entries:.0f} bytes written for each.",
    ]


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="station.simulation.growth", description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", default=Path(), help="on a real disk")
    parser.add_argument("--hours", type=float, default=HOURS, help="of charging")
    parser.add_argument("--idle-hours", type=float, default=24)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.directory, prefix="growth-") as directory:
        root = Path(directory)
        for name in ("idle", "charging"):
            (root / name).mkdir()
        rest = idle(root / "idle", asked.idle_hours)
        charge = charging(root / "charging", asked.hours)
        if not charge.written_bytes:
            print(f"{root}: not on a disk: the kernel counts nothing there", file=sys.stderr)
            return 2
        print("\n".join(told(rest, charge, archived(root / "charging"))))
    return 0


if __name__ == "__main__":
    logging.disable()  # here, for it holds for the whole process
    sys.exit(main(sys.argv[1:]))
