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

from journal.events import Decision, Entry, Event, Observation
from journal.observations import FrameReceived, FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.authorizations import AuthorizationEnded, AuthorizationGranted
from journal.projections.outbox import CallAttempted, CallDelivered, CallQueued, CallsDropped
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from station.ocpp import rpc
from station.ocpp.messages import ACTIONS

WHOLE_STATION_ID: Final = 0  # among EVSEs: each of them is concerned
BLOCKS: Final = "ABCDEFGHIJKLMNOP"
EMPTY: Final[frozenset[Any]] = frozenset()


class Subject(NamedTuple):
    """What an entry is about; empty where it is about none."""

    evse_ids: frozenset[int] = EMPTY
    transaction_ids: frozenset[str] = EMPTY  # transactionIds
    blocks: frozenset[str] = EMPTY  # letters: of the message it is, answers, or follows from

    def union(self, other: Subject) -> Subject:
        """What both are about."""
        return Subject(
            self.evse_ids | other.evse_ids,
            self.transaction_ids | other.transaction_ids,
            self.blocks | other.blocks,
        )

    def or_else(self, other: Subject) -> Subject:
        """The same; where it is about nothing, what the other is about."""
        return Subject(
            self.evse_ids or other.evse_ids,
            self.transaction_ids or other.transaction_ids,
            self.blocks or other.blocks,
        )


NO_SUBJECT: Final = Subject()


def find_block(action: str) -> str | None:
    """The letter of the block that an action belongs to; None: OCPP 2.0.1 has no such action."""
    known = ACTIONS.get(action)
    # One module for each block holds its messages: station.ocpp.messages.e_transactions.
    return known.request.__module__.rpartition(".")[2][0].upper() if known else None


class SubjectTracker:
    """One walk through a journal, in order."""

    def __init__(self) -> None:
        self._observation_subject = NO_SUBJECT  # of the observation whose decisions follow
        self._subject_by_call: dict[int, Subject] = {}  # queued and neither delivered nor dropped
        self._message_ids_by_call: dict[int, list[str]] = {}  # call -> messageIds
        self._subject_by_message_id: dict[
            str, Subject
        ] = {}  # messageId of an attempt -> of its call
        self._subject_by_reply_id: dict[
            str, Subject
        ] = {}  # messageId of the CSMS -> of an answer not sent yet
        self._subject_by_authorization: dict[
            int, Subject
        ] = {}  # entry of a right to charge -> its EVSE
        self._evses_by_transaction: dict[
            str, frozenset[int]
        ] = {}  # transactionId -> EVSE, while it is open

    def find_subject(self, entry: Entry) -> Subject:
        """What this entry concerns; each entry is asked about once."""
        event = entry.event
        concern = self._with_evses(self._stated_subject(event))
        if isinstance(event, Observation):
            self._observation_subject = concern
        elif isinstance(event, CallResultQueued | CallErrorQueued):
            concern = concern.union(self._observation_subject)
        elif not hasattr(event, "call_seq") and not isinstance(event, CallQueued | CallsDropped):
            concern = concern.or_else(self._observation_subject)
        self._record_subject(entry, concern)
        return concern

    # --- What it says ---------------------------------------------------------------------------

    def _stated_subject(self, event: Event) -> Subject:
        """What stands in the event, and in what it names."""
        match event:
            case FrameReceived(frame=frame):
                return self._frame_subject(frame)
            case FrameSent(message_id=name):
                return self._subject_by_reply_id.get(name) or self._subject_by_message_id.get(
                    name, NO_SUBJECT
                )
            case CallQueued():
                return _message_subject(event.action, event.payload).union(_field_subject(event))
            case CallResultQueued(action=action, payload=payload):
                return _message_subject(action, payload)
        return _field_subject(event).union(self._linked_subject(event))

    def _frame_subject(self, frame: msgspec.Raw) -> Subject:
        match rpc.parse_frame(frame):
            case rpc.CallFrame(action=action, payload=payload):
                return _message_subject(action, payload)
            case rpc.CallResultFrame(message_id=name) | rpc.CallErrorFrame(message_id=name):
                return self._subject_by_message_id.get(name, NO_SUBJECT)
        return NO_SUBJECT

    def _linked_subject(self, event: Event) -> Subject:
        calls: Iterable[int] = getattr(event, "call_seqs", ())
        found = [
            self._subject_by_call.get(call) for call in (getattr(event, "call_seq", 0), *calls)
        ]
        found.append(self._subject_by_authorization.get(getattr(event, "authorization_seq", 0)))
        return _unite_subjects(one for one in found if one)

    def _with_evses(self, subject: Subject) -> Subject:
        """A transaction is where it was said to be, also where only its name is told."""
        if subject.evse_ids or not subject.transaction_ids:
            return subject
        places = (self._evses_by_transaction.get(one, EMPTY) for one in subject.transaction_ids)
        return subject._replace(evse_ids=EMPTY.union(*places))

    # --- What may be spoken of later ------------------------------------------------------------

    def _record_subject(self, entry: Entry, subject: Subject) -> None:
        self._record_evse(entry.event, subject)
        match entry.event:
            case CallQueued(transaction_event=mark):
                self._subject_by_call[entry.seq] = subject
                if mark is not None and mark.event_type == "Ended":
                    self._evses_by_transaction.pop(mark.transaction_id, None)
                    self._subject_by_authorization.pop(mark.authorization_seq, None)
            case CallAttempted(call_seq=call, message_id=name):
                self._message_ids_by_call.setdefault(call, []).append(name)
                self._subject_by_message_id[name] = subject
            case CallDelivered(call_seq=call):
                self._drop_calls((call,))
            case CallsDropped(call_seqs=calls):
                self._drop_calls(calls)
            case CallResultQueued(message_id=name) | CallErrorQueued(message_id=name):
                self._subject_by_reply_id[name] = subject
            case FrameSent(message_id=name):
                self._subject_by_reply_id.pop(name, None)
            case LinkOpened() | LinkClosed() | StationStarted():
                self._subject_by_reply_id.clear()  # an answer belongs to the connection that asked
            case AuthorizationGranted():
                self._subject_by_authorization[entry.seq] = Subject(evse_ids=subject.evse_ids)
            case AuthorizationEnded(authorization_seq=seq):
                self._subject_by_authorization.pop(seq, None)

    def _record_evse(self, event: Event, subject: Subject) -> None:
        """Learn where a transaction, or a right to charge, is."""
        here = subject.evse_ids - {WHOLE_STATION_ID}
        if len(here) != 1 or not isinstance(event, Decision):
            return
        for name in _field_subject(event).transaction_ids:
            self._evses_by_transaction[name] = here
        right = getattr(event, "authorization_seq", 0)
        if right in self._subject_by_authorization:
            self._subject_by_authorization[right] = Subject(evse_ids=here)

    def _drop_calls(self, calls: Iterable[int]) -> None:
        for call in calls:
            self._subject_by_call.pop(call, None)
            for name in self._message_ids_by_call.pop(call, ()):
                self._subject_by_message_id.pop(name, None)


def _message_subject(action: str, payload: msgspec.Raw) -> Subject:
    """What a message is about by its action, and by what it names."""
    block = find_block(action)
    blocks = frozenset(block) if block else EMPTY
    if not _SUBJECT_KEYS.search(payload):
        return Subject(blocks=blocks)
    named = list(_find_ids(msgspec.json.decode(payload)))
    evses = frozenset(one for one in named if isinstance(one, int))
    return Subject(evses, frozenset(one for one in named if isinstance(one, str)), blocks)


# What a payload must have in it to name an EVSE or a transaction.
_SUBJECT_KEYS: Final = re.compile(rb'"(?:evse|evseId|transactionId)"')


def _find_ids(node: Any) -> Iterator[int | str]:
    """Every EVSE (its number) and transaction (its name) in a message, wherever it stands."""
    if isinstance(node, list):
        for one in node:
            yield from _find_ids(one)
    elif isinstance(node, dict):
        for name, value in node.items():
            match name, value:
                case ("evseId", int(number)) | ("evse", {"id": int(number)}):
                    yield number
                case "transactionId", str(text):
                    yield text
                case _:
                    yield from _find_ids(value)


def _field_subject(event: Event) -> Subject:
    """What the fields of an event name."""
    marks = [
        getattr(event, name, None) for name in ("transaction_event", "connector_status", "sample")
    ]
    parts = [event, *marks, getattr(marks[-1], "meter_read", None)]
    evses = {evse_id for one in parts if (evse_id := getattr(one, "evse_id", None)) is not None}
    names = {name for one in parts if (name := getattr(one, "transaction_id", None))}
    if names:
        evses.discard(WHOLE_STATION_ID)  # of a transaction it says that nobody knows yet
    return Subject(frozenset(evses), frozenset(names))


def _unite_subjects(subjects: Iterable[Subject]) -> Subject:
    return reduce(Subject.union, subjects, NO_SUBJECT)
