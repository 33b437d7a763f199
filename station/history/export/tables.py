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

from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.observations import FrameMalformed, FrameReceived, MeterRead
from journal.projections.outbox import CallAttempted, CallDelivered, CallQueued, CallsDropped
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from station.history.explain.current_entries import CurrentEntries
from station.history.export.state_periods import (
    FAULT_COLUMNS,
    STATE_COLUMNS,
    FaultsTable,
    StatesTable,
)
from station.history.export.table import ClockQuality, Columns, Table, TableRow
from station.history.export.transaction_rows import TRANSACTION_COLUMNS, TransactionRecords
from station.ocpp import rpc
from station.transcript.lines import describe_event

FindEntry = Callable[[int], Entry | None]
Reveal = Callable[[str], str]  # a text with the values of its references, or as it is


# --- Events --------------------------------------------------------------------------------------

EVENT_COLUMNS: Final[Columns] = (
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


class EventsTable:
    """Every entry as it is."""

    def __init__(self, reveal: Reveal) -> None:
        self._reveal = reveal
        self._clock_quality = ClockQuality()

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        who, text = describe_event(entry.event)
        quality = self._clock_quality.assess_time(entry)
        yield TableRow(
            entry.at,
            (entry.seq, entry.at, quality, entry.uptime_ms, entry.cause, who, row.kind,
             row.version, self._reveal(text), row.body, row.digest.hex()),
        )  # fmt: skip

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        yield from ()


# --- Meter values --------------------------------------------------------------------------------

METER_VALUE_COLUMNS: Final[Columns] = (
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


class MeterValuesTable:
    """Every reading in the journal, and the transaction that was open at its EVSE."""

    def __init__(self) -> None:
        self._current_entries = CurrentEntries()
        self._clock_quality = ClockQuality()

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        self._current_entries.apply(entry)
        if isinstance(entry.event, MeterRead):
            read = entry.event
            yield TableRow(
                entry.at,
                (entry.seq, entry.at, quality, read.evse_id,
                 self._current_entries.transaction_id_on_evse(read.evse_id), read.energy_wh,
                 read.energy_export_wh, read.power_w, read.voltage_v, read.current_a,
                 read.soc_percent),
            )  # fmt: skip

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        yield from ()


# --- Messages ------------------------------------------------------------------------------------

MESSAGE_COLUMNS: Final[Columns] = (
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


CACHED_CALLS_MAX: Final = 256  # calls whose payload is at hand; others are read again


class _CallInfo(NamedTuple):
    """What a CALL of ours is about, for whoever sees only its messageId."""

    action: str
    call: int | None = None
    attempt: int | None = None
    transaction_id: str | None = None
    seq_no: int | None = None


class MessagesTable:
    """Every frame that was heard, or that the journal allowed to leave."""

    def __init__(self, reveal: Reveal, find_entry: FindEntry) -> None:
        self._reveal = reveal
        self._find_entry = find_entry
        self._clock_quality = ClockQuality()
        self._info_by_message_id: dict[str, _CallInfo] = {}  # messageId -> of calls that still wait
        self._message_ids_by_call: dict[int, list[str]] = {}  # call -> its messageIds so far
        self._recent_calls: OrderedDict[int, CallQueued] = (
            OrderedDict()
        )  # the newest: most go at once

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        told = self._message_fields(entry)
        if told is not None:
            direction, type, name, known, offline, payload = told
            yield TableRow(
                entry.at,
                (entry.seq, entry.at, quality, direction, type, name, *known, offline,
                 self._reveal(payload)),
            )  # fmt: skip
        match entry.event:
            case CallQueued() as queued:
                self._recent_calls[entry.seq] = queued
                if len(self._recent_calls) > CACHED_CALLS_MAX:
                    self._recent_calls.popitem(last=False)
            case CallDelivered(call_seq=call):
                self._drop_call(call)
            case CallsDropped(call_seqs=calls):
                for call in calls:
                    self._drop_call(call)

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        yield from ()

    def _message_fields(
        self, entry: Entry
    ) -> tuple[str, str, str, tuple[Any, ...], str, str] | None:
        match entry.event:
            case CallAttempted(message_id=name, offline=offline) as attempt:
                payload, known = self._record_attempt(attempt)
                return "out", "CALL", name, _call_columns(known), str(offline).lower(), payload
            case CallResultQueued(message_id=name, action=action, payload=raw):
                return (
                    "out",
                    "CALLRESULT",
                    name,
                    _call_columns(_CallInfo(action)),
                    "",
                    _decode_raw(raw),
                )
            case CallErrorQueued(message_id=name, error_code=code, error_description=description):
                return "out", "CALLERROR", name, _call_columns(None), "", f"{code} {description}"
            case FrameReceived(frame=frame):
                return ("in", *self._parse_received_frame(frame))
            case FrameMalformed(excerpt=excerpt):
                return "in", "none", "", _call_columns(None), "", excerpt
            case _:
                return None

    def _record_attempt(self, attempt: CallAttempted) -> tuple[str, _CallInfo]:
        """The payload as it was queued; `offline` is the one field that changes at sending."""
        queued = self._find_queued_call(attempt.call_seq)
        mark = queued.transaction_event if queued else None
        known = _CallInfo(
            attempt.action,
            attempt.call_seq,
            attempt.attempt,
            mark.transaction_id if mark else None,
            mark.seq_no if mark else None,
        )
        self._info_by_message_id[attempt.message_id] = known
        self._message_ids_by_call.setdefault(attempt.call_seq, []).append(attempt.message_id)
        return (_decode_raw(queued.payload) if queued else ""), known

    def _find_queued_call(self, seq: int) -> CallQueued | None:
        """What was queued there, if it can be read."""
        if seq in self._recent_calls:
            return self._recent_calls[seq]
        entry = self._find_entry(seq)
        return entry.event if entry and isinstance(entry.event, CallQueued) else None

    def _parse_received_frame(
        self, frame: msgspec.Raw
    ) -> tuple[str, str, tuple[Any, ...], str, str]:
        match rpc.parse_frame(frame):
            case rpc.CallFrame(message_id=name, action=action, payload=payload):
                return "CALL", name, _call_columns(_CallInfo(action)), "", _decode_raw(payload)
            case rpc.CallResultFrame(message_id=name, payload=payload):
                return (
                    "CALLRESULT",
                    name,
                    _call_columns(self._info_by_message_id.get(name)),
                    "",
                    _decode_raw(payload),
                )
            case rpc.CallErrorFrame(message_id=name, code=code, description=description):
                known = _call_columns(self._info_by_message_id.get(name))
                return "CALLERROR", name, known, "", f"{code} {description}"
            case _:
                return "none", "", _call_columns(None), "", _decode_raw(frame)

    def _drop_call(self, call: int) -> None:
        for name in self._message_ids_by_call.pop(call, ()):
            self._info_by_message_id.pop(name, None)


def _call_columns(call_info: _CallInfo | None) -> tuple[Any, ...]:
    return tuple(call_info) if call_info else (None,) * len(_CallInfo._fields)


def _decode_raw(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="backslashreplace")


# --- All of them ---------------------------------------------------------------------------------


class TransactionsTable:
    """One row for each transaction, once its account is complete."""

    def __init__(self, reveal: Reveal) -> None:
        self._records = TransactionRecords()
        self._clock_quality = ClockQuality()
        self._reveal = reveal

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        for session in self._records.apply(entry, quality):
            yield TableRow(session.ended_at or session.started_at, session.build_row(self._reveal))

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        for session in self._records.finish(open_ended=open_ended):
            yield TableRow(session.ended_at or session.started_at, session.build_row(self._reveal))


TABLE_COLUMNS: Final[dict[str, Columns]] = {
    "transactions": TRANSACTION_COLUMNS,
    "meter-values": METER_VALUE_COLUMNS,
    "states": STATE_COLUMNS,
    "faults": FAULT_COLUMNS,
    "messages": MESSAGE_COLUMNS,
    "events": EVENT_COLUMNS,
}


def create_table(table_name: str, reveal: Reveal, find_entry: FindEntry) -> Table:
    """The table of that name, before the first entry."""
    made: dict[str, Callable[[], Table]] = {
        "transactions": lambda: TransactionsTable(reveal),
        "meter-values": MeterValuesTable,
        "states": StatesTable,
        "faults": FaultsTable,
        "messages": lambda: MessagesTable(reveal, find_entry),
        "events": lambda: EventsTable(reveal),
    }
    return made[table_name]()
