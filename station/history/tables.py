"""What does an export tell: which tables are there, and what stands in a row?

A table hears the whole journal in order and gives a row as soon as it is complete, so that an
export needs no more memory for ten years than for a day. Registers are the meter's own decimals;
an energy is the exact difference of two of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from journal.chain import Row
from journal.observations import FrameGarbled, FrameReceived, MeterRead
from journal.projections.outbox import CallAttempted, CallDelivered, CallQueued, CallsDropped
from journal.projections.replies import CallAnswered, CallRefused
from journal.terms import Entry
from station import ocppj
from station.history.rows import Clocked, Columns, Line, Table
from station.history.sessions import TRANSACTIONS, Sessions
from station.history.standing import Standing
from station.history.stretches import FAULTS, STATES, FaultTimes, States
from station.transcript import meaning

EntryOf = Callable[[int], Entry | None]
Reveal = Callable[[str], str]  # a text with the values of its references, or as it is


# --- Events --------------------------------------------------------------------------------------

EVENTS: Final[Columns] = (
    ("seq", "int"),
    ("at", "time"),
    ("time_quality", "text"),
    ("uptime_ms", "int"),
    ("cause", "int"),
    ("who", "text"),
    ("kind", "text"),
    ("version", "int"),
    ("meaning", "text"),
    ("body", "text"),  # as it lies in the journal: with these columns the digest can be checked
    ("digest", "text"),
)


class Events:
    """Every entry as it is."""

    def __init__(self, reveal: Reveal) -> None:
        self._reveal = reveal
        self._clock = Clocked()

    def hears(self, entry: Entry, row: Row) -> Iterator[Line]:
        who, text = meaning(entry.event)
        quality = self._clock.quality(entry)
        yield Line(
            entry.at,
            (entry.seq, entry.at, quality, entry.uptime_ms, entry.cause, who, row.kind,
             row.version, self._reveal(text), row.body, row.digest.hex()),
        )  # fmt: skip

    def ends(self, *, ever: bool) -> Iterator[Line]:
        yield from ()


# --- Meter values --------------------------------------------------------------------------------

METER_VALUES: Final[Columns] = (
    ("seq", "int"),
    ("at", "time"),
    ("time_quality", "text"),
    ("evse_id", "int"),
    ("transaction_id", "text"),
    ("energy_wh", "decimal"),
    ("energy_export_wh", "decimal"),
    ("power_w", "decimal"),
    ("voltage_v", "decimal"),
    ("current_a", "decimal"),
    ("soc_percent", "int"),
)


class MeterValues:
    """Every reading in the journal, and the transaction that was open at its EVSE."""

    def __init__(self) -> None:
        self._standing = Standing()
        self._clock = Clocked()

    def hears(self, entry: Entry, row: Row) -> Iterator[Line]:
        quality = self._clock.quality(entry)
        self._standing.hears(entry)
        if isinstance(entry.event, MeterRead):
            read = entry.event
            yield Line(
                entry.at,
                (entry.seq, entry.at, quality, read.evse_id,
                 self._standing.transaction_at(read.evse_id), read.energy_wh,
                 read.energy_export_wh, read.power_w, read.voltage_v, read.current_a,
                 read.soc_percent),
            )  # fmt: skip

    def ends(self, *, ever: bool) -> Iterator[Line]:
        yield from ()


# --- Messages ------------------------------------------------------------------------------------

MESSAGES: Final[Columns] = (
    ("seq", "int"),
    ("at", "time"),
    ("time_quality", "text"),
    ("direction", "text"),  # out, in
    ("type", "text"),  # CALL, CALLRESULT, CALLERROR, none
    ("message_id", "text"),
    ("action", "text"),
    ("call", "int"),  # entry that queued the CALL; the same for every attempt at it
    ("attempt", "int"),
    ("transaction_id", "text"),
    ("seq_no", "int"),
    ("offline", "text"),
    ("payload", "text"),
)


QUEUED_MAX: Final = 256  # calls whose payload is at hand; others are read again


class _Known(NamedTuple):
    """What a CALL of ours is about, for whoever sees only its messageId."""

    action: str
    call: int | None = None
    attempt: int | None = None
    transaction_id: str | None = None
    seq_no: int | None = None


class Messages:
    """Every frame that was heard, or that the journal allowed to leave."""

    def __init__(self, reveal: Reveal, entry_of: EntryOf) -> None:
        self._reveal = reveal
        self._entry_of = entry_of
        self._clock = Clocked()
        self._known: dict[str, _Known] = {}  # messageId -> of calls that still wait
        self._names: dict[int, list[str]] = {}  # call -> its messageIds so far
        self._queued: OrderedDict[int, CallQueued] = OrderedDict()  # the newest: most go at once

    def hears(self, entry: Entry, row: Row) -> Iterator[Line]:
        quality = self._clock.quality(entry)
        told = self._told(entry)
        if told is not None:
            direction, type, name, known, offline, payload = told
            yield Line(
                entry.at,
                (entry.seq, entry.at, quality, direction, type, name, *known, offline,
                 self._reveal(payload)),
            )  # fmt: skip
        match entry.event:
            case CallQueued() as queued:
                self._queued[entry.seq] = queued
                if len(self._queued) > QUEUED_MAX:
                    self._queued.popitem(last=False)
            case CallDelivered(call=call):
                self._forget(call)
            case CallsDropped(calls=calls):
                for call in calls:
                    self._forget(call)

    def ends(self, *, ever: bool) -> Iterator[Line]:
        yield from ()

    def _told(self, entry: Entry) -> tuple[str, str, str, tuple[Any, ...], str, str] | None:
        match entry.event:
            case CallAttempted(message_id=name, offline=offline) as attempt:
                payload, known = self._sent(attempt)
                return "out", "CALL", name, _columns(known), str(offline).lower(), payload
            case CallAnswered(message_id=name, action=action, payload=raw):
                return "out", "CALLRESULT", name, _columns(_Known(action)), "", _text(raw)
            case CallRefused(message_id=name, code=code, description=description):
                return "out", "CALLERROR", name, _columns(None), "", f"{code} {description}"
            case FrameReceived(frame=frame):
                return ("in", *self._received(frame))
            case FrameGarbled(excerpt=excerpt):
                return "in", "none", "", _columns(None), "", excerpt
            case _:
                return None

    def _sent(self, attempt: CallAttempted) -> tuple[str, _Known]:
        """The payload as it was queued; `offline` is the one field that changes at sending."""
        queued = self._call(attempt.call)
        mark = queued.transaction if queued else None
        known = _Known(
            attempt.action,
            attempt.call,
            attempt.attempt,
            mark.transaction_id if mark else None,
            mark.seq_no if mark else None,
        )
        self._known[attempt.message_id] = known
        self._names.setdefault(attempt.call, []).append(attempt.message_id)
        return (_text(queued.payload) if queued else ""), known

    def _call(self, seq: int) -> CallQueued | None:
        """What was queued there, if it can be read."""
        if seq in self._queued:
            return self._queued[seq]
        entry = self._entry_of(seq)
        return entry.event if entry and isinstance(entry.event, CallQueued) else None

    def _received(self, frame: msgspec.Raw) -> tuple[str, str, tuple[Any, ...], str, str]:
        match ocppj.read(frame):
            case ocppj.CallFrame(message_id=name, action=action, payload=payload):
                return "CALL", name, _columns(_Known(action)), "", _text(payload)
            case ocppj.ResultFrame(message_id=name, payload=payload):
                return "CALLRESULT", name, _columns(self._known.get(name)), "", _text(payload)
            case ocppj.ErrorFrame(message_id=name, code=code, description=description):
                known = _columns(self._known.get(name))
                return "CALLERROR", name, known, "", f"{code} {description}"
            case _:
                return "none", "", _columns(None), "", _text(frame)

    def _forget(self, call: int) -> None:
        for name in self._names.pop(call, ()):
            self._known.pop(name, None)


def _columns(known: _Known | None) -> tuple[Any, ...]:
    return tuple(known) if known else (None,) * len(_Known._fields)


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="backslashreplace")


# --- All of them ---------------------------------------------------------------------------------


class Transactions:
    """One row for each transaction, once its account is complete."""

    def __init__(self, reveal: Reveal) -> None:
        self._sessions = Sessions()
        self._clock = Clocked()
        self._reveal = reveal

    def hears(self, entry: Entry, row: Row) -> Iterator[Line]:
        quality = self._clock.quality(entry)
        for session in self._sessions.hears(entry, quality):
            yield Line(session.ended_at or session.started_at, session.values(self._reveal))

    def ends(self, *, ever: bool) -> Iterator[Line]:
        for session in self._sessions.rest(ever=ever):
            yield Line(session.ended_at or session.started_at, session.values(self._reveal))


COLUMNS: Final[dict[str, Columns]] = {
    "transactions": TRANSACTIONS,
    "meter-values": METER_VALUES,
    "states": STATES,
    "faults": FAULTS,
    "messages": MESSAGES,
    "events": EVENTS,
}


def table(what: str, reveal: Reveal, entry_of: EntryOf) -> Table:
    """The table of that name, before the first entry."""
    made: dict[str, Callable[[], Table]] = {
        "transactions": lambda: Transactions(reveal),
        "meter-values": MeterValues,
        "states": States,
        "faults": FaultTimes,
        "messages": lambda: Messages(reveal, entry_of),
        "events": lambda: Events(reveal),
    }
    return made[what]()
