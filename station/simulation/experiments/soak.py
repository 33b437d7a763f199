"""Soak run: days of normal operation, with the memory measured once a day.

`python -m station.simulation.experiments.soak --days 30`: sessions come and go, the link fails now
and then, heartbeats and clock-aligned values are sent. Neither memory nor state may grow.
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
ARRIVAL_INTERVAL_S: Final = (1_800, 10_800)  # between two EVs
STAY_S: Final = (600, 3_600)
LINK_UP_S: Final = (3_600, 30_000)
LINK_DOWN_S: Final = (5, 1_200)
VARIABLES: Final = {"AlignedDataCtrlr.Interval": "900"}


class DayFigures(msgspec.Struct, frozen=True):
    """Figures at the end of a simulated day."""

    number: int
    rss_kib: int
    traced_kib: int  # allocated by Python; 0 unless traced
    state_bytes: int  # of the encoded state
    waiting_calls: int
    entries: int  # of the journal, so far
    journal_bytes: int
    sessions: int  # complete transactions of the CSMS, so far
    elapsed_s: float  # real time of this day


class LedgerCloser(SimulationObserver):
    """Checks and removes complete transactions of the ledger, so that only the station grows."""

    def __init__(self) -> None:
        self.closed_count = 0
        self.complaints: Counter[str] = Counter()
        self.world: SimulatedWorld | None = None

    def on_transaction_event(self, event: TransactionEventRequest) -> None:
        assert self.world is not None
        records = self.world.csms.double.ledger.transactions
        complete = [name for name, record in records.items() if record.is_complete]
        for transaction_id in complete:
            self.complaints.update(records.pop(transaction_id).find_complaints())
            self.closed_count += 1


class SoakExperiment:
    """Some days of operation.

    Attributes:
        days: figures of each day.
        complaints: what the CSMS found wrong.
    """

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
        """Simulate all days."""
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
            started_at = time.perf_counter()
            await trio.sleep(self._day_s)
            self.days.append(self._measure_day(number, time.perf_counter() - started_at))
            self._on_day(self.days[-1])

    def _schedule_session(self, evse_id: int) -> None:
        world, random_source = self._world, self._world.random_source
        stay_s = random_source.uniform(*STAY_S)
        wait_s = random_source.uniform(*ARRIVAL_INTERVAL_S)

        def start_session() -> None:
            ev = SimulatedEv(power_w=random_source.choice([22_000, 60_000, 120_000]))
            world.schedule_session(evse_id, random_source.choice([ALICE, BOB, CAROL]), ev, stay_s)
            world.event_queue.run_after(stay_s + 30, lambda: self._schedule_session(evse_id))

        world.event_queue.run_after(wait_s, start_session)

    def _schedule_link_loss(self) -> None:
        world, random_source = self._world, self._world.random_source

        def lose_link() -> None:
            world.network.switch_mode(random_source.choice(["down", "down", "silent"]))
            world.event_queue.run_after(random_source.uniform(*LINK_DOWN_S), restore_link)

        def restore_link() -> None:
            world.network.switch_mode("up")
            self._schedule_link_loss()

        world.event_queue.run_after(random_source.uniform(*LINK_UP_S), lose_link)

    def _measure_day(self, number: int, seconds: float) -> DayFigures:
        process = self._world.process
        assert process is not None, "the station does not run at the end of a day"
        gc.collect()
        traced, _ = tracemalloc.get_traced_memory()
        return DayFigures(
            number=number,
            rss_kib=read_rss_kib(),
            traced_kib=traced >> 10,
            state_bytes=len(encode_state(process.recorder.state)),
            waiting_calls=len(process.recorder.state.outbox),
            entries=process.recorder.head.seq,
            journal_bytes=sum(path.stat().st_size for path in self._directory.rglob("journal.db*")),
            sessions=self._ledger_closer.closed_count,
            elapsed_s=seconds,
        )


def read_rss_kib() -> int:
    """Resident set size of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise OSError("the kernel does not report VmRSS")


def format_day(day: DayFigures) -> str:
    """The figures of a day, on one line."""
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
    parser.add_argument("--trace", action="store_true", help="also measure Python's allocations")
    options = parser.parse_args(arguments)
    if options.trace:
        tracemalloc.start(10)
    started_at = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=shared_memory_directory(), prefix="soak-") as directory:
        soak = SoakExperiment(
            Path(directory),
            options.days,
            lambda day: print(format_day(day), flush=True),
            options.seed,
        )
        soak.run()
    base = soak.days[min(1, len(soak.days) - 1)]  # on day 1 pools, caches and imports fill
    growth_kib = soak.days[-1].rss_kib - base.rss_kib
    print(
        f"{options.days} days in {time.perf_counter() - started_at:.0f} s; "
        f"RSS grew by {growth_kib / 1024:+.2f} MiB since day {base.number}; "
        f"{len(soak.complaints)} complaints of the CSMS"
    )
    for complaint in soak.complaints:
        print(complaint)
    return 1 if soak.complaints else 0


if __name__ == "__main__":
    logging.disable()  # only here: it affects the whole process
    sys.exit(main(sys.argv[1:]))
