"""What has the CSMS not confirmed, and how fast did either side answer?"""

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

LISTED_CALLS_MAX: Final = 50  # calls told one by one
PENDING_MAX: Final = 256  # calls and answers on their way that are remembered
ACTIONS_MAX: Final = 100  # OCPP 2.0.1 has 64; a CSMS may invent others
OTHER_ACTIONS: Final = "(others)"
HANDLES: Final = frozenset((*Outbox.HANDLES, FrameReceived, CallResultQueued, CallErrorQueued))
CALL_ERROR: Final = "(CALLERROR)"


def _bucket_bounds() -> Iterator[int]:
    bound = 1
    while bound < 10_000_000:
        yield bound
        bound = max(bound + 1, bound * 11 // 10)


BUCKET_BOUNDS_MS: Final = tuple(_bucket_bounds())  # a tenth apart: that exact is a quantile


@dataclass
class ResponseTimes:
    """How long answers took, in milliseconds of uptime."""

    count: int = 0
    total_ms: int = 0
    least_ms: int = 0
    most_ms: int = 0
    failed_attempts: int = 0  # attempts without a usable answer
    _buckets: Counter[int] = field(default_factory=Counter)

    def add(self, ms: int) -> None:
        self.least_ms = ms if not self.count else min(self.least_ms, ms)
        self.most_ms = max(self.most_ms, ms)
        self.count += 1
        self.total_ms += ms
        self._buckets[bisect_left(BUCKET_BOUNDS_MS, ms)] += 1

    def percentile_ms(self, percent: int) -> int:
        """So many percent took no longer; at most a tenth too much."""
        due, seen = -(-self.count * percent // 100), 0
        for place in sorted(self._buckets):
            seen += self._buckets[place]
            if seen >= due:
                return (
                    min(BUCKET_BOUNDS_MS[place], self.most_ms)
                    if place < len(BUCKET_BOUNDS_MS)
                    else self.most_ms
                )
        return self.most_ms


class UnconfirmedCall(NamedTuple):
    """A call the CSMS has not confirmed. `queued` is its entry, None where that is unreadable."""

    call: int
    queued_entry: Entry | None
    attempts: int
    reason: str  # why it is parked; empty: it waits


class MessageStatistics:
    """Both directions of the conversation."""

    def __init__(self) -> None:
        self.csms_times: dict[str, ResponseTimes] = {}  # by action of our calls
        self.station_times: dict[str, ResponseTimes] = {}  # by action of the CSMS's calls
        self.times_parked = 0  # times a call stepped aside
        self.dropped_by_reason: Counter[str] = Counter()  # calls, by reason
        self._outbox = Outbox()
        self._attempts_by_call: dict[int, int] = {}  # call -> how many; of those not settled
        self._pending_calls: dict[
            str, tuple[str, int]
        ] = {}  # messageId -> action, uptime when sent
        self._received_uptime_ms: dict[str, int] = {}  # messageId of a call of the CSMS -> uptime
        self._pending_responses: dict[str, str] = {}  # messageId -> action of an answer on its way

    # --- Hearing ---------------------------------------------------------------------------------

    def apply(self, entry: Entry, in_range: bool) -> None:
        """Take an entry in. `counts`: it lies in the range.

        Raises:
            AssertionError, LookupError: it fits no history.
        """
        event = entry.event
        if isinstance(event, Outbox.HANDLES):
            self._outbox = self._outbox.apply(entry)
        match event:
            case CallAttempted(call_seq=call, message_id=name, action=action):
                self._attempts_by_call[call] = self._attempts_by_call.get(call, 0) + 1
                _keep_newest(self._pending_calls, name, (action, entry.uptime_ms))
            case FrameSent(message_id=name):
                self._on_frame_sent(name, entry.uptime_ms, in_range)
            case FrameReceived(frame=frame):
                self._on_frame_received(bytes(frame), entry.uptime_ms)
            case CallResultQueued(message_id=name, action=action):
                _keep_newest(self._pending_responses, name, action)
            case CallErrorQueued(message_id=name):
                _keep_newest(self._pending_responses, name, CALL_ERROR)
            case CallDelivered(call_seq=call, message_id=name):
                self._attempts_by_call.pop(call, None)
                if (asked := self._pending_calls.pop(name, None)) and in_range:
                    _times_for_action(self.csms_times, asked[0]).add(
                        max(0, entry.uptime_ms - asked[1])
                    )
            case CallAttemptFailed(message_id=name) if in_range:
                action = self._pending_calls.get(name, (OTHER_ACTIONS, 0))[0]
                _times_for_action(self.csms_times, action).failed_attempts += 1
            case CallParked():
                self.times_parked += in_range
            case CallsDropped(call_seqs=calls, reason=reason):
                for call in calls:
                    self._attempts_by_call.pop(call, None)
                if in_range:
                    known = (
                        reason in self.dropped_by_reason
                        or len(self.dropped_by_reason) < ACTIONS_MAX
                    )
                    self.dropped_by_reason[reason if known else OTHER_ACTIONS] += len(calls)
            case StationStarted():
                self._pending_calls.clear()
                self._received_uptime_ms.clear()
                self._pending_responses.clear()

    def _on_frame_sent(self, message_id: str, uptime_ms: int, in_range: bool) -> None:
        if message_id in self._pending_calls:
            self._pending_calls[message_id] = (self._pending_calls[message_id][0], uptime_ms)
        action, heard = (
            self._pending_responses.pop(message_id, None),
            self._received_uptime_ms.pop(message_id, None),
        )
        if action is not None and heard is not None and in_range:
            _times_for_action(self.station_times, action).add(max(0, uptime_ms - heard))

    def _on_frame_received(self, frame: bytes, uptime_ms: int) -> None:
        if frame[:12].lstrip(b"[ \t\r\n")[:1] != b"2":
            return  # an answer; the decision that follows says to what
        read = rpc.parse_frame(frame)
        if isinstance(read, rpc.CallFrame):
            _keep_newest(self._received_uptime_ms, read.message_id, uptime_ms)

    # --- Looking ---------------------------------------------------------------------------------

    @property
    def waiting_count(self) -> int:
        return len(self._outbox)

    @property
    def parked_count(self) -> int:
        return len(self._outbox.parked)

    def unconfirmed_calls(self, find_entry: FindEntry) -> Iterator[UnconfirmedCall]:
        """The parked calls, then those that wait, the oldest of each."""
        reasons = {one.call_seq: one.reason for one in self._outbox.parked}
        waiting = sorted((*self._outbox.transaction, *self._outbox.general))
        if self._outbox.boot_call_seq is not None:
            waiting.insert(0, self._outbox.boot_call_seq)
        for call in (*sorted(reasons)[:LISTED_CALLS_MAX], *waiting[:LISTED_CALLS_MAX]):
            reason = reasons.get(call, "")
            yield UnconfirmedCall(
                call, find_entry(call), self._attempts_by_call.get(call, 0), reason
            )


def _keep_newest(table: dict[str, T], key: str, value: T) -> None:
    """Remember the newest only: what is never answered must not pile up."""
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
