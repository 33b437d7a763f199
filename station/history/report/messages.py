"""Message statistics of a range: unconfirmed calls, dropped calls, response times of both sides."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from journal.events import Entry
from journal.observations import FrameReceived, FrameSent, StationStarted
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    Outbox,
)
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from station.ocpp import rpc

FindEntry = Callable[[int], Entry | None]
T = TypeVar("T")

LISTED_CALLS_MAX: Final = 50  # calls of a kind that are listed
PENDING_MAX: Final = 256  # calls and answers in flight that are kept
ACTIONS_MAX: Final = 100  # OCPP 2.0.1 has 64; a CSMS can send others
OTHER_ACTIONS: Final = "(others)"
HANDLES: Final = frozenset((*Outbox.HANDLES, FrameReceived, CallResultQueued, CallErrorQueued))
CALL_ERROR: Final = "(CALLERROR)"


def _bucket_bounds() -> Iterator[int]:
    bound = 1
    while bound < 10_000_000:
        yield bound
        bound = max(bound + 1, bound * 11 // 10)


BUCKET_BOUNDS_MS: Final = tuple(_bucket_bounds())  # 10 % apart: the accuracy of a percentile


@dataclass
class ResponseTimes:
    """Response times of an action, in milliseconds of uptime."""

    count: int = 0
    total_ms: int = 0
    least_ms: int = 0
    most_ms: int = 0
    failed_attempts: int = 0  # attempts without a valid answer
    _buckets: Counter[int] = field(default_factory=Counter)

    def add(self, ms: int) -> None:
        self.least_ms = ms if not self.count else min(self.least_ms, ms)
        self.most_ms = max(self.most_ms, ms)
        self.count += 1
        self.total_ms += ms
        self._buckets[bisect_left(BUCKET_BOUNDS_MS, ms)] += 1

    def percentile_ms(self, percent: int) -> int:
        """An upper bound for this percentage of the answers, at most 10 % too high."""
        needed, counted = -(-self.count * percent // 100), 0
        for bucket in sorted(self._buckets):
            counted += self._buckets[bucket]
            if counted >= needed and bucket < len(BUCKET_BOUNDS_MS):
                return min(BUCKET_BOUNDS_MS[bucket], self.most_ms)
        return self.most_ms


class UnconfirmedCall(NamedTuple):
    """A call the CSMS has not confirmed."""

    call: int
    queued_entry: Entry | None  # None: unreadable
    attempts: int
    reason: str  # why it is parked; empty: it waits


class MessageStatistics:
    """Statistics of both directions."""

    def __init__(self) -> None:
        self.csms_times: dict[str, ResponseTimes] = {}  # by action of the station's calls
        self.station_times: dict[str, ResponseTimes] = {}  # by action of the CSMS's calls
        self.times_parked = 0  # how often a call was parked
        self.dropped_by_reason: Counter[str] = Counter()  # calls, by reason
        self._outbox = Outbox()
        self._attempts_by_call: dict[int, int] = {}  # attempts of calls that wait
        self._pending_calls: dict[
            str, tuple[str, int]
        ] = {}  # messageId -> action, uptime of sending
        self._received_uptime_ms: dict[str, int] = {}  # messageId of a call of the CSMS -> uptime
        self._pending_responses: dict[
            str, str
        ] = {}  # messageId -> action of an answer not sent yet

    # --- Entries ---------------------------------------------------------------------------------

    def apply(self, entry: Entry, in_range: bool) -> None:
        """Apply an entry.

        Args:
            in_range: the entry is in the range and counts.

        Raises:
            AssertionError, LookupError: it contradicts the entries before.
        """
        event = entry.event
        if isinstance(event, Outbox.HANDLES):
            self._outbox = self._outbox.apply(entry)
        match event:
            case CallAttempted(call_seq=call_seq, message_id=message_id, action=action):
                self._attempts_by_call[call_seq] = self._attempts_by_call.get(call_seq, 0) + 1
                _keep_newest(self._pending_calls, message_id, (action, entry.uptime_ms))
            case FrameSent(message_id=message_id):
                self._on_frame_sent(message_id, entry.uptime_ms, in_range)
            case FrameReceived(frame=frame):
                self._on_frame_received(bytes(frame), entry.uptime_ms)
            case CallResultQueued(message_id=message_id, action=action):
                _keep_newest(self._pending_responses, message_id, action)
            case CallErrorQueued(message_id=message_id):
                _keep_newest(self._pending_responses, message_id, CALL_ERROR)
            case CallDelivered(call_seq=call_seq, message_id=message_id):
                self._attempts_by_call.pop(call_seq, None)
                if (pending := self._pending_calls.pop(message_id, None)) and in_range:
                    action, sent_ms = pending
                    times = _times_for_action(self.csms_times, action)
                    times.add(max(0, entry.uptime_ms - sent_ms))
            case CallAttemptFailed(message_id=message_id) if in_range:
                action = self._pending_calls.get(message_id, (OTHER_ACTIONS, 0))[0]
                _times_for_action(self.csms_times, action).failed_attempts += 1
            case CallParked():
                self.times_parked += in_range
            case CallsDropped(call_seqs=call_seqs, reason=reason):
                for call_seq in call_seqs:
                    self._attempts_by_call.pop(call_seq, None)
                if in_range:
                    self._count_dropped(reason, len(call_seqs))
            case StationStarted():
                self._pending_calls.clear()
                self._received_uptime_ms.clear()
                self._pending_responses.clear()

    def _count_dropped(self, reason: str, count: int) -> None:
        by_reason = self.dropped_by_reason
        is_listed = reason in by_reason or len(by_reason) < ACTIONS_MAX
        by_reason[reason if is_listed else OTHER_ACTIONS] += count

    def _on_frame_sent(self, message_id: str, uptime_ms: int, in_range: bool) -> None:
        if message_id in self._pending_calls:
            self._pending_calls[message_id] = (self._pending_calls[message_id][0], uptime_ms)
        action = self._pending_responses.pop(message_id, None)
        received_ms = self._received_uptime_ms.pop(message_id, None)
        if action is not None and received_ms is not None and in_range:
            _times_for_action(self.station_times, action).add(max(0, uptime_ms - received_ms))

    def _on_frame_received(self, frame: bytes, uptime_ms: int) -> None:
        if frame[:12].lstrip(b"[ \t\r\n")[:1] != b"2":
            return  # an answer; CallDelivered, which follows, names its call
        call = rpc.parse_frame(frame)
        if isinstance(call, rpc.CallFrame):
            _keep_newest(self._received_uptime_ms, call.message_id, uptime_ms)

    # --- Results ---------------------------------------------------------------------------------

    @property
    def waiting_count(self) -> int:
        return len(self._outbox)

    @property
    def parked_count(self) -> int:
        return len(self._outbox.parked)

    def unconfirmed_calls(self, find_entry: FindEntry) -> Iterator[UnconfirmedCall]:
        """The oldest parked calls, then the oldest waiting calls."""
        reasons = {parked.call_seq: parked.reason for parked in self._outbox.parked}
        waiting = sorted((*self._outbox.transaction, *self._outbox.general))
        if self._outbox.boot_call_seq is not None:
            waiting.insert(0, self._outbox.boot_call_seq)
        for call in (*sorted(reasons)[:LISTED_CALLS_MAX], *waiting[:LISTED_CALLS_MAX]):
            reason = reasons.get(call, "")
            yield UnconfirmedCall(
                call, find_entry(call), self._attempts_by_call.get(call, 0), reason
            )


def _keep_newest(table: dict[str, T], key: str, value: T) -> None:
    """Add a value and drop the oldest above PENDING_MAX: answers may never arrive."""
    table[key] = value
    if len(table) > PENDING_MAX:
        del table[next(iter(table))]


def _times_for_action(table: dict[str, ResponseTimes], action: str) -> ResponseTimes:
    if action not in table and len(table) >= ACTIONS_MAX:
        action = OTHER_ACTIONS
    return table.setdefault(action, ResponseTimes())


def find_queued_call(entry: Entry | None) -> CallQueued | None:
    """The event that queued a call."""
    event = entry.event if entry else None
    return event if isinstance(event, CallQueued) else None
