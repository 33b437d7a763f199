"""Decide a whole batch of observations before it is committed.

The recorder collects observations while a commit is written and passes the queue on.
`decide_batch` gives the entries of the next commit and the state after them. It is pure: the clock
was read when each observation was made, and readings come in through a function.

A batch ends with the queue, at a number of observations, or when `is_time_up`, but it has
one observation at least. The time matters because decisions differ in cost: one GetBaseReport costs
as much as a hundred meter readings, and while a batch is decided the loop does nothing else.

The observations are decided in their order, each in the state that the ones before it left. Two
entries may be added before an observation, so that its decisions use only facts in the journal:

* A meter reading. A decision that carries a register (a TransactionEvent, MeterValues, a kept
  sample) must carry the newest one, but most readings are not journaled. The observation is decided
  once as if every meter had just been read (`Context.expects_readings`). If these decisions use the
  meter of an EVSE, its newest reading becomes an entry first; a silent meter has none. Then the
  observation is decided again, now with the readings that there are.
* The head of the journal. A TransactionEvent Ended may carry it as a witness (Part 2 §2.1.33). If a
  transaction ends, the head of the last commit becomes a HeadRecorded entry first and the
  observation is decided again.

Deciding twice is harmless because `decide` is pure: the first result is dropped. Decisions that
use no meter are the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple, Protocol

import msgspec

from journal.events import Entry, Observation
from journal.observations import HeadRecorded, MeterRead
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionSampleKept
from journal.state import State
from station.core.blocks.e_transaction_events import includes_journal_head
from station.core.context import Context, Product
from station.core.decide import decide

STATION_TIME_MIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
STATION_TIME_MAX: Final = datetime(9999, 1, 1, tzinfo=UTC)


class TimedObservation(NamedTuple):
    """An observation with the time it was made; it may be decided later, after a slow commit."""

    observation: Observation
    host_utc: datetime
    uptime_ms: int


class JournalHead(Protocol):
    """The end of the journal as it is on disk. The station's is `journal.storage.reader.Head`."""

    @property
    def seq(self) -> int: ...

    @property
    def digest(self) -> bytes: ...


LatestReading = Callable[
    [int], MeterRead | None
]  # the newest reading of an EVSE; None: there is none, or the meter is silent


class DecidedBatch(NamedTuple):
    """What one commit holds.

    Attributes:
        entries: of the decided observations, with their decisions.
        state: after them.
        decided_count: observations of the queue that are decided.
    """

    entries: list[Entry]
    state: State
    decided_count: int


def decide_batch(
    product: Product,
    state: State,
    head: JournalHead,
    queue: Collection[TimedObservation],
    *,
    count_max: int,
    is_time_up: Callable[[], bool] = lambda: False,
    latest_reading: LatestReading = lambda evse_id: None,
) -> DecidedBatch:
    """Decide the first observations of the queue.

    Args:
        state: after the last commit.
        head: of the last commit.
        queue: the observations that wait, in order; it is not changed.
        count_max: observations in one batch.
        is_time_up: asked after each observation; True ends the batch.
        latest_reading: the newest reading of an EVSE that the meter gave, journaled or not.
    """
    deciding = _Batch(product, head, latest_reading)
    count = 0
    for count, timed in enumerate(islice(queue, count_max), 1):
        state = deciding.decide_observation(timed, state, islice(queue, count, None))
        if is_time_up():
            break
    return DecidedBatch(deciding.entries, state, count)


class _Batch:
    """The entries decided so far in one batch, and what does not change while it is decided."""

    def __init__(
        self,
        product: Product,
        head: JournalHead,
        latest_reading: LatestReading,
    ) -> None:
        self.entries: list[Entry] = []
        self._product = product
        self._head = head
        self._latest_reading = latest_reading

    def decide_observation(
        self, timed: TimedObservation, state: State, later: Iterable[TimedObservation]
    ) -> State:
        """Add the entries of an observation; the newest readings it needs are added before it."""
        expected = self._make_entry(timed, state)
        entries, after = decide(self._product, state, expected, expects_readings=True)
        evse_ids = metered_evse_ids(entries)
        if evse_ids or is_transaction_ended(entries):
            state = self._add_readings(sorted(evse_ids), timed, state, later)
            state, entries, after = self._decide_with_witness(timed, state)
        self.entries += entries
        return after

    def _add_readings(
        self,
        evse_ids: Iterable[int],
        timed: TimedObservation,
        state: State,
        later: Iterable[TimedObservation],
    ) -> State:
        """Add an entry for the newest reading of each EVSE; the state after them."""
        undecided = (timed, *later)
        for evse_id in evse_ids:
            reading = self._newest_reading(evse_id, undecided)
            journaled = state.readings.on_evse(evse_id)
            in_this_batch = journaled is not None and journaled.seq > self._head.seq
            if reading is None or reading is timed.observation or in_this_batch:
                continue
            _, entries, state = self._decide_with_witness(
                timed._replace(observation=reading), state
            )
            self.entries += entries
        return state

    def _decide_with_witness(
        self, timed: TimedObservation, state: State
    ) -> tuple[State, list[Entry], State]:
        """The state before the observation, its entries, the state after them.

        If a message is to carry the head of the journal, the head is added as an entry before it.
        """
        entry = self._make_entry(timed, state)
        entries, after = decide(self._product, state, entry)
        if not is_transaction_ended(entries) or not includes_journal_head(
            Context(self._product, state, entry)
        ):
            return state, entries, after
        witness = HeadRecorded(self._head.seq, self._head.digest.hex())
        if state.witness.latest_head == witness:
            return state, entries, after
        witness_entry = self._make_entry(timed._replace(observation=witness), state)
        witness_entries, state = decide(self._product, state, witness_entry)
        self.entries += witness_entries
        return state, *decide(self._product, state, self._make_entry(timed, state))

    def _newest_reading(
        self, evse_id: int, undecided: Iterable[TimedObservation]
    ) -> MeterRead | None:
        """The newest reading, but not newer than the first one that is not decided yet.

        A newer one would be journaled before an older one, and the register would seem to fall.
        """
        for timed in undecided:
            reading = timed.observation
            if isinstance(reading, MeterRead) and reading.evse_id == evse_id:
                return reading
        return self._latest_reading(evse_id)

    def _make_entry(self, timed: TimedObservation, state: State) -> Entry:
        seq = (self.entries[-1].seq if self.entries else self._head.seq) + 1
        at = station_time(timed.host_utc, state)
        return Entry(seq, at, timed.uptime_ms, timed.observation)


def is_transaction_ended(entries: Iterable[Entry]) -> bool:
    """Whether a TransactionEvent Ended is queued by one of the entries."""
    return any(
        isinstance(entry.event, CallQueued)
        and entry.event.transaction_event is not None
        and entry.event.transaction_event.event_type == "Ended"
        for entry in entries
    )


def metered_evse_ids(entries: Iterable[Entry]) -> set[int]:
    """The EVSEs with a register that one of the entries carries."""
    evse_ids: set[int] = set()
    for entry in entries:
        match entry.event:
            case CallQueued(transaction_event=summary) if summary is not None:
                evse_ids.add(summary.evse_id)
            case CallQueued(action="MeterValues", payload=payload):
                evse_ids.add(msgspec.json.decode(payload)["evseId"])
            case TransactionSampleKept(sample=sample):
                evse_ids.add(sample.meter_read.evse_id)
    return evse_ids - {0}  # a transaction that started before its cable has no EVSE: E01.FR.03


def station_time(host_utc: datetime, state: State) -> datetime:
    """The station's wall clock: the host's UTC plus the offset from the CSMS, in whole ms."""
    try:
        moment = host_utc + timedelta(milliseconds=state.clock.applied_offset_ms)
    except OverflowError:
        moment = host_utc
    moment = min(max(moment, STATION_TIME_MIN), STATION_TIME_MAX)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
