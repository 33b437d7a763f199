"""Does a station that only works, day after day, stay as small as it was?

`python -m station.simulation.soak --days 30`: people come and go, the link fails now and then,
heartbeats and clock-aligned values are told. Memory is measured once a day.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from journal.state import encode_state
from station.messages.e_transactions import TransactionEventRequest
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB, CAROL
from station.simulation.world import Watcher, World, shared_memory, simulate

DAY_S: Final = 86_400
COMES_S: Final = (1_800, 10_800)  # between two cars
STAYS_S: Final = (600, 3_600)
LINK_GOES_S: Final = (3_600, 30_000)
LINK_STAYS_AWAY_S: Final = (5, 1_200)
VARIABLES: Final = {"AlignedDataCtrlr.Interval": "900"}


class Day(msgspec.Struct, frozen=True):
    """Figures at the end of a simulated day."""

    number: int
    rss_kib: int
    traced_kib: int  # what Python allocated and still holds; 0 unless it is traced
    state_bytes: int  # the memory, written
    waiting: int  # calls
    entries: int  # of the journal, so far
    journal_bytes: int
    sessions: int  # accounts that the CSMS could close, so far
    seconds: float  # it took


class Bookkeeper(Watcher):
    """Closes each account of the CSMS as soon as it is complete, so that only the station grows."""

    def __init__(self) -> None:
        self.closed = 0
        self.complaints: Counter[str] = Counter()
        self.world: World | None = None

    def took(self, event: TransactionEventRequest) -> None:
        assert self.world is not None
        accounts = self.world.csms.double.ledger.accounts
        for name in [name for name, one in accounts.items() if one.closed]:
            self.complaints.update(accounts.pop(name).complaints())
            self.closed += 1


class Soak:
    """Some days of work."""

    def __init__(
        self,
        directory: Path,
        days: int,
        told: Callable[[Day], None],
        seed: int,
        day_s: float = DAY_S,
    ) -> None:
        self.days: list[Day] = []
        self.complaints: list[str] = []
        self._directory = directory
        self._count = days
        self._told = told
        self._seed = seed
        self._day_s = day_s
        self._world: World
        self._bookkeeper = Bookkeeper()

    def run(self) -> None:
        """Live them all.

        Raises:
            AssertionError: the CSMS has a complaint.
        """
        simulate(self._main, self._seed)

    async def _main(self) -> None:
        self._world = self._bookkeeper.world = World(
            self._directory, seed=self._seed, watcher=self._bookkeeper, variables=VARIABLES
        )
        await self._world.run(self._work)
        self.complaints = [*self._bookkeeper.complaints, *self._world.csms.double.complaints]

    async def _work(self) -> None:
        for evse_id in self._world.bays:
            self._somebody_comes(evse_id)
        self._link_goes()
        for number in range(1, self._count + 1):
            began = time.perf_counter()
            await trio.sleep(self._day_s)
            self.days.append(self._measured(number, time.perf_counter() - began))
            self._told(self.days[-1])

    def _somebody_comes(self, evse_id: int) -> None:
        world, dice = self._world, self._world.dice
        stays_s = dice.uniform(*STAYS_S)
        wait_s = dice.uniform(*COMES_S)

        def comes() -> None:
            ev = Ev(power_w=dice.choice([22_000, 60_000, 120_000]))
            world.session(evse_id, dice.choice([ALICE, BOB, CAROL]), ev, stays_s)
            world.agenda.after(stays_s + 30, lambda: self._somebody_comes(evse_id))

        world.agenda.after(wait_s, comes)

    def _link_goes(self) -> None:
        world, dice = self._world, self._world.dice

        def goes() -> None:
            world.lines.switch(dice.choice(["down", "down", "silent"]))
            world.agenda.after(dice.uniform(*LINK_STAYS_AWAY_S), comes)

        def comes() -> None:
            world.lines.switch("up")
            self._link_goes()

        world.agenda.after(dice.uniform(*LINK_GOES_S), goes)

    def _measured(self, number: int, seconds: float) -> Day:
        life = self._world.life
        assert life is not None, "the station is not there at the end of a day"
        gc.collect()
        traced, _ = tracemalloc.get_traced_memory()
        return Day(
            number=number,
            rss_kib=rss_kib(),
            traced_kib=traced >> 10,
            state_bytes=len(encode_state(life.scribe.state)),
            waiting=len(life.scribe.state.outbox),
            entries=life.scribe.head.seq,
            journal_bytes=sum(one.stat().st_size for one in self._directory.rglob("journal.db*")),
            sessions=self._bookkeeper.closed,
            seconds=seconds,
        )


def rss_kib() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise OSError("the kernel does not tell VmRSS")


def line(day: Day) -> str:
    """A day, for a person."""
    columns = (
        f"day {day.number:3}",
        f"RSS {day.rss_kib / 1024:6.2f} MiB",
        f"traced {day.traced_kib / 1024:5.2f} MiB",
        f"state {day.state_bytes:6} B",
        f"{day.waiting:3} waiting",
        f"{day.sessions:5} sessions",
        f"{day.entries:8} entries",
        f"journal {day.journal_bytes / 2**20:6.1f} MiB",
        f"{day.seconds:5.1f} s",
    )
    return "  ".join(columns)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="station.simulation.soak", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="what grew, by place in the code")
    asked = parser.parse_args(arguments)
    if asked.trace:
        tracemalloc.start(10)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=shared_memory(), prefix="soak-") as directory:
        soak = Soak(
            Path(directory),
            asked.days,
            lambda day: print(line(day), flush=True),
            asked.seed,
        )
        soak.run()
    settled = soak.days[min(1, len(soak.days) - 1)]
    grown = soak.days[-1].rss_kib - settled.rss_kib
    print(
        f"{asked.days} days in {time.perf_counter() - began:.0f} s; "
        f"RSS grew by {grown / 1024:+.2f} MiB since day {settled.number}; "
        f"{len(soak.complaints)} complaints of the CSMS"
    )
    for complaint in soak.complaints:
        print(complaint)
    return 1 if soak.complaints else 0


if __name__ == "__main__":
    logging.disable()  # here, for it holds for the whole process
    sys.exit(main(sys.argv[1:]))
