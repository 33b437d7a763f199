"""Who turns observations into history?

One task, one commit at a time. Whatever arrives during a commit goes into the next one. Nothing
decided here is visible to anybody before it is on the disk.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from math import inf
from typing import Final, NamedTuple

import msgspec
import trio

from journal.observations import ClockStepped, HeadNoted, MeterRead
from journal.projections.condition import JudgementFailed
from journal.projections.outbox import CallQueued
from journal.projections.transactions import SampleKept
from journal.state import State
from journal.store import DiskFull, Store
from journal.terms import Entry, Observation
from station.blocks.e_transactions import names_head
from station.case import Case, Product
from station.decide import judge
from station.runtime.clock import Clock
from station.runtime.latest import Latest
from station.runtime.writer import Writer
from station.wanted import Wanted, wanted

log = logging.getLogger("station")

BATCH_MAX: Final = 256  # observations in one commit: bounds its length and what a crash undoes
LAZY_S: Final = 1.0  # how long an observation that nobody waits for may wait for company
STEP_MIN_MS: Final = 1_000  # less is how the host's clock is kept in time
PAYLOADS_MAX: Final = 64  # queued calls whose payload is still at hand
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)


class Heard(NamedTuple):
    """An observation and when it was made; it may be judged later, behind a slow commit."""

    observation: Observation
    host_utc: datetime
    uptime_ms: int


class Scribe:
    """Owns the memory. `observe` may be called from anywhere in the loop; it never waits."""

    def __init__(
        self,
        product: Product,
        store: Store,
        state: State,
        clock: Clock,
        *,
        reading: Callable[[int], MeterRead | None] = lambda evse_id: None,
        writer: Writer | None = None,
    ) -> None:
        """Without a writer, commits hold up the loop."""
        self.product = product
        self.state = state
        self.head = store.head  # of the commit that `state` holds
        self.reading = reading
        self.more_room: Callable[[], bool] = lambda: False
        self._told_failure = ""
        self.wanted: Latest[Wanted] = Latest(Wanted())
        self._store = store
        self._clock = clock
        self._writer = writer
        self._waiting: deque[Heard] = deque()
        self._eager = trio.Event()
        self._patience = trio.CancelScope()  # ends when what is lazy has waited long enough
        self._payloads: OrderedDict[int, msgspec.Raw] = OrderedDict()
        self._apart_ms = _apart_ms(clock.utc(), clock.uptime_ms())  # as last seen
        self.committed = trio.Event()
        self._writing = False

    # --- Taking in ------------------------------------------------------------------------------

    def observe(self, observation: Observation, *, lazy: bool = False) -> None:
        """Take an observation in; a lazy one waits a second for others to share a commit with."""
        host_utc, uptime_ms = self._clock.utc(), self._clock.uptime_ms()
        step_ms = self._clock_step_ms(host_utc, uptime_ms)
        if step_ms:
            self._waiting.append(Heard(ClockStepped(step_ms), host_utc, uptime_ms))
        self._waiting.append(Heard(observation, host_utc, uptime_ms))
        if not lazy:
            self._eager.set()
        elif self._patience.deadline == inf:
            self._patience.deadline = trio.current_time() + LAZY_S

    async def room(self) -> None:
        """Wait while more is waiting than one commit takes: whoever floods us is slowed down."""
        while len(self._waiting) >= BATCH_MAX:
            await self.committed.wait()

    async def settled(self) -> None:
        """Return at a moment when everything that was heard is history."""
        while self._waiting or self._writing:
            await self.committed.wait()

    async def run(self) -> None:
        """Write history until cancelled. What was taken in before that is still written.

        Raises:
            JournalFailed: the disk did not take it. Nothing of that commit counts.
        """
        try:
            while True:
                if not self._eager.is_set():
                    with self._patience:
                        await self._eager.wait()
                await self._write()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                while self._waiting:
                    await self._write()
            raise

    async def write_now(self) -> None:
        """One commit with everything that waits; for the first entries, before `run`."""
        await self._write()

    async def _write(self) -> None:
        self._writing = True
        batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
        if not self._waiting:
            self._eager, self._patience = trio.Event(), trio.CancelScope()
        entries, state = self._judged(batch)
        self._give(entries)
        level = wanted(self.product, state, entries[-1])  # while the disk is busy
        with trio.CancelScope(shield=True):  # what is taken up is written down
            await self._append(entries)
        self.state, self.head = state, self._store.head
        self._remember_payloads(entries)
        self._tell_faults(entries)
        if level.failed and level.failed != self._told_failure:
            log.error("the level cannot be told, so nothing is given: %s", level.failed)
        self._told_failure = level.failed
        self.wanted.set(level)
        self._writing = False
        self.committed.set()
        self.committed = trio.Event()

    async def _append(self, entries: list[Entry]) -> None:
        """Return once the entries are on the disk, if need be in the room kept in reserve."""
        try:
            await self._appended(entries)
        except DiskFull:
            if not self.more_room():
                raise
            self._give(entries)
            await self._appended(entries)

    def _give(self, entries: list[Entry]) -> None:
        if self._writer is not None:
            self._writer.give(self._store.chained(entries))

    async def _appended(self, entries: list[Entry]) -> None:
        if self._writer is None:
            self._store.append(entries)
        else:
            await self._writer.written()

    def _tell_faults(self, entries: Sequence[Entry]) -> None:
        """A fault of ours is for people to mend, whatever the station makes of it."""
        for entry in entries:
            if isinstance(entry.event, JudgementFailed):
                log.error("entry %d: %s failed: %s", entry.seq, entry.event.rule, entry.event.fault)
        stumbles = self.state.condition.stumbles
        if stumbles and entries and stumbles[-1].seq >= entries[0].seq:
            log.error("entry %d: %s failed: %s", *msgspec.structs.astuple(stumbles[-1]))

    # --- Judging --------------------------------------------------------------------------------

    def _judged(self, batch: list[Heard]) -> tuple[list[Entry], State]:
        """All entries of one commit, and the memory after them."""
        entries: list[Entry] = []
        state = self.state
        for place, heard in enumerate(batch):
            state = self._judge_one(heard, state, entries, batch[place + 1 :])
        return entries, state

    def _judge_one(
        self, heard: Heard, state: State, entries: list[Entry], later: Sequence[Heard]
    ) -> State:
        """Judge; where that needs a reading, take the newest one into the journal first."""
        state, made, after = self._judge_with_head(heard, state, entries)
        for evse_id in sorted(_measured(made)):
            reading = self._newest(evse_id, [heard, *later])
            known = state.readings.of(evse_id)
            fresh = known is not None and known.seq > self.head.seq
            if reading is None or reading is heard.observation or fresh:
                continue
            first = heard._replace(observation=reading)
            _, taken, state = self._judge_with_head(first, state, entries)
            entries += taken
            state, made, after = self._judge_with_head(heard, state, entries)
        entries += made
        return after

    def _judge_with_head(
        self, heard: Heard, state: State, entries: list[Entry]
    ) -> tuple[State, list[Entry], State]:
        """The memory before, what was made, the memory after.

        Where a message shall name the head of the journal, that is an entry before it, so that
        the judgement depends on nothing that the journal does not hold.
        """
        entry = self._entry(heard, state, entries)
        made, after = judge(self.product, state, entry)
        if not _ends(made) or not names_head(Case(self.product, state, entry)):
            return state, made, after
        noted = HeadNoted(self.head.seq, self.head.digest.hex())
        if state.heads.noted == noted:
            return state, made, after
        first = self._entry(heard._replace(observation=noted), state, entries)
        taken, state = judge(self.product, state, first)
        entries += taken
        return state, *judge(self.product, state, self._entry(heard, state, entries))

    def _newest(self, evse_id: int, unjudged: Sequence[Heard]) -> MeterRead | None:
        """The newest reading, but none that is newer than one that is still to be judged.

        The register would fall, as the journal tells it.
        """
        for heard in chain(unjudged, self._waiting):
            if isinstance(heard.observation, MeterRead) and heard.observation.evse_id == evse_id:
                return heard.observation
        return self.reading(evse_id)

    def _entry(self, heard: Heard, state: State, entries: list[Entry]) -> Entry:
        seq = (entries[-1].seq if entries else self.head.seq) + 1
        at = _station_time(heard.host_utc, state)
        return Entry(seq, at, heard.uptime_ms, heard.observation)

    def at(self, state: State) -> datetime:
        """The station's wall clock: the host's UTC plus what the CSMS taught, whole ms."""
        return _station_time(self._clock.utc(), state)

    def _clock_step_ms(self, host_utc: datetime, uptime_ms: int) -> int:
        """By how much the host's wall clock moved against its uptime; 0: it keeps time."""
        apart_ms = _apart_ms(host_utc, uptime_ms)
        step_ms = apart_ms - self._apart_ms
        if abs(step_ms) < STEP_MIN_MS:
            return 0
        self._apart_ms = apart_ms
        return step_ms

    # --- Payloads -------------------------------------------------------------------------------

    def _remember_payloads(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.event, CallQueued):
                self._payloads[entry.seq] = entry.event.payload
        while len(self._payloads) > PAYLOADS_MAX:
            self._payloads.popitem(last=False)

    def payload(self, call: int) -> msgspec.Raw:
        """The payload of a queued call: from memory when it is new, else from the journal.

        Raises:
            LookupError: it is not there, or cannot be read.
            JournalFailed: the file cannot be read there.
        """
        found = self._payloads.get(call)
        if found is not None:
            return found
        event = self._store.entry(call).event
        if not isinstance(event, CallQueued):
            raise LookupError(f"entry {call} queues no call")  # noqa: TRY004  # the file's fault
        return event.payload


def _apart_ms(host_utc: datetime, uptime_ms: int) -> int:
    """Wall clock less uptime."""
    return round(host_utc.timestamp() * 1000) - uptime_ms


def _station_time(host_utc: datetime, state: State) -> datetime:
    try:
        moment = host_utc + timedelta(milliseconds=state.clock.offset_ms)
    except OverflowError:
        moment = host_utc
    moment = min(max(moment, EARLIEST), LATEST)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _ends(entries: Iterable[Entry]) -> bool:
    """Whether these tell of the end of a transaction."""
    return any(
        isinstance(entry.event, CallQueued)
        and entry.event.transaction is not None
        and entry.event.transaction.event_type == "Ended"
        for entry in entries
    )


def _measured(entries: Iterable[Entry]) -> set[int]:
    """The EVSEs whose meter these decisions speak of."""
    found: set[int] = set()
    for entry in entries:
        match entry.event:
            case CallQueued(transaction=mark) if mark is not None:
                found.add(mark.evse_id)
            case CallQueued(action="MeterValues", payload=payload):
                found.add(msgspec.json.decode(payload)["evseId"])
            case SampleKept():
                found.add(entry.event.sample.read.evse_id)
    return found - {0}  # a transaction that began before its cable has no EVSE yet: E01.FR.03
