"""What has the CSMS not confirmed, and how fast did either side answer?"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from journal.observations import FrameReceived, FrameSent, StationStarted
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    Outbox,
)
from journal.projections.replies import CallAnswered, CallRefused
from journal.terms import Entry
from station import ocppj

EntryOf = Callable[[int], Entry | None]
T = TypeVar("T")

LISTED_MAX: Final = 50  # calls told one by one
OPEN_MAX: Final = 256  # calls and answers on their way that are remembered
ACTIONS_MAX: Final = 100  # OCPP 2.0.1 has 64; a CSMS may invent others
ELSE: Final = "(others)"
HEARS: Final = frozenset((*Outbox.HEARS, FrameReceived, CallAnswered, CallRefused))
REFUSED: Final = "(CALLERROR)"


def _bounds() -> Iterator[int]:
    bound = 1
    while bound < 10_000_000:
        yield bound
        bound = max(bound + 1, bound * 11 // 10)


BOUNDS: Final = tuple(_bounds())  # a tenth apart: that exact is a quantile


@dataclass
class Answers:
    """How long answers took, in milliseconds of uptime."""

    count: int = 0
    total: int = 0
    least: int = 0
    most: int = 0
    failed: int = 0  # attempts without a usable answer
    _places: Counter[int] = field(default_factory=Counter)

    def add(self, ms: int) -> None:
        self.least = ms if not self.count else min(self.least, ms)
        self.most = max(self.most, ms)
        self.count += 1
        self.total += ms
        self._places[bisect_left(BOUNDS, ms)] += 1

    def within(self, percent: int) -> int:
        """So many percent took no longer; at most a tenth too much."""
        due, seen = -(-self.count * percent // 100), 0
        for place in sorted(self._places):
            seen += self._places[place]
            if seen >= due:
                return min(BOUNDS[place], self.most) if place < len(BOUNDS) else self.most
        return self.most


class Unconfirmed(NamedTuple):
    """A call the CSMS has not confirmed. `queued` is its entry, None where that is unreadable."""

    call: int
    queued: Entry | None
    attempts: int
    reason: str  # why it is parked; empty: it waits


class Talks:
    """Both directions of the conversation."""

    def __init__(self) -> None:
        self.csms: dict[str, Answers] = {}  # by action of our calls
        self.station: dict[str, Answers] = {}  # by action of the CSMS's calls
        self.parked = 0  # times a call stepped aside
        self.dropped: Counter[str] = Counter()  # calls, by reason
        self._outbox = Outbox()
        self._attempts: dict[int, int] = {}  # call -> how many; of those not settled
        self._asked: dict[str, tuple[str, int]] = {}  # messageId -> action, uptime when sent
        self._heard: dict[str, int] = {}  # messageId of a call of the CSMS -> uptime
        self._replies: dict[str, str] = {}  # messageId -> action of an answer on its way

    # --- Hearing ---------------------------------------------------------------------------------

    def hears(self, entry: Entry, counts: bool) -> None:
        """Take an entry in. `counts`: it lies in the range.

        Raises:
            AssertionError, LookupError: it fits no history.
        """
        event = entry.event
        if isinstance(event, Outbox.HEARS):
            self._outbox = self._outbox.after(entry)
        match event:
            case CallAttempted(call=call, message_id=name, action=action):
                self._attempts[call] = self._attempts.get(call, 0) + 1
                _keep(self._asked, name, (action, entry.uptime_ms))
            case FrameSent(message_id=name):
                self._sent(name, entry.uptime_ms, counts)
            case FrameReceived(frame=frame):
                self._received(bytes(frame), entry.uptime_ms)
            case CallAnswered(message_id=name, action=action):
                _keep(self._replies, name, action)
            case CallRefused(message_id=name):
                _keep(self._replies, name, REFUSED)
            case CallDelivered(call=call, message_id=name):
                self._attempts.pop(call, None)
                if (asked := self._asked.pop(name, None)) and counts:
                    _of(self.csms, asked[0]).add(max(0, entry.uptime_ms - asked[1]))
            case AttemptFailed(message_id=name) if counts:
                action = self._asked.get(name, (ELSE, 0))[0]
                _of(self.csms, action).failed += 1
            case CallParked():
                self.parked += counts
            case CallsDropped(calls=calls, reason=reason):
                for call in calls:
                    self._attempts.pop(call, None)
                if counts:
                    known = reason in self.dropped or len(self.dropped) < ACTIONS_MAX
                    self.dropped[reason if known else ELSE] += len(calls)
            case StationStarted():
                self._asked.clear()
                self._heard.clear()
                self._replies.clear()

    def _sent(self, name: str, uptime_ms: int, counts: bool) -> None:
        if name in self._asked:
            self._asked[name] = (self._asked[name][0], uptime_ms)
        action, heard = self._replies.pop(name, None), self._heard.pop(name, None)
        if action is not None and heard is not None and counts:
            _of(self.station, action).add(max(0, uptime_ms - heard))

    def _received(self, frame: bytes, uptime_ms: int) -> None:
        if frame[:12].lstrip(b"[ \t\r\n")[:1] != b"2":
            return  # an answer; the decision that follows says to what
        read = ocppj.read(frame)
        if isinstance(read, ocppj.CallFrame):
            _keep(self._heard, read.message_id, uptime_ms)

    # --- Looking ---------------------------------------------------------------------------------

    @property
    def waiting_count(self) -> int:
        return len(self._outbox)

    @property
    def parked_count(self) -> int:
        return len(self._outbox.parked)

    def unconfirmed(self, entry_of: EntryOf) -> Iterator[Unconfirmed]:
        """The parked calls, then those that wait, the oldest of each."""
        reasons = {one.call: one.reason for one in self._outbox.parked}
        waiting = sorted((*self._outbox.transaction, *self._outbox.rest))
        if self._outbox.boot is not None:
            waiting.insert(0, self._outbox.boot)
        for call in (*sorted(reasons)[:LISTED_MAX], *waiting[:LISTED_MAX]):
            reason = reasons.get(call, "")
            yield Unconfirmed(call, entry_of(call), self._attempts.get(call, 0), reason)


def _keep(table: dict[str, T], name: str, value: T) -> None:
    """Remember the newest only: what is never answered must not pile up."""
    table[name] = value
    if len(table) > OPEN_MAX:
        del table[next(iter(table))]


def _of(table: dict[str, Answers], action: str) -> Answers:
    if action not in table and len(table) >= ACTIONS_MAX:
        action = ELSE
    return table.setdefault(action, Answers())


def queued_of(entry: Entry | None) -> CallQueued | None:
    """The event that queued a call."""
    event = entry.event if entry else None
    return event if isinstance(event, CallQueued) else None
