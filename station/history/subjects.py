"""What does an entry concern: which EVSE, which transaction, which block of OCPP?

Much of it stands in the entry itself; the rest in what it speaks of, such as the call that is
attempted or the right to charge that ends. That is remembered for as long as something can still
speak of it, so a walk through a journal of any length takes little memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any, Final, NamedTuple

import msgspec

from journal.observations import FrameReceived, FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.authorizations import AuthorizationEnded, AuthorizationGranted
from journal.projections.outbox import CallAttempted, CallDelivered, CallQueued, CallsDropped
from journal.projections.replies import CallAnswered, CallRefused
from journal.terms import Decision, Entry, Event, Observation
from station import ocppj
from station.messages import ACTIONS

WHOLE_STATION: Final = 0  # among EVSEs: each of them is concerned
BLOCKS: Final = "ABCDEFGHIJKLMNOP"
NOWHERE: Final[frozenset[Any]] = frozenset()


class Concern(NamedTuple):
    """What an entry is about; empty where it is about none."""

    evses: frozenset[int] = NOWHERE
    transactions: frozenset[str] = NOWHERE  # transactionIds
    blocks: frozenset[str] = NOWHERE  # letters: of the message it is, answers, or follows from

    def joined(self, other: Concern) -> Concern:
        """What both are about."""
        return Concern(
            self.evses | other.evses,
            self.transactions | other.transactions,
            self.blocks | other.blocks,
        )

    def or_else(self, other: Concern) -> Concern:
        """The same; where it is about nothing, what the other is about."""
        return Concern(
            self.evses or other.evses,
            self.transactions or other.transactions,
            self.blocks or other.blocks,
        )


NOTHING: Final = Concern()


def block_of(action: str) -> str | None:
    """The letter of the block that an action belongs to; None: OCPP 2.0.1 has no such action."""
    known = ACTIONS.get(action)
    # One module for each block holds its messages: station.messages.e_transactions.
    return known.request.__module__.rpartition(".")[2][0].upper() if known else None


class Subjects:
    """One walk through a journal, in order."""

    def __init__(self) -> None:
        self._heard = NOTHING  # of the observation whose decisions follow
        self._calls: dict[int, Concern] = {}  # queued and neither delivered nor dropped
        self._attempts: dict[int, list[str]] = {}  # call -> messageIds
        self._messages: dict[str, Concern] = {}  # messageId of an attempt -> of its call
        self._replies: dict[str, Concern] = {}  # messageId of the CSMS -> of an answer not sent yet
        self._rights: dict[int, Concern] = {}  # entry of a right to charge -> its EVSE
        self._places: dict[str, frozenset[int]] = {}  # transactionId -> EVSE, while it is open

    def of(self, entry: Entry) -> Concern:
        """What this entry concerns; each entry is asked about once."""
        event = entry.event
        concern = self._placed(self._own(event))
        if isinstance(event, Observation):
            self._heard = concern
        elif isinstance(event, CallAnswered | CallRefused):
            concern = concern.joined(self._heard)
        elif not hasattr(event, "call") and not isinstance(event, CallQueued | CallsDropped):
            concern = concern.or_else(self._heard)
        self._remember(entry, concern)
        return concern

    # --- What it says ---------------------------------------------------------------------------

    def _own(self, event: Event) -> Concern:
        """What stands in the event, and in what it names."""
        match event:
            case FrameReceived(frame=frame):
                return self._frame(frame)
            case FrameSent(message_id=name):
                return self._replies.get(name) or self._messages.get(name, NOTHING)
            case CallQueued():
                return _call(event.action, event.payload).joined(_fields(event))
            case CallAnswered(action=action, payload=payload):
                return _call(action, payload)
        return _fields(event).joined(self._linked(event))

    def _frame(self, frame: msgspec.Raw) -> Concern:
        match ocppj.read(frame):
            case ocppj.CallFrame(action=action, payload=payload):
                return _call(action, payload)
            case ocppj.ResultFrame(message_id=name) | ocppj.ErrorFrame(message_id=name):
                return self._messages.get(name, NOTHING)
        return NOTHING

    def _linked(self, event: Event) -> Concern:
        calls: Iterable[int] = getattr(event, "calls", ())
        found = [self._calls.get(call) for call in (getattr(event, "call", 0), *calls)]
        found.append(self._rights.get(getattr(event, "granted_seq", 0)))
        return _all(one for one in found if one)

    def _placed(self, concern: Concern) -> Concern:
        """A transaction is where it was said to be, also where only its name is told."""
        if concern.evses or not concern.transactions:
            return concern
        places = (self._places.get(one, NOWHERE) for one in concern.transactions)
        return concern._replace(evses=NOWHERE.union(*places))

    # --- What may be spoken of later ------------------------------------------------------------

    def _remember(self, entry: Entry, concern: Concern) -> None:
        self._locate(entry.event, concern)
        match entry.event:
            case CallQueued(transaction=mark):
                self._calls[entry.seq] = concern
                if mark is not None and mark.event_type == "Ended":
                    self._places.pop(mark.transaction_id, None)
                    self._rights.pop(mark.granted_seq, None)
            case CallAttempted(call=call, message_id=name):
                self._attempts.setdefault(call, []).append(name)
                self._messages[name] = concern
            case CallDelivered(call=call):
                self._forget((call,))
            case CallsDropped(calls=calls):
                self._forget(calls)
            case CallAnswered(message_id=name) | CallRefused(message_id=name):
                self._replies[name] = concern
            case FrameSent(message_id=name):
                self._replies.pop(name, None)
            case LinkOpened() | LinkClosed() | StationStarted():
                self._replies.clear()  # an answer belongs to the connection that asked
            case AuthorizationGranted():
                self._rights[entry.seq] = Concern(evses=concern.evses)
            case AuthorizationEnded(granted_seq=seq):
                self._rights.pop(seq, None)

    def _locate(self, event: Event, concern: Concern) -> None:
        """Learn where a transaction, or a right to charge, is."""
        here = concern.evses - {WHOLE_STATION}
        if len(here) != 1 or not isinstance(event, Decision):
            return
        for name in _fields(event).transactions:
            self._places[name] = here
        right = getattr(event, "granted_seq", 0)
        if right in self._rights:
            self._rights[right] = Concern(evses=here)

    def _forget(self, calls: Iterable[int]) -> None:
        for call in calls:
            self._calls.pop(call, None)
            for name in self._attempts.pop(call, ()):
                self._messages.pop(name, None)


def _call(action: str, payload: msgspec.Raw) -> Concern:
    """What a message is about by its action, and by what it names."""
    block = block_of(action)
    blocks = frozenset(block) if block else NOWHERE
    if not _NAMES.search(payload):
        return Concern(blocks=blocks)
    named = list(_named(msgspec.json.decode(payload)))
    evses = frozenset(one for one in named if isinstance(one, int))
    return Concern(evses, frozenset(one for one in named if isinstance(one, str)), blocks)


# What a payload must have in it to name an EVSE or a transaction.
_NAMES: Final = re.compile(rb'"(?:evse|evseId|transactionId)"')


def _named(part: Any) -> Iterator[int | str]:
    """Every EVSE (its number) and transaction (its name) in a message, wherever it stands."""
    if isinstance(part, list):
        for one in part:
            yield from _named(one)
    elif isinstance(part, dict):
        for name, value in part.items():
            match name, value:
                case ("evseId", int(number)) | ("evse", {"id": int(number)}):
                    yield number
                case "transactionId", str(text):
                    yield text
                case _:
                    yield from _named(value)


def _fields(event: Event) -> Concern:
    """What the fields of an event name."""
    marks = [getattr(event, name, None) for name in ("transaction", "status", "sample")]
    parts = [event, *marks, getattr(marks[-1], "read", None)]
    evses = {evse_id for one in parts if (evse_id := getattr(one, "evse_id", None)) is not None}
    names = {name for one in parts if (name := getattr(one, "transaction_id", None))}
    if names:
        evses.discard(WHOLE_STATION)  # of a transaction it says that nobody knows yet
    return Concern(frozenset(evses), frozenset(names))


def _all(concerns: Iterable[Concern]) -> Concern:
    return reduce(Concern.joined, concerns, NOTHING)
