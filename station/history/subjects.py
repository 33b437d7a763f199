"""Subject of an entry: which EVSEs, transactions and OCPP blocks it concerns.

A subject comes from the entry's own fields, from what it refers to (the call that is attempted, the
authorization that ends), and for a decision from its observation. References are kept only while
later entries can use them, so memory does not grow with the journal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any, Final, NamedTuple

import msgspec

from journal.events import Decision, Entry, Event, Observation
from journal.observations import (
    ClockStepped,
    FrameReceived,
    FrameSent,
    JournalDamageFound,
    LinkClosed,
    LinkOpened,
    SafeModeEntered,
    StationStarted,
    StationStopping,
    StorageReported,
)
from journal.projections.authorizations import AuthorizationEnded, AuthorizationGranted
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallAttempted, CallDelivered, CallQueued, CallsDropped
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from station.ocpp import rpc
from station.ocpp.messages import ACTIONS

WHOLE_STATION_ID: Final = 0  # among evse_ids: every EVSE
BLOCKS: Final = "ABCDEFGHIJKLMNOP"
EMPTY: Final[frozenset[Any]] = frozenset()

# Events without an EVSE that every EVSE is affected by: their times, their program, their disk.
STATION_WIDE_EVENTS: Final = (
    StationStarted,
    StationStopping,
    SafeModeEntered,
    JournalDamageFound,
    StorageReported,
    ClockStepped,
    ClockCorrected,
)


class Subject(NamedTuple):
    """EVSEs, transactions and blocks of an entry; each can be empty."""

    evse_ids: frozenset[int] = EMPTY
    transaction_ids: frozenset[str] = EMPTY  # transactionIds
    blocks: frozenset[str] = (
        EMPTY  # letters: of the message, of the one it answers, or of its observation
    )

    def union(self, other: Subject) -> Subject:
        """Both subjects together."""
        return Subject(
            self.evse_ids | other.evse_ids,
            self.transaction_ids | other.transaction_ids,
            self.blocks | other.blocks,
        )

    def or_else(self, other: Subject) -> Subject:
        """This subject; its empty parts are taken from the other."""
        return Subject(
            self.evse_ids or other.evse_ids,
            self.transaction_ids or other.transaction_ids,
            self.blocks or other.blocks,
        )


NO_SUBJECT: Final = Subject()


def find_block(action: str) -> str | None:
    """The letter of the block of an action; None: OCPP 2.0.1 has no such action."""
    messages = ACTIONS.get(action)
    # The messages of a block are in one module: station.ocpp.messages.e_transactions.
    return messages.request.__module__.rpartition(".")[2][0].upper() if messages else None


class SubjectTracker:
    """Subjects of the entries of a journal, read once, in order."""

    def __init__(self) -> None:
        self._observation_subject = NO_SUBJECT  # of the last observation
        self._subject_by_call: dict[
            int, Subject
        ] = {}  # calls that are neither delivered nor dropped
        self._message_ids_by_call: dict[int, list[str]] = {}  # call -> messageIds of its attempts
        self._subject_by_message_id: dict[str, Subject] = {}  # of attempts
        self._subject_by_reply_id: dict[str, Subject] = {}  # of answers that are not sent yet
        self._subject_by_authorization: dict[int, Subject] = {}  # by AuthorizationGranted
        self._evses_by_transaction: dict[str, frozenset[int]] = {}  # of open transactions

    def find_subject(self, entry: Entry) -> Subject:
        """The subject of an entry. Call it once for each entry, in order."""
        event = entry.event
        subject = self._with_evses(self._stated_subject(event))
        if isinstance(event, Observation):
            self._observation_subject = subject
        elif isinstance(event, CallResultQueued | CallErrorQueued):
            subject = subject.union(self._observation_subject)
        elif not hasattr(event, "call_seq") and not isinstance(event, CallQueued | CallsDropped):
            subject = subject.or_else(self._observation_subject)
        self._record_subject(entry, subject)
        return subject

    # --- Subject of an event ---------------------------------------------------------------------

    def _stated_subject(self, event: Event) -> Subject:
        """From the event's fields and what it refers to."""
        match event:
            case FrameReceived(frame=frame):
                return self._frame_subject(frame)
            case FrameSent(message_id=message_id):
                reply = self._subject_by_reply_id.get(message_id)
                return reply or self._subject_by_message_id.get(message_id, NO_SUBJECT)
            case CallQueued():
                return _message_subject(event.action, event.payload).union(_field_subject(event))
            case CallResultQueued(action=action, payload=payload):
                return _message_subject(action, payload)
        if isinstance(event, STATION_WIDE_EVENTS):
            return Subject(evse_ids=frozenset({WHOLE_STATION_ID}))
        return _field_subject(event).union(self._linked_subject(event))

    def _frame_subject(self, frame: msgspec.Raw) -> Subject:
        match rpc.parse_frame(frame):
            case rpc.CallFrame(action=action, payload=payload):
                return _message_subject(action, payload)
            case (
                rpc.CallResultFrame(message_id=message_id)
                | rpc.CallErrorFrame(message_id=message_id)
            ):
                return self._subject_by_message_id.get(message_id, NO_SUBJECT)
        return NO_SUBJECT

    def _linked_subject(self, event: Event) -> Subject:
        call_seqs = (getattr(event, "call_seq", 0), *getattr(event, "call_seqs", ()))
        subjects = [self._subject_by_call.get(call_seq) for call_seq in call_seqs]
        subjects.append(self._subject_by_authorization.get(getattr(event, "authorization_seq", 0)))
        return _unite_subjects(subject for subject in subjects if subject)

    def _with_evses(self, subject: Subject) -> Subject:
        """Add the EVSE of a transaction if the event has only its id."""
        if subject.evse_ids or not subject.transaction_ids:
            return subject
        evse_ids = (
            self._evses_by_transaction.get(transaction_id, EMPTY)
            for transaction_id in subject.transaction_ids
        )
        return subject._replace(evse_ids=EMPTY.union(*evse_ids))

    # --- References of later entries ------------------------------------------------------------

    def _record_subject(self, entry: Entry, subject: Subject) -> None:
        self._record_evse(entry.event, subject)
        match entry.event:
            case CallQueued(transaction_event=summary):
                self._subject_by_call[entry.seq] = subject
                if summary is not None and summary.event_type == "Ended":
                    self._evses_by_transaction.pop(summary.transaction_id, None)
                    self._subject_by_authorization.pop(summary.authorization_seq, None)
            case CallAttempted(call_seq=call_seq, message_id=message_id):
                self._message_ids_by_call.setdefault(call_seq, []).append(message_id)
                self._subject_by_message_id[message_id] = subject
            case CallDelivered(call_seq=call_seq):
                self._drop_calls((call_seq,))
            case CallsDropped(call_seqs=call_seqs):
                self._drop_calls(call_seqs)
            case CallResultQueued(message_id=message_id) | CallErrorQueued(message_id=message_id):
                self._subject_by_reply_id[message_id] = subject
            case FrameSent(message_id=message_id):
                self._subject_by_reply_id.pop(message_id, None)
            case LinkOpened() | LinkClosed() | StationStarted():
                self._subject_by_reply_id.clear()  # an answer is sent on its own connection only
            case AuthorizationGranted():
                self._subject_by_authorization[entry.seq] = Subject(evse_ids=subject.evse_ids)
            case AuthorizationEnded(authorization_seq=seq):
                self._subject_by_authorization.pop(seq, None)

    def _record_evse(self, event: Event, subject: Subject) -> None:
        """Store the EVSE of a transaction or an authorization."""
        evse_ids = subject.evse_ids - {WHOLE_STATION_ID}
        if len(evse_ids) != 1 or not isinstance(event, Decision):
            return
        for transaction_id in _field_subject(event).transaction_ids:
            self._evses_by_transaction[transaction_id] = evse_ids
        authorization_seq = getattr(event, "authorization_seq", 0)
        if authorization_seq in self._subject_by_authorization:
            self._subject_by_authorization[authorization_seq] = Subject(evse_ids=evse_ids)

    def _drop_calls(self, call_seqs: Iterable[int]) -> None:
        for call_seq in call_seqs:
            self._subject_by_call.pop(call_seq, None)
            for message_id in self._message_ids_by_call.pop(call_seq, ()):
                self._subject_by_message_id.pop(message_id, None)


def _message_subject(action: str, payload: msgspec.Raw) -> Subject:
    """Subject of a message: the block of its action, and the ids in its payload."""
    block = find_block(action)
    blocks = frozenset(block) if block else EMPTY
    if not _SUBJECT_KEYS.search(payload):
        return Subject(blocks=blocks)
    ids = list(_find_ids(msgspec.json.decode(payload)))
    evse_ids = frozenset(evse_id for evse_id in ids if isinstance(evse_id, int))
    transaction_ids = frozenset(name for name in ids if isinstance(name, str))
    return Subject(evse_ids, transaction_ids, blocks)


# Keys of a payload that has an EVSE or a transaction; checked before decoding it.
_SUBJECT_KEYS: Final = re.compile(rb'"(?:evse|evseId|transactionId)"')


def _find_ids(node: Any) -> Iterator[int | str]:
    """Every EVSE (int) and transaction (str) in a message, at any depth."""
    if isinstance(node, list):
        for item in node:
            yield from _find_ids(item)
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
    """Subject by the fields of an event."""
    nested = [
        getattr(event, name, None) for name in ("transaction_event", "connector_status", "sample")
    ]
    parts = [event, *nested, getattr(nested[-1], "meter_read", None)]
    evse_ids = {
        evse_id for part in parts if (evse_id := getattr(part, "evse_id", None)) is not None
    }
    transaction_ids = {name for part in parts if (name := getattr(part, "transaction_id", None))}
    if transaction_ids:
        evse_ids.discard(WHOLE_STATION_ID)  # for a transaction, 0 means: EVSE not known yet
    return Subject(frozenset(evse_ids), frozenset(transaction_ids))


def _unite_subjects(subjects: Iterable[Subject]) -> Subject:
    return reduce(Subject.union, subjects, NO_SUBJECT)
