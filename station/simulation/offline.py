"""What does a month without a CSMS cost, and does all of it arrive?

`python -m station.simulation.offline --events 170000`: the link is down and both EVSEs charge, one
car after the other, until so many transaction events wait. Then the link comes back, and while the
station tells them it is ended and killed in turn. Every event must arrive, in the order in which it
was queued, and none twice but the one that a restart left unanswered.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from timeit import timeit
from typing import Final, Literal

import msgspec
import trio

from journal.projections.outbox import (
    CallAttempted,
    CallDelivered,
    CallQueued,
    Outbox,
    TransactionMark,
)
from journal.state import decode_state, encode_state
from journal.terms import Entry, Event
from station.messages.e_transactions import TransactionEventRequest
from station.simulation.agenda import NOON
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB
from station.simulation.ledger import Account, Ledger
from station.simulation.life import Life
from station.simulation.soak import rss_kib
from station.simulation.world import Watcher, World, shared_memory, simulate

STAYS_S: Final = 3_000.0  # a car
COMES_S: Final = 600.0  # the next one, after it
VARIABLES: Final = {
    "SampledDataCtrlr.TxUpdatedInterval": "27",  # 170,000 events of two EVSEs in 30 days
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": "true",
}
EV: Final = Ev(power_w=22_000, needs_wh=Ev().needs_wh * 10)  # never full
RESTARTS: Final = 10
SIZES: Final = (1_000, 10_000, 100_000)  # at which is measured, and at the end
STEPS: Final = 10  # of the drain, at which is measured
LOOKS_S: Final = 60.0  # how often it is looked whether nothing waits any more
GIVES_UP_S: Final = 40 * 86_400.0  # for the drain of a lane that does not move
TIMES: Final = 500  # that an operation is repeated to be measured


Operation = Literal["queue_us", "next_us", "attempt_us", "deliver_us"]


class Costs(msgspec.Struct, frozen=True):
    """Figures with so many calls waiting."""

    waiting: int
    queue_us: float  # of the memory: one call more
    next_us: float
    attempt_us: float
    deliver_us: float
    state_bytes: int
    write_ms: float  # the memory, for a snapshot
    read_ms: float  # and back, at a start
    entries: int
    rss_kib: int


class Step(msgspec.Struct, frozen=True):
    """A tenth of the drain."""

    arrived: int
    waiting: int
    rate: float  # events per second of this machine's time
    simulated_s: float  # since the link came back
    rss_kib: int


class Tally(Ledger):
    """What a CSMS was told, compared with what was queued, in eight bytes per event."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: array[int] = array("q")  # hashes, in order
        self.arrived = 0
        self.duplicates = 0
        self.complaints: list[str] = []
        self.told: Callable[[], None] = lambda: None
        self._next: dict[str, int] = {}  # seqNo of each transaction

    def queue(self, mark: TransactionMark) -> None:
        """The station has written that it will tell this."""
        due = self._next.get(mark.transaction_id, 0)
        if mark.seq_no != due:
            self.complaints.append(f"{mark.transaction_id}: seqNo {mark.seq_no} queued, not {due}")
        self._next[mark.transaction_id] = due + 1
        self.queued.append(hash((mark.transaction_id, mark.seq_no)))

    def take(self, event: TransactionEventRequest) -> Account:
        name = event.transaction_info.transaction_id
        this = hash((name, event.seq_no))
        if self.arrived < len(self.queued) and this == self.queued[self.arrived]:
            self.arrived += 1
        elif self.arrived and this == self.queued[self.arrived - 1]:
            self.duplicates += 1
        else:
            self.complaints.append(f"{name}: seqNo {event.seq_no} arrived out of order")
        self.told()
        return Account(name)

    @property
    def missing(self) -> int:
        """How many were queued and have not arrived."""
        return len(self.queued) - self.arrived


class Clerk(Watcher):
    """Enters each transaction event that the journal queues."""

    def __init__(self, tally: Tally) -> None:
        self.starts_s: list[float] = []  # how long each start took, up to the first wait
        self.ended_at = 0.0
        self._tally = tally

    def began(self, life: Life) -> None:
        if self.ended_at:
            self.starts_s.append(time.perf_counter() - self.ended_at)
        self.ended_at = 0.0

    def written(self, entries: list[Entry]) -> None:
        for entry in entries:
            match entry.event:
                case CallQueued(transaction=mark) if mark is not None:
                    self._tally.queue(mark)


class Offline:
    """A month without a CSMS, and the days after.

    Attributes:
        costs: figures while the queue grew.
        steps: figures while it became shorter.
        tally: what arrived.
        starts_s: how long the station took to remember, at each restart.
        gives_up_s: simulated time after which what has not arrived will not.
    """

    def __init__(
        self,
        directory: Path,
        events: int,
        *,
        seed: int = 0,
        restarts: int = RESTARTS,
        told: Callable[[Costs | Step], None] = lambda figures: None,
    ) -> None:
        self.costs: list[Costs] = []
        self.steps: list[Step] = []
        self.tally = Tally()
        self.starts_s: list[float] = []
        self.gives_up_s = GIVES_UP_S
        self._directory = directory
        self._events = events
        self._seed = seed
        self._restarts = restarts
        self._told = told
        self._comes = True
        self._enough = trio.Event()
        self._clerk = Clerk(self.tally)
        self._world: World

    def run(self) -> None:
        """Live it."""
        simulate(self._main, self._seed)
        self.starts_s = self._clerk.starts_s

    @property
    def complaints(self) -> list[str]:
        """What should not be; empty when everything arrived once and in order."""
        found = [*self.tally.complaints, *self._world.csms.double.complaints]
        if self.tally.missing:
            found.append(f"{self.tally.missing} events have not arrived")
        if self.tally.duplicates > self._restarts:
            found.append(f"{self.tally.duplicates} duplicates in {self._restarts} restarts")
        return found

    async def _main(self) -> None:
        self._world = World(
            self._directory, seed=self._seed, watcher=self._clerk, variables=VARIABLES
        )
        self._world.csms.double.ledger = self.tally
        await self._world.run(self._work)

    async def _work(self) -> None:
        world = self._world
        await trio.sleep(30)
        world.lines.switch("down")
        for evse_id, uid in zip(world.bays, (ALICE, BOB), strict=True):
            self._somebody_comes(evse_id, uid)
        for size in sorted({*(one for one in SIZES if one < self._events), self._events}):
            while self.tally.missing < size:
                await trio.sleep(LOOKS_S)
            self._note(self._measured())
        self._comes = False
        world.lines.switch("up")
        await self._drained()

    def _somebody_comes(self, evse_id: int, uid: str) -> None:
        if not self._comes:
            return
        self._world.session(evse_id, uid, EV, STAYS_S)
        again = STAYS_S + COMES_S
        self._world.agenda.after(again, lambda: self._somebody_comes(evse_id, uid))

    async def _drained(self) -> None:
        """Wait until nothing waits any more; end the program now and then."""
        total, began_s, began = self.tally.missing, trio.current_time(), time.perf_counter()
        stops = [total * one // (self._restarts + 1) for one in range(self._restarts, 0, -1)]
        marks = [total * one // STEPS for one in range(STEPS, 0, -1)]
        before = self.tally.arrived

        def told() -> None:
            nonlocal began, before
            arrived = self.tally.arrived
            if stops and arrived >= stops[-1]:
                stops.pop()
                self._interrupt(kill=len(stops) % 2 == 0)
            if marks and arrived >= marks[-1]:
                marks.pop()
                now = time.perf_counter()
                self._note(
                    Step(
                        arrived=arrived,
                        waiting=self.tally.missing,
                        rate=(arrived - before) / (now - began),
                        simulated_s=trio.current_time() - began_s,
                        rss_kib=rss_kib(),
                    )
                )
                began, before = now, arrived

        self.tally.told = told
        with trio.move_on_after(self.gives_up_s):
            while self.tally.missing or self._busy():
                await trio.sleep(LOOKS_S)

    def _busy(self) -> bool:
        life = self._world.life
        return life is None or bool(life.scribe.state.transactions.open)

    def _interrupt(self, kill: bool) -> None:
        """End the program, or kill it; the world starts it again."""
        life = self._world.life
        if life is None or life.dead:
            return
        self._clerk.ended_at = time.perf_counter()
        if kill:
            life.die()
        else:
            life.end()

    def _measured(self) -> Costs:
        life = self._world.life
        assert life is not None, "the station is not there"
        state = life.scribe.state
        gc.collect()
        rss = rss_kib()
        began = process_time()
        written = encode_state(state)
        between = process_time()
        assert decode_state(written) == state
        read_ms = (process_time() - between) * 1000
        return Costs(
            waiting=len(state.outbox.transaction),
            **operations(state.outbox, life.scribe.head.seq),
            state_bytes=len(written),
            write_ms=(between - began) * 1000,
            read_ms=read_ms,
            entries=life.scribe.head.seq,
            rss_kib=rss,
        )

    def _note(self, figures: Costs | Step) -> None:
        (self.costs if isinstance(figures, Costs) else self.steps).append(figures)  # type: ignore[arg-type]
        self._told(figures)


def operations(outbox: Outbox, seq: int) -> dict[Operation, float]:
    """Microseconds of a processor that each operation of an outbox takes, on average."""
    calls = list(outbox.transaction)[:TIMES]
    marks = [TransactionMark(f"{one % 7}", 1, 0, "Updated", "Trigger") for one in range(TIMES)]
    queued = [_queued(mark) for mark in marks]
    attempted = [_attempted(call) for call in calls]
    delivered = [CallDelivered(call, "m") for call in calls]
    return {
        "queue_us": _us(outbox, seq, queued),
        "next_us": timeit(lambda: outbox.first, timer=process_time, number=TIMES) / TIMES * 1e6,
        "attempt_us": _us(outbox, seq, attempted, folds=False),  # else all would be of one call
        "deliver_us": _us(outbox, seq, delivered),
    }


def _us(outbox: Outbox, seq: int, events: Sequence[Event], folds: bool = True) -> float:
    """Of each event, one after the other; or each alone, if it `folds` not."""
    entries = [Entry(seq + one, NOON, 0, event) for one, event in enumerate(events, 1)]
    began = process_time()
    for entry in entries:
        after = outbox.after(entry)
        outbox = after if folds else outbox
    return (process_time() - began) / len(events) * 1e6


def _queued(mark: TransactionMark) -> CallQueued:
    return CallQueued(
        lane="transaction",
        action="TransactionEvent",
        payload=msgspec.Raw(b"{}"),
        transaction=mark,
    )


def _attempted(call: int) -> CallAttempted:
    return CallAttempted(
        call=call, lane="transaction", action="TransactionEvent", message_id="m", attempt=1
    )


def line(figures: Costs | Step) -> str:
    """Figures, for a person."""
    rss = f"RSS {figures.rss_kib / 1024:6.1f} MiB"
    if isinstance(figures, Step):
        return (
            f"arrived {figures.arrived:7}  waiting {figures.waiting:7}  {rss}  "
            f"{figures.rate:6.0f} events/s  {figures.simulated_s / 3600:5.1f} h on the line"
        )
    return (
        f"waiting {figures.waiting:7}  {rss}  queue {figures.queue_us:5.1f}  "
        f"next {figures.next_us:4.2f}  attempt {figures.attempt_us:4.1f}  "
        f"deliver {figures.deliver_us:5.1f} us  snapshot {figures.state_bytes / 1024:6.0f} KiB, "
        f"written in {figures.write_ms:5.1f} ms, read in {figures.read_ms:5.1f} ms  "
        f"{figures.entries} entries"
    )


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="station.simulation.offline", description=__doc__)
    parser.add_argument(
        "--events", type=int, default=170_000, help="that wait before the link is back"
    )
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=shared_memory(), prefix="offline-") as directory:
        offline = Offline(
            Path(directory),
            asked.events,
            seed=asked.seed,
            restarts=asked.restarts,
            told=lambda figures: print(line(figures), flush=True),
        )
        offline.run()
    complaints, tally = offline.complaints, offline.tally
    print(
        f"{tally.arrived} of {len(tally.queued)} events arrived in order, "
        f"{tally.duplicates} of them twice; "
        f"{len(offline.starts_s)} restarts, of {max(offline.starts_s, default=0):.1f} s at most; "
        f"{time.perf_counter() - began:.0f} s in all"
    )
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    logging.disable()  # here, for it holds for the whole process
    sys.exit(main(sys.argv[1:]))
