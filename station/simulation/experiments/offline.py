"""A month without a CSMS: cost of the queue, and delivery of every event.

`python -m station.simulation.experiments.offline --events 170000`: the link is down and both EVSEs
charge one EV after the other, until so many TransactionEvents wait. Then the link is restored;
while the station sends them, it is ended and killed in turn. Every event must arrive, in the order
in which it was queued, and none twice except the one that a restart left unanswered.
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

STAY_S: Final = 3_000.0  # of an EV
ARRIVAL_DELAY_S: Final = 600.0  # of the next EV
VARIABLES: Final = {
    "SampledDataCtrlr.TxUpdatedInterval": "27",  # 170,000 events of two EVSEs in 30 days
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": "true",
}
NEVER_FULL_EV: Final = SimulatedEv(
    power_w=22_000, energy_needed_wh=SimulatedEv().energy_needed_wh * 10
)
RESTARTS: Final = 10
QUEUE_SIZES: Final = (1_000, 10_000, 100_000)  # measured at these sizes, and at the end
DRAIN_STEPS: Final = 10  # measurements during the drain
POLL_INTERVAL_S: Final = 60.0
DRAIN_TIMEOUT_S: Final = 40 * 86_400.0  # simulated time; ends the run if a lane does not drain
REPETITIONS: Final = 500  # of each measured operation


Operation = Literal["queue_us", "next_us", "attempt_us", "deliver_us"]


class QueueCosts(msgspec.Struct, frozen=True):
    """Figures with so many calls waiting."""

    waiting_calls: int
    queue_us: float  # applying CallQueued to the outbox
    next_us: float
    attempt_us: float
    deliver_us: float
    state_bytes: int
    encode_ms: float  # the state, for a snapshot
    decode_ms: float  # the snapshot, at a start
    entries: int
    rss_kib: int


class DrainStep(msgspec.Struct, frozen=True):
    """A tenth of the drain."""

    arrived: int
    waiting_calls: int
    events_per_s: float  # per second of real time
    simulated_s: float  # since the link was restored
    rss_kib: int


class DeliveryLedger(CsmsLedger):
    """Compares the events received with those queued, in eight bytes per event."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: array[int] = array("q")  # hashes, in order
        self.arrived = 0
        self.duplicates = 0
        self.complaints: list[str] = []
        self.on_event: Callable[[], None] = lambda: None
        self._next_seq_no: dict[str, int] = {}  # by transactionId

    def add_queued(self, event: TransactionEventSummary) -> None:
        """Record an event that the journal queued."""
        expected = self._next_seq_no.get(event.transaction_id, 0)
        if event.seq_no != expected:
            self.complaints.append(
                f"{event.transaction_id}: seqNo {event.seq_no} queued, expected {expected}"
            )
        self._next_seq_no[event.transaction_id] = expected + 1
        self.queued.append(hash((event.transaction_id, event.seq_no)))

    def add_event(self, event: TransactionEventRequest) -> TransactionRecord:
        transaction_id = event.transaction_info.transaction_id
        event_hash = hash((transaction_id, event.seq_no))
        if self.arrived < len(self.queued) and event_hash == self.queued[self.arrived]:
            self.arrived += 1
        elif self.arrived and event_hash == self.queued[self.arrived - 1]:
            self.duplicates += 1
        else:
            self.complaints.append(f"{transaction_id}: seqNo {event.seq_no} arrived out of order")
        self.on_event()
        return TransactionRecord(transaction_id)

    @property
    def missing_count(self) -> int:
        """Number of queued events that have not arrived."""
        return len(self.queued) - self.arrived


class QueueObserver(SimulationObserver):
    """Records each TransactionEvent that the journal queues, and the duration of each start."""

    def __init__(self, ledger: DeliveryLedger) -> None:
        self.startup_durations_s: list[float] = []  # from the end of a process to its replay
        self.stopped_at_s = 0.0
        self._ledger = ledger

    def on_process_started(self, process: StationProcess) -> None:
        if self.stopped_at_s:
            self.startup_durations_s.append(time.perf_counter() - self.stopped_at_s)
        self.stopped_at_s = 0.0

    def after_write(self, entries: list[Entry]) -> None:
        for entry in entries:
            match entry.event:
                case CallQueued(transaction_event=event) if event is not None:
                    self._ledger.add_queued(event)


class OfflineExperiment:
    """A month without a CSMS, and the delivery after it.

    Attributes:
        costs: figures while the queue grew.
        drain_steps: figures while it was delivered.
        ledger: what arrived.
        startup_durations_s: duration of each restart.
        drain_timeout_s: simulated time for the delivery.
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
        """Simulate all of it."""
        run_simulation(self._run_world, self._seed)
        self.startup_durations_s = self._observer.startup_durations_s

    @property
    def complaints(self) -> list[str]:
        """Everything that is wrong; empty if every event arrived once and in order."""
        complaints = [*self.ledger.complaints, *self._world.csms.double.complaints]
        if self.ledger.missing_count:
            complaints.append(f"{self.ledger.missing_count} events have not arrived")
        if self.ledger.duplicates > self._restarts:
            complaints.append(f"{self.ledger.duplicates} duplicates in {self._restarts} restarts")
        return complaints

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
        for size in sorted({*(size for size in QUEUE_SIZES if size < self._events), self._events}):
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
        delay_s = STAY_S + ARRIVAL_DELAY_S
        self._world.event_queue.run_after(
            delay_s, lambda: self._start_session(evse_id, token_value)
        )

    async def _wait_until_drained(self) -> None:
        """Wait until every event has arrived; interrupt the program `restarts` times meanwhile."""
        total, started_s = self.ledger.missing_count, trio.current_time()
        parts = self._restarts + 1
        restarts_at = [total * part // parts for part in range(self._restarts, 0, -1)]
        steps_at = [total * step // DRAIN_STEPS for step in range(DRAIN_STEPS, 0, -1)]
        step_started_at, arrived_before = time.perf_counter(), self.ledger.arrived

        def on_event() -> None:
            nonlocal step_started_at, arrived_before
            arrived = self.ledger.arrived
            if restarts_at and arrived >= restarts_at[-1]:
                restarts_at.pop()
                self._interrupt_process(kill=len(restarts_at) % 2 == 0)
            if steps_at and arrived >= steps_at[-1]:
                steps_at.pop()
                now = time.perf_counter()
                self._record_figures(
                    DrainStep(
                        arrived=arrived,
                        waiting_calls=self.ledger.missing_count,
                        events_per_s=(arrived - arrived_before) / (now - step_started_at),
                        simulated_s=trio.current_time() - started_s,
                        rss_kib=read_rss_kib(),
                    )
                )
                step_started_at, arrived_before = now, arrived

        self.ledger.on_event = on_event
        with trio.move_on_after(self.drain_timeout_s):
            while self.ledger.missing_count or self._is_busy():
                await trio.sleep(POLL_INTERVAL_S)

    def _is_busy(self) -> bool:
        process = self._world.process
        return process is None or bool(process.recorder.state.transactions.open)

    def _interrupt_process(self, kill: bool) -> None:
        """End the program, or kill it; the world starts it again."""
        process = self._world.process
        if process is None or process.is_killed:
            return
        self._observer.stopped_at_s = time.perf_counter()
        if kill:
            process.kill()
        else:
            process.stop()

    def _measure_costs(self) -> QueueCosts:
        process = self._world.process
        assert process is not None, "the station does not run"
        state = process.recorder.state
        gc.collect()
        rss_kib = read_rss_kib()
        started_at = process_time()
        encoded = encode_state(state)
        encoded_at = process_time()
        assert decode_state(encoded) == state
        decode_ms = (process_time() - encoded_at) * 1000
        return QueueCosts(
            waiting_calls=len(state.outbox.transaction),
            **measure_operations(state.outbox, process.recorder.head.seq),
            state_bytes=len(encoded),
            encode_ms=(encoded_at - started_at) * 1000,
            decode_ms=decode_ms,
            entries=process.recorder.head.seq,
            rss_kib=rss_kib,
        )

    def _record_figures(self, figures: QueueCosts | DrainStep) -> None:
        (self.costs if isinstance(figures, QueueCosts) else self.drain_steps).append(figures)  # type: ignore[arg-type]
        self._on_figures(figures)


def measure_operations(outbox: Outbox, seq: int) -> dict[Operation, float]:
    """Average CPU time of each operation of an outbox, in microseconds."""
    calls = list(outbox.transaction)[:REPETITIONS]
    summaries = [
        TransactionEventSummary(f"{number % 7}", 1, 0, "Updated", "Trigger")
        for number in range(REPETITIONS)
    ]
    queued = [_make_queued(summary) for summary in summaries]
    attempted = [_make_attempted(call) for call in calls]
    delivered = [CallDelivered(call, "m") for call in calls]
    return {
        "queue_us": _measure_apply_us(outbox, seq, queued),
        "next_us": timeit(
            lambda: outbox.next_transaction_call, timer=process_time, number=REPETITIONS
        )
        / REPETITIONS
        * 1e6,
        # Not accumulated: only the first call in the outbox can have an attempt.
        "attempt_us": _measure_apply_us(outbox, seq, attempted, accumulate=False),
        "deliver_us": _measure_apply_us(outbox, seq, delivered),
    }


def _measure_apply_us(
    outbox: Outbox, seq: int, events: Sequence[Event], accumulate: bool = True
) -> float:
    """Average time to apply an event: to the result of the one before, or to the same outbox."""
    entries = [Entry(seq + number, START_TIME, 0, event) for number, event in enumerate(events, 1)]
    started_at = process_time()
    for entry in entries:
        result = outbox.apply(entry)
        outbox = result if accumulate else outbox
    return (process_time() - started_at) / len(events) * 1e6


def _make_queued(summary: TransactionEventSummary) -> CallQueued:
    return CallQueued(
        lane="transaction",
        action="TransactionEvent",
        payload=msgspec.Raw(b"{}"),
        transaction_event=summary,
    )


def _make_attempted(call: int) -> CallAttempted:
    return CallAttempted(
        call_seq=call, lane="transaction", action="TransactionEvent", message_id="m", attempt=1
    )


def format_figures(figures: QueueCosts | DrainStep) -> str:
    """Figures, on one line."""
    rss = f"RSS {figures.rss_kib / 1024:6.1f} MiB"
    if isinstance(figures, DrainStep):
        return (
            f"arrived {figures.arrived:7}  waiting {figures.waiting_calls:7}  {rss}  "
            f"{figures.events_per_s:6.0f} events/s  {figures.simulated_s / 3600:5.1f} h online"
        )
    return (
        f"waiting {figures.waiting_calls:7}  {rss}  queue {figures.queue_us:5.1f}  "
        f"next {figures.next_us:4.2f}  attempt {figures.attempt_us:4.1f}  "
        f"deliver {figures.deliver_us:5.1f} us  snapshot {figures.state_bytes / 1024:6.0f} KiB, "
        f"encoded in {figures.encode_ms:5.1f} ms, decoded in {figures.decode_ms:5.1f} ms  "
        f"{figures.entries} entries"
    )


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="station.simulation.experiments.offline", description=__doc__
    )
    parser.add_argument(
        "--events", type=int, default=170_000, help="that wait before the link is restored"
    )
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    started_at = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=shared_memory_directory(), prefix="offline-") as directory:
        experiment = OfflineExperiment(
            Path(directory),
            options.events,
            seed=options.seed,
            restarts=options.restarts,
            on_figures=lambda figures: print(format_figures(figures), flush=True),
        )
        experiment.run()
    complaints, ledger = experiment.complaints, experiment.ledger
    startup_durations_s = experiment.startup_durations_s
    print(
        f"{ledger.arrived} of {len(ledger.queued)} events arrived in order, "
        f"{ledger.duplicates} of them twice; "
        f"{len(startup_durations_s)} restarts of at most {max(startup_durations_s, default=0):.1f} "
        f"s; {time.perf_counter() - started_at:.0f} s in all"
    )
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    logging.disable()  # only here: it affects the whole process
    sys.exit(main(sys.argv[1:]))
