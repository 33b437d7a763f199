"""What does a month without a CSMS cost, and does all of it arrive?

`python -m station.simulation.experiments.offline --events 170000`: the link is down and both EVSEs charge, one
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

from journal.events import Entry, Event
from journal.projections.outbox import (
    CallAttempted,
    CallDelivered,
    CallQueued,
    Outbox,
    TransactionEventSummary,
)
from journal.state import decode_state, encode_state
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_ledger import CsmsLedger, TransactionRecord
from station.simulation.event_queue import START_TIME
from station.simulation.evse_double import SimulatedEv
from station.simulation.experiments.soak import read_rss_kib
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.station_process import StationProcess
from station.simulation.world import (
    SimulatedWorld,
    SimulationObserver,
    run_simulation,
    shared_memory_directory,
)

STAY_S: Final = 3_000.0  # a car
ARRIVAL_DELAY_S: Final = 600.0  # the next one, after it
VARIABLES: Final = {
    "SampledDataCtrlr.TxUpdatedInterval": "27",  # 170,000 events of two EVSEs in 30 days
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": "true",
}
NEVER_FULL_EV: Final = SimulatedEv(
    power_w=22_000, energy_needed_wh=SimulatedEv().energy_needed_wh * 10
)  # never full
RESTARTS: Final = 10
QUEUE_SIZES: Final = (1_000, 10_000, 100_000)  # at which is measured, and at the end
DRAIN_STEPS: Final = 10  # of the drain, at which is measured
POLL_INTERVAL_S: Final = 60.0  # how often it is looked whether nothing waits any more
DRAIN_TIMEOUT_S: Final = 40 * 86_400.0  # for the drain of a lane that does not move
REPETITIONS: Final = 500  # that an operation is repeated to be measured


Operation = Literal["queue_us", "next_us", "attempt_us", "deliver_us"]


class QueueCosts(msgspec.Struct, frozen=True):
    """Figures with so many calls waiting."""

    waiting_calls: int
    queue_us: float  # of the memory: one call more
    next_us: float
    attempt_us: float
    deliver_us: float
    state_bytes: int
    encode_ms: float  # the memory, for a snapshot
    decode_ms: float  # and back, at a start
    entries: int
    rss_kib: int


class DrainStep(msgspec.Struct, frozen=True):
    """A tenth of the drain."""

    arrived: int
    waiting_calls: int
    events_per_s: float  # events per second of this machine's time
    simulated_s: float  # since the link came back
    rss_kib: int


class DeliveryLedger(CsmsLedger):
    """What a CSMS was told, compared with what was queued, in eight bytes per event."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: array[int] = array("q")  # hashes, in order
        self.arrived = 0
        self.duplicates = 0
        self.complaints: list[str] = []
        self.on_event: Callable[[], None] = lambda: None
        self._next_seq_no: dict[str, int] = {}  # seqNo of each transaction

    def add_queued(self, mark: TransactionEventSummary) -> None:
        """The station has written that it will tell this."""
        due = self._next_seq_no.get(mark.transaction_id, 0)
        if mark.seq_no != due:
            self.complaints.append(f"{mark.transaction_id}: seqNo {mark.seq_no} queued, not {due}")
        self._next_seq_no[mark.transaction_id] = due + 1
        self.queued.append(hash((mark.transaction_id, mark.seq_no)))

    def add_event(self, event: TransactionEventRequest) -> TransactionRecord:
        name = event.transaction_info.transaction_id
        this = hash((name, event.seq_no))
        if self.arrived < len(self.queued) and this == self.queued[self.arrived]:
            self.arrived += 1
        elif self.arrived and this == self.queued[self.arrived - 1]:
            self.duplicates += 1
        else:
            self.complaints.append(f"{name}: seqNo {event.seq_no} arrived out of order")
        self.on_event()
        return TransactionRecord(name)

    @property
    def missing_count(self) -> int:
        """How many were queued and have not arrived."""
        return len(self.queued) - self.arrived


class QueueObserver(SimulationObserver):
    """Enters each transaction event that the journal queues."""

    def __init__(self, ledger: DeliveryLedger) -> None:
        self.startup_durations_s: list[float] = []  # how long each start took, up to the first wait
        self.stopped_at_s = 0.0
        self._ledger = ledger

    def on_process_started(self, process: StationProcess) -> None:
        if self.stopped_at_s:
            self.startup_durations_s.append(time.perf_counter() - self.stopped_at_s)
        self.stopped_at_s = 0.0

    def after_write(self, entries: list[Entry]) -> None:
        for entry in entries:
            match entry.event:
                case CallQueued(transaction_event=mark) if mark is not None:
                    self._ledger.add_queued(mark)


class OfflineExperiment:
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
        on_figures: Callable[[QueueCosts | DrainStep], None] = lambda figures: None,
    ) -> None:
        self.costs: list[QueueCosts] = []
        self.drain_steps: list[DrainStep] = []
        self.ledger = DeliveryLedger()
        self.startup_durations_s: list[float] = []
        self.drain_timeout_s = DRAIN_TIMEOUT_S
        self._directory = directory
        self._events = events
        self._seed = seed
        self._restarts = restarts
        self._on_figures = on_figures
        self._arrivals_enabled = True
        self._enough = trio.Event()
        self._observer = QueueObserver(self.ledger)
        self._world: SimulatedWorld

    def run(self) -> None:
        """Live it."""
        run_simulation(self._run_world, self._seed)
        self.startup_durations_s = self._observer.startup_durations_s

    @property
    def complaints(self) -> list[str]:
        """What should not be; empty when everything arrived once and in order."""
        found = [*self.ledger.complaints, *self._world.csms.double.complaints]
        if self.ledger.missing_count:
            found.append(f"{self.ledger.missing_count} events have not arrived")
        if self.ledger.duplicates > self._restarts:
            found.append(f"{self.ledger.duplicates} duplicates in {self._restarts} restarts")
        return found

    async def _run_world(self) -> None:
        self._world = SimulatedWorld(
            self._directory, seed=self._seed, observer=self._observer, variables=VARIABLES
        )
        self._world.csms.double.ledger = self.ledger
        await self._world.run(self._run_script)

    async def _run_script(self) -> None:
        world = self._world
        await trio.sleep(30)
        world.network.switch_mode("down")
        for evse_id, uid in zip(world.evses, (ALICE, BOB), strict=True):
            self._start_session(evse_id, uid)
        for size in sorted({*(one for one in QUEUE_SIZES if one < self._events), self._events}):
            while self.ledger.missing_count < size:
                await trio.sleep(POLL_INTERVAL_S)
            self._record_figures(self._measure_costs())
        self._arrivals_enabled = False
        world.network.switch_mode("up")
        await self._wait_until_drained()

    def _start_session(self, evse_id: int, token_value: str) -> None:
        if not self._arrivals_enabled:
            return
        self._world.schedule_session(evse_id, token_value, NEVER_FULL_EV, STAY_S)
        again = STAY_S + ARRIVAL_DELAY_S
        self._world.event_queue.run_after(again, lambda: self._start_session(evse_id, token_value))

    async def _wait_until_drained(self) -> None:
        """Wait until nothing waits any more; end the program now and then."""
        total, began_s, began = self.ledger.missing_count, trio.current_time(), time.perf_counter()
        stops = [total * one // (self._restarts + 1) for one in range(self._restarts, 0, -1)]
        marks = [total * one // DRAIN_STEPS for one in range(DRAIN_STEPS, 0, -1)]
        before = self.ledger.arrived

        def told() -> None:
            nonlocal began, before
            arrived = self.ledger.arrived
            if stops and arrived >= stops[-1]:
                stops.pop()
                self._interrupt_process(kill=len(stops) % 2 == 0)
            if marks and arrived >= marks[-1]:
                marks.pop()
                now = time.perf_counter()
                self._record_figures(
                    DrainStep(
                        arrived=arrived,
                        waiting_calls=self.ledger.missing_count,
                        events_per_s=(arrived - before) / (now - began),
                        simulated_s=trio.current_time() - began_s,
                        rss_kib=read_rss_kib(),
                    )
                )
                began, before = now, arrived

        self.ledger.on_event = told
        with trio.move_on_after(self.drain_timeout_s):
            while self.ledger.missing_count or self._is_busy():
                await trio.sleep(POLL_INTERVAL_S)

    def _is_busy(self) -> bool:
        life = self._world.process
        return life is None or bool(life.recorder.state.transactions.open)

    def _interrupt_process(self, kill: bool) -> None:
        """End the program, or kill it; the world starts it again."""
        life = self._world.process
        if life is None or life.is_killed:
            return
        self._observer.stopped_at_s = time.perf_counter()
        if kill:
            life.kill()
        else:
            life.stop()

    def _measure_costs(self) -> QueueCosts:
        life = self._world.process
        assert life is not None, "the station is not there"
        state = life.recorder.state
        gc.collect()
        rss = read_rss_kib()
        began = process_time()
        written = encode_state(state)
        between = process_time()
        assert decode_state(written) == state
        read_ms = (process_time() - between) * 1000
        return QueueCosts(
            waiting_calls=len(state.outbox.transaction),
            **measure_operations(state.outbox, life.recorder.head.seq),
            state_bytes=len(written),
            encode_ms=(between - began) * 1000,
            decode_ms=read_ms,
            entries=life.recorder.head.seq,
            rss_kib=rss,
        )

    def _record_figures(self, figures: QueueCosts | DrainStep) -> None:
        (self.costs if isinstance(figures, QueueCosts) else self.drain_steps).append(figures)  # type: ignore[arg-type]
        self._on_figures(figures)


def measure_operations(outbox: Outbox, seq: int) -> dict[Operation, float]:
    """Microseconds of a processor that each operation of an outbox takes, on average."""
    calls = list(outbox.transaction)[:REPETITIONS]
    marks = [
        TransactionEventSummary(f"{one % 7}", 1, 0, "Updated", "Trigger")
        for one in range(REPETITIONS)
    ]
    queued = [_make_queued(mark) for mark in marks]
    attempted = [_make_attempted(call) for call in calls]
    delivered = [CallDelivered(call, "m") for call in calls]
    return {
        "queue_us": _measure_apply_us(outbox, seq, queued),
        "next_us": timeit(
            lambda: outbox.next_transaction_call, timer=process_time, number=REPETITIONS
        )
        / REPETITIONS
        * 1e6,
        "attempt_us": _measure_apply_us(
            outbox, seq, attempted, accumulate=False
        ),  # else all would be of one call
        "deliver_us": _measure_apply_us(outbox, seq, delivered),
    }


def _measure_apply_us(
    outbox: Outbox, seq: int, events: Sequence[Event], accumulate: bool = True
) -> float:
    """Of each event, one after the other; or each alone, if it `folds` not."""
    entries = [Entry(seq + one, START_TIME, 0, event) for one, event in enumerate(events, 1)]
    began = process_time()
    for entry in entries:
        after = outbox.apply(entry)
        outbox = after if accumulate else outbox
    return (process_time() - began) / len(events) * 1e6


def _make_queued(mark: TransactionEventSummary) -> CallQueued:
    return CallQueued(
        lane="transaction",
        action="TransactionEvent",
        payload=msgspec.Raw(b"{}"),
        transaction_event=mark,
    )


def _make_attempted(call: int) -> CallAttempted:
    return CallAttempted(
        call_seq=call, lane="transaction", action="TransactionEvent", message_id="m", attempt=1
    )


def format_figures(figures: QueueCosts | DrainStep) -> str:
    """Figures, for a person."""
    rss = f"RSS {figures.rss_kib / 1024:6.1f} MiB"
    if isinstance(figures, DrainStep):
        return (
            f"arrived {figures.arrived:7}  waiting {figures.waiting_calls:7}  {rss}  "
            f"{figures.events_per_s:6.0f} events/s  {figures.simulated_s / 3600:5.1f} h on the line"
        )
    return (
        f"waiting {figures.waiting_calls:7}  {rss}  queue {figures.queue_us:5.1f}  "
        f"next {figures.next_us:4.2f}  attempt {figures.attempt_us:4.1f}  "
        f"deliver {figures.deliver_us:5.1f} us  snapshot {figures.state_bytes / 1024:6.0f} KiB, "
        f"written in {figures.encode_ms:5.1f} ms, read in {figures.decode_ms:5.1f} ms  "
        f"{figures.entries} entries"
    )


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="station.simulation.experiments.offline", description=__doc__
    )
    parser.add_argument(
        "--events", type=int, default=170_000, help="that wait before the link is back"
    )
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=shared_memory_directory(), prefix="offline-") as directory:
        offline = OfflineExperiment(
            Path(directory),
            asked.events,
            seed=asked.seed,
            restarts=asked.restarts,
            on_figures=lambda figures: print(format_figures(figures), flush=True),
        )
        offline.run()
    complaints, tally = offline.complaints, offline.ledger
    print(
        f"{tally.arrived} of {len(tally.queued)} events arrived in order, "
        f"{tally.duplicates} of them twice; "
        f"{len(offline.startup_durations_s)} restarts, of {max(offline.startup_durations_s, default=0):.1f} s at most; "
        f"{time.perf_counter() - began:.0f} s in all"
    )
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    logging.disable()  # here, for it holds for the whole process
    sys.exit(main(sys.argv[1:]))
