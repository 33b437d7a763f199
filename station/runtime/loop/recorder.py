"""Who turns observations into history?

One task, one commit at a time. Whatever arrives during a commit goes into the next one. Nothing
decided here is visible to anybody before it is on the disk.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from math import inf
from typing import Final

import msgspec
import trio

from journal.events import Entry, Observation
from journal.observations import ClockStepped, MeterRead
from journal.projections.outbox import CallQueued
from journal.projections.station_health import RuleFailed
from journal.state import State
from journal.storage.errors import DiskFull
from journal.storage.store import Store
from station.core.context import Product
from station.core.decide_batch import TimedObservation, decide_batch, station_time
from station.core.desired import DesiredState, compute_desired_state
from station.runtime.clock import Clock
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station")

BATCH_MAX: Final = 256  # observations in one commit: bounds its length and what a crash undoes
LAZY_DELAY_S: Final = 1.0  # how long an observation that nobody waits for may wait for company
CLOCK_STEP_MIN_MS: Final = 1_000  # less is how the host's clock is kept in time
CACHED_PAYLOADS_MAX: Final = 64  # queued calls whose payload is still at hand


class Recorder:
    """Owns the memory. `observe` may be called from anywhere in the loop; it never waits."""

    def __init__(
        self,
        product: Product,
        store: Store,
        state: State,
        clock: Clock,
        *,
        latest_reading: Callable[[int], MeterRead | None] = lambda evse_id: None,
        commit_thread: CommitThread | None = None,
    ) -> None:
        """Without a writer, commits hold up the loop."""
        self.product = product
        self.state = state
        self.head = store.head  # of the commit that `state` holds
        self.latest_reading = latest_reading
        self.release_reserve: Callable[[], bool] = lambda: False
        self._logged_failure = ""
        self.desired_state: WatchedValue[DesiredState] = WatchedValue(DesiredState())
        self._store = store
        self._clock = clock
        self._commit_thread = commit_thread
        self._queue: deque[TimedObservation] = deque()
        self._commit_requested = trio.Event()
        self._delay_scope = trio.CancelScope()  # ends when what is lazy has waited long enough
        self._payloads: OrderedDict[int, msgspec.Raw] = OrderedDict()
        self._wall_minus_uptime_ms = _wall_minus_uptime_ms(
            clock.utc(), clock.uptime_ms()
        )  # as last seen
        self.committed = trio.Event()
        self._committing = False

    # --- Taking in ------------------------------------------------------------------------------

    def observe(self, observation: Observation, *, lazy: bool = False) -> None:
        """Take an observation in; a lazy one waits a second for others to share a commit with."""
        host_utc, uptime_ms = self._clock.utc(), self._clock.uptime_ms()
        step_ms = self._clock_step_ms(host_utc, uptime_ms)
        if step_ms:
            self._queue.append(TimedObservation(ClockStepped(step_ms), host_utc, uptime_ms))
        self._queue.append(TimedObservation(observation, host_utc, uptime_ms))
        if not lazy:
            self._commit_requested.set()
        elif self._delay_scope.deadline == inf:
            self._delay_scope.deadline = trio.current_time() + LAZY_DELAY_S

    async def wait_for_capacity(self) -> None:
        """Wait while more is waiting than one commit takes: whoever floods us is slowed down."""
        while len(self._queue) >= BATCH_MAX:
            await self.committed.wait()

    async def wait_until_idle(self) -> None:
        """Return at a moment when everything that was heard is history."""
        while self._queue or self._committing:
            await self.committed.wait()

    async def run(self) -> None:
        """Write history until cancelled. What was taken in before that is still written.

        Raises:
            JournalFailed: the disk did not take it. Nothing of that commit counts.
        """
        try:
            while True:
                if not self._commit_requested.is_set():
                    with self._delay_scope:
                        await self._commit_requested.wait()
                await self._commit_batch()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                while self._queue:
                    await self._commit_batch()
            raise

    async def commit_now(self) -> None:
        """One commit with everything that waits; for the first entries, before `run`."""
        await self._commit_batch()

    async def _commit_batch(self) -> None:
        self._committing = True
        batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
        if not self._queue:
            self._commit_requested, self._delay_scope = trio.Event(), trio.CancelScope()
        entries, state = decide_batch(
            self.product,
            self.state,
            self.head,
            batch,
            queued=self._queue,
            latest_reading=self.latest_reading,
        )
        self._start_commit(entries)
        level = compute_desired_state(self.product, state, entries[-1])  # while the disk is busy
        with trio.CancelScope(shield=True):  # what is taken up is written down
            await self._store_entries(entries)
        self.state, self.head = state, self._store.head
        self._cache_payloads(entries)
        self._log_rule_failures(entries)
        if level.failure and level.failure != self._logged_failure:
            log.error("the level cannot be told, so nothing is given: %s", level.failure)
        self._logged_failure = level.failure
        self.desired_state.set(level)
        self._committing = False
        self.committed.set()
        self.committed = trio.Event()

    async def _store_entries(self, entries: list[Entry]) -> None:
        """Return once the entries are on the disk, if need be in the room kept in reserve."""
        try:
            await self._finish_commit(entries)
        except DiskFull:
            if not self.release_reserve():
                raise
            self._start_commit(entries)
            await self._finish_commit(entries)

    def _start_commit(self, entries: list[Entry]) -> None:
        if self._commit_thread is not None:
            self._commit_thread.start_write(self._store.chain_rows(entries))

    async def _finish_commit(self, entries: list[Entry]) -> None:
        if self._commit_thread is None:
            self._store.append(entries)
        else:
            await self._commit_thread.wait_written()

    def _log_rule_failures(self, entries: Sequence[Entry]) -> None:
        """A fault of ours is for people to mend, whatever the station makes of it."""
        for entry in entries:
            if isinstance(entry.event, RuleFailed):
                log.error(
                    "entry %d: %s failed: %s", entry.seq, entry.event.rule, entry.event.exception
                )
        stumbles = self.state.health.projection_failures
        if stumbles and entries and stumbles[-1].seq >= entries[0].seq:
            log.error("entry %d: %s failed: %s", *msgspec.structs.astuple(stumbles[-1]))

    def station_time(self, state: State) -> datetime:
        """The station's wall clock: the host's UTC plus what the CSMS taught, whole ms."""
        return station_time(self._clock.utc(), state)

    def _clock_step_ms(self, host_utc: datetime, uptime_ms: int) -> int:
        """By how much the host's wall clock moved against its uptime; 0: it keeps time."""
        apart_ms = _wall_minus_uptime_ms(host_utc, uptime_ms)
        step_ms = apart_ms - self._wall_minus_uptime_ms
        if abs(step_ms) < CLOCK_STEP_MIN_MS:
            return 0
        self._wall_minus_uptime_ms = apart_ms
        return step_ms

    # --- Payloads -------------------------------------------------------------------------------

    def _cache_payloads(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.event, CallQueued):
                self._payloads[entry.seq] = entry.event.payload
        while len(self._payloads) > CACHED_PAYLOADS_MAX:
            self._payloads.popitem(last=False)

    def read_payload(self, call_seq: int) -> msgspec.Raw:
        """The payload of a queued call: from memory when it is new, else from the journal.

        Raises:
            LookupError: it is not there, or cannot be read.
            JournalFailed: the file cannot be read there.
        """
        found = self._payloads.get(call_seq)
        if found is not None:
            return found
        event = self._store.read_entry(call_seq).event
        if not isinstance(event, CallQueued):
            raise LookupError(f"entry {call_seq} queues no call")  # noqa: TRY004  # the file's fault
        return event.payload


def _wall_minus_uptime_ms(host_utc: datetime, uptime_ms: int) -> int:
    """Wall clock less uptime."""
    return round(host_utc.timestamp() * 1000) - uptime_ms
