"""Does a station that only works, day after day, stay as small as it was?

`python -m station.simulation.experiments.soak --days 30`: people come and go, the link fails now and then,
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
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE, BOB, CAROL
from station.simulation.world import (
    SimulatedWorld,
    SimulationObserver,
    run_simulation,
    shared_memory_directory,
)

DAY_S: Final = 86_400
ARRIVAL_INTERVAL_S: Final = (1_800, 10_800)  # between two cars
STAY_S: Final = (600, 3_600)
LINK_UP_S: Final = (3_600, 30_000)
LINK_DOWN_S: Final = (5, 1_200)
VARIABLES: Final = {"AlignedDataCtrlr.Interval": "900"}


class DayFigures(msgspec.Struct, frozen=True):
    """Figures at the end of a simulated day."""

    number: int
    rss_kib: int
    traced_kib: int  # what Python allocated and still holds; 0 unless it is traced
    state_bytes: int  # the memory, written
    waiting_calls: int  # calls
    entries: int  # of the journal, so far
    journal_bytes: int
    sessions: int  # accounts that the CSMS could close, so far
    elapsed_s: float  # it took


class LedgerCloser(SimulationObserver):
    """Closes each account of the CSMS as soon as it is complete, so that only the station grows."""

    def __init__(self) -> None:
        self.closed_count = 0
        self.complaints: Counter[str] = Counter()
        self.world: SimulatedWorld | None = None

    def on_transaction_event(self, event: TransactionEventRequest) -> None:
        assert self.world is not None
        accounts = self.world.csms.double.ledger.transactions
        for name in [name for name, one in accounts.items() if one.is_complete]:
            self.complaints.update(accounts.pop(name).find_complaints())
            self.closed_count += 1


class SoakExperiment:
    """Some days of work."""

    def __init__(
        self,
        directory: Path,
        days: int,
        on_day: Callable[[DayFigures], None],
        seed: int,
        day_s: float = DAY_S,
    ) -> None:
        self.days: list[DayFigures] = []
        self.complaints: list[str] = []
        self._directory = directory
        self._days_count = days
        self._on_day = on_day
        self._seed = seed
        self._day_s = day_s
        self._world: SimulatedWorld
        self._ledger_closer = LedgerCloser()

    def run(self) -> None:
        """Live them all.

        Raises:
            AssertionError: the CSMS has a complaint.
        """
        run_simulation(self._run_world, self._seed)

    async def _run_world(self) -> None:
        self._world = self._ledger_closer.world = SimulatedWorld(
            self._directory, seed=self._seed, observer=self._ledger_closer, variables=VARIABLES
        )
        await self._world.run(self._run_script)
        self.complaints = [*self._ledger_closer.complaints, *self._world.csms.double.complaints]

    async def _run_script(self) -> None:
        for evse_id in self._world.evses:
            self._schedule_session(evse_id)
        self._schedule_link_loss()
        for number in range(1, self._days_count + 1):
            began = time.perf_counter()
            await trio.sleep(self._day_s)
            self.days.append(self._measure_day(number, time.perf_counter() - began))
            self._on_day(self.days[-1])

    def _schedule_session(self, evse_id: int) -> None:
        world, dice = self._world, self._world.random_source
        stays_s = dice.uniform(*STAY_S)
        wait_s = dice.uniform(*ARRIVAL_INTERVAL_S)

        def comes() -> None:
            ev = SimulatedEv(power_w=dice.choice([22_000, 60_000, 120_000]))
            world.schedule_session(evse_id, dice.choice([ALICE, BOB, CAROL]), ev, stays_s)
            world.event_queue.run_after(stays_s + 30, lambda: self._schedule_session(evse_id))

        world.event_queue.run_after(wait_s, comes)

    def _schedule_link_loss(self) -> None:
        world, dice = self._world, self._world.random_source

        def goes() -> None:
            world.network.switch_mode(dice.choice(["down", "down", "silent"]))
            world.event_queue.run_after(dice.uniform(*LINK_DOWN_S), comes)

        def comes() -> None:
            world.network.switch_mode("up")
            self._schedule_link_loss()

        world.event_queue.run_after(dice.uniform(*LINK_UP_S), goes)

    def _measure_day(self, number: int, seconds: float) -> DayFigures:
        life = self._world.process
        assert life is not None, "the station is not there at the end of a day"
        gc.collect()
        traced, _ = tracemalloc.get_traced_memory()
        return DayFigures(
            number=number,
            rss_kib=read_rss_kib(),
            traced_kib=traced >> 10,
            state_bytes=len(encode_state(life.recorder.state)),
            waiting_calls=len(life.recorder.state.outbox),
            entries=life.recorder.head.seq,
            journal_bytes=sum(one.stat().st_size for one in self._directory.rglob("journal.db*")),
            sessions=self._ledger_closer.closed_count,
            elapsed_s=seconds,
        )


def read_rss_kib() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise OSError("the kernel does not tell VmRSS")


def format_day(day: DayFigures) -> str:
    """A day, for a person."""
    columns = (
        f"day {day.number:3}",
        f"RSS {day.rss_kib / 1024:6.2f} MiB",
        f"traced {day.traced_kib / 1024:5.2f} MiB",
        f"state {day.state_bytes:6} B",
        f"{day.waiting_calls:3} waiting",
        f"{day.sessions:5} sessions",
        f"{day.entries:8} entries",
        f"journal {day.journal_bytes / 2**20:6.1f} MiB",
        f"{day.elapsed_s:5.1f} s",
    )
    return "  ".join(columns)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="station.simulation.experiments.soak", description=__doc__
    )
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="what grew, by place in the code")
    asked = parser.parse_args(arguments)
    if asked.trace:
        tracemalloc.start(10)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=shared_memory_directory(), prefix="soak-") as directory:
        soak = SoakExperiment(
            Path(directory),
            asked.days,
            lambda day: print(format_day(day), flush=True),
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
