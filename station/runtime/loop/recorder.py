"""The recorder: the one task that turns observations into committed entries.

A commit goes through these steps; only one is under way at a time:

1. `observe` puts an observation into the queue, with wall clock and uptime of that moment. It never
   waits. If the host's wall clock has stepped against its uptime by a second or more, a
   ClockStepped goes in before it.
2. The batch: up to 256 queued observations, or as many as are decided within 10 ms, so that no
   peer can hold the loop with requests that are cheap to send and expensive to decide. Whatever
   arrives during a commit goes into the next one (group commit): a busy station makes few large
   commits and an idle one many small ones. Other tasks get a turn between two batches.
3. `decide_batch` (pure) gives the entries and the state after them.
4. The commit thread writes and syncs the entries; meanwhile the loop computes the desired state.
5. Once the entries are on disk: state and head are replaced, the desired state is published,
   waiting tasks are woken. Nothing decided here is visible outside before this step (P3).

Rules:

* A lazy observation (FrameSent and the like) does not start a commit by itself for one second, so
  that it shares the commit of the next observation.
* When the disk is full, the reserve is released and the same entries are written again, once.
* Any other failure to write ends the task with JournalFailed: nothing of that commit counts, and
  the program ends. A station that cannot record must not sell.
* When the task is cancelled, what is in the queue is still committed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from math import inf
from typing import Final

import msgspec
import trio

from journal.events import Entry, Event, Observation
from journal.observations import ClockStepped, DeviceFaulted, DeviceRecovered, MeterRead
from journal.projections.authorizations import AuthorizationRefused
from journal.projections.outbox import CallQueued
from journal.projections.station_health import RuleFailed
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from journal.state import State
from journal.storage.errors import DiskFull
from journal.storage.store import Store
from station.core.context import Product
from station.core.decide_batch import TimedObservation, decide_batch, station_time
from station.core.desired import DesiredState, DesiredStateMemo
from station.runtime.clock import Clock
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.recent_maximum import RecentMaximum
from station.runtime.watched_value import WatchedValue
from station.transcript.lines import describe_event

log = logging.getLogger("station")

BATCH_MAX: Final = 256  # observations in one commit: bounds its length and what a crash loses
DECIDE_TIME_MAX_MS: Final = 10  # of one batch; the loop does nothing else meanwhile
LAZY_DELAY_S: Final = 1.0  # how long a lazy observation may wait for another one's commit
CLOCK_STEP_MIN_MS: Final = 1_000  # smaller steps are how the host keeps its clock in time
LOGGED_EVENTS: Final[dict[type[Event], int]] = {
    DeviceFaulted: logging.WARNING,
    DeviceRecovered: logging.INFO,
    AuthorizationRefused: logging.WARNING,
    TransactionStarted: logging.INFO,
    TransactionStopOrdered: logging.INFO,
}
CACHED_PAYLOADS_MAX: Final = 64  # queued calls with the payload in RAM


class CommitTimes:
    """How long commits take, from the first byte handed to the thread until they are on disk.

    Attributes:
        count, total_s: of this run.
        last_s: the last commit.
        recent: the longest of the last minute, s.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.last_s = 0.0
        self.recent = RecentMaximum()

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds
        self.last_s = seconds
        self.recent.add(seconds, trio.current_time())


async def _without_reserve() -> bool:
    """A full disk fails the commit."""
    return False


class Recorder:
    """Owns state and head of the journal.

    Attributes:
        state, head: of the last commit.
        commit_times: how long commits take.
        desired_state: computed from them.
        committed: set by the next commit, then replaced.
    """

    def __init__(
        self,
        product: Product,
        store: Store,
        state: State,
        clock: Clock,
        *,
        latest_reading: Callable[[int], MeterRead | None] = lambda evse_id: None,
        release_reserve: Callable[[], Awaitable[bool]] = _without_reserve,
        commit_thread: CommitThread | None = None,
    ) -> None:
        """Prepare; `run` commits.

        Args:
            product: what is decided with.
            store: the journal, open for writing.
            state: at the journal's head.
            clock: times the observations.
            latest_reading: the newest reading of an EVSE's meter, recorded or not.
            release_reserve: frees disk space for one commit; returns whether there was any.
            commit_thread: writes the entries; None: commits block the loop.
        """
        self.product = product
        self.state = state
        self.head = store.head
        self.desired_state: WatchedValue[DesiredState] = WatchedValue(DesiredState())
        self.committed = trio.Event()
        self.commit_times = CommitTimes()
        self._latest_reading = latest_reading
        self._release_reserve = release_reserve
        self._store = store
        self._clock = clock
        self._commit_thread = commit_thread
        self._queue: deque[TimedObservation] = deque()
        self._commit_requested = trio.Event()
        self._delay_scope = trio.CancelScope()  # expires when a lazy observation has waited enough
        self._committing = False
        self._commit_started_at: float | None = None  # of the commit under way
        self._payloads: OrderedDict[int, msgspec.Raw] = OrderedDict()
        self._wall_minus_uptime_ms = _wall_minus_uptime_ms(clock.utc(), clock.uptime_ms())
        self._desired_state_memo = DesiredStateMemo()
        self._logged_failure = ""  # of the desired state; the same one is logged once

    # --- Queue ----------------------------------------------------------------------------------

    def observe(self, observation: Observation, *, lazy: bool = False) -> None:
        """Queue an observation for the next commit.

        Args:
            observation: any task may report it; the call never waits.
            lazy: do not start a commit for it within the next second.
        """
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
        """Return once the queue is shorter than one commit. Slows down a CSMS that floods us."""
        while len(self._queue) >= BATCH_MAX:
            await self.committed.wait()

    async def wait_until_idle(self) -> None:
        """Return at a moment when every observation so far is committed."""
        while self._queue or self._committing:
            await self.committed.wait()

    def commit_age_s(self) -> float:
        """For how long the commit under way has been waiting for the disk; 0: none is."""
        started_at = self._commit_started_at
        return 0.0 if started_at is None else trio.current_time() - started_at

    # --- Commit ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit until cancelled; what is queued then is still committed.

        Raises:
            JournalFailed: the disk did not take a commit. Nothing of it counts.
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
        """Commit what is queued; for the first entries, before `run`."""
        await self._commit_batch()
        while self._queue:
            await self._commit_batch()

    async def _commit_batch(self) -> None:
        self._committing = True
        self._commit_started_at = trio.current_time()
        end_ms = self._clock.uptime_ms() + DECIDE_TIME_MAX_MS
        entries, state, count = decide_batch(
            self.product,
            self.state,
            self.head,
            self._queue,
            count_max=BATCH_MAX,
            is_time_up=lambda: self._clock.uptime_ms() >= end_ms,
            latest_reading=self._latest_reading,
        )
        for _ in range(count):
            self._queue.popleft()
        if not self._queue:
            self._commit_requested, self._delay_scope = trio.Event(), trio.CancelScope()
        started_s = trio.current_time()
        self._start_commit(entries)
        desired = self._desired_state_memo.compute(  # while the disk is busy
            self.product, state, entries[-1]
        )
        with trio.CancelScope(shield=True):  # a batch that was decided is stored
            await self._store_entries(entries)
        self.commit_times.add(trio.current_time() - started_s)
        self.state, self.head = state, self._store.head
        self._cache_payloads(entries)
        self._log_entries(entries)
        self._log_failures(entries, desired)
        self.desired_state.set(desired)
        self._committing, self._commit_started_at = False, None
        self.committed.set()
        self.committed = trio.Event()

    async def _store_entries(self, entries: list[Entry]) -> None:
        """Return once the entries are on disk; a full disk is given the reserve."""
        try:
            await self._finish_commit(entries)
        except DiskFull:
            if not await self._release_reserve():
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

    def _log_entries(self, entries: Sequence[Entry]) -> None:
        """Log what a technician looks for first, in the words of the transcript."""
        for entry in entries:
            level = LOGGED_EVENTS.get(type(entry.event))
            if level is not None:
                log.log(level, "entry %d: %s %s", entry.seq, *describe_event(entry.event))

    def _log_failures(self, entries: Sequence[Entry], desired: DesiredState) -> None:
        """Log errors in rules, projections and the desired state: bugs for a developer to fix."""
        for entry in entries:
            if isinstance(entry.event, RuleFailed):
                log.error(
                    "entry %d: rule %s failed: %s. It decided nothing.",
                    entry.seq,
                    entry.event.rule,
                    entry.event.exception,
                )
        failures = self.state.health.projection_failures
        if failures and entries and failures[-1].seq >= entries[0].seq:
            log.error(
                "entry %d: projection %s failed: %s. It keeps its value.",
                *msgspec.structs.astuple(failures[-1]),
            )
        if desired.failure and desired.failure != self._logged_failure:
            log.error("cannot compute the desired state; charging is disabled: %s", desired.failure)
        self._logged_failure = desired.failure

    # --- Time -----------------------------------------------------------------------------------

    def station_time(self, state: State) -> datetime:
        """The station's wall clock: the host's UTC plus the offset from the CSMS, whole ms."""
        return station_time(self._clock.utc(), state)

    def _clock_step_ms(self, host_utc: datetime, uptime_ms: int) -> int:
        """How far the host's wall clock stepped against its uptime since the last call; 0: none."""
        difference_ms = _wall_minus_uptime_ms(host_utc, uptime_ms)
        step_ms = difference_ms - self._wall_minus_uptime_ms
        if abs(step_ms) < CLOCK_STEP_MIN_MS:
            return 0
        self._wall_minus_uptime_ms = difference_ms
        return step_ms

    # --- Payloads -------------------------------------------------------------------------------

    def _cache_payloads(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.event, CallQueued):
                self._payloads[entry.seq] = entry.event.payload
        while len(self._payloads) > CACHED_PAYLOADS_MAX:
            self._payloads.popitem(last=False)

    def read_payload(self, call_seq: int) -> msgspec.Raw:
        """Payload of the call queued by an entry: from RAM if it is recent, else from the journal.

        Raises:
            LookupError: the entry is missing, unreadable, or queues no call.
            JournalFailed: the file cannot be read there.
        """
        cached = self._payloads.get(call_seq)
        if cached is not None:
            return cached
        event = self._store.read_entry(call_seq).event
        if not isinstance(event, CallQueued):
            raise LookupError(f"entry {call_seq} queues no call")  # noqa: TRY004  # the file's fault
        return event.payload


def _wall_minus_uptime_ms(host_utc: datetime, uptime_ms: int) -> int:
    return round(host_utc.timestamp() * 1000) - uptime_ms
