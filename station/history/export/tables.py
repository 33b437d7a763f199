"""The tables of an export and their columns.

A table reads the journal once, in order, and returns a row as soon as the row is complete: an
export of ten years needs no more memory than one of a day. `station/history/README.md` explains
every column for an auditor.

Rules that hold in all tables:

* A number of a journal entry is a column `…seq`; a row that covers several entries has `first_seq`
  and `last_seq`. `seq_no…` is OCPP's seqNo, which counts within a transaction.
* A register has the digits of the meter. An energy is the exact difference of two registers.
* A time is the station's wall clock at that entry, UTC. The column `…time_quality` beside it is
  `synchronized` if the CSMS had set the clock in that run before.
* An idToken is its reference, or with `--values` its value.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgspec

from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.observations import FrameMalformed, FrameReceived, MeterFellSilent, MeterRead
from journal.projections.authorizations import AuthorizationRefused
from journal.projections.energy_ledger import EnergyUnaccounted, subtract_registers
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
from station.history.limiting_causes import LimitingCauses
from station.ocpp import rpc
from station.transcript.lines import describe_event
from station.transcript.phrases import name_limiting_cause

FindEntry = Callable[[int], Entry | None]
Reveal = Callable[[str], str]  # replaces references in a text by values, or changes nothing


# --- Events --------------------------------------------------------------------------------------

EVENT_COLUMNS: Final[Columns] = (
    ("seq", "int"),
    ("at", "time"),
    ("time_quality", "text"),
    ("uptime_ms", "int"),
    ("cause_seq", "int"),  # of a decision: the observation it was made for
    ("source", "text"),  # who reported or decided it
    ("kind", "text"),
    ("version", "int"),
    ("description", "text"),  # as in the transcript
    ("body", "text"),  # as stored: with the columns above, the digest can be recomputed
    ("digest", "text"),
)


class EventsTable:
    """One row for each entry."""

    def __init__(self, reveal: Reveal) -> None:
        self._reveal = reveal
        self._clock_quality = ClockQuality()

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        source, text = describe_event(entry.event)
        quality = self._clock_quality.assess_time(entry)
        yield TableRow(
            entry.at,
            (entry.seq, entry.at, quality, entry.uptime_ms, entry.cause, source, row.kind,
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
    ("limit_w", "decimal"),
    ("limit_source", "text"),
)


class MeterValuesTable:
    """One row for each reading, with the transaction that was open on its EVSE."""

    def __init__(self) -> None:
        self._current_entries = CurrentEntries()
        self._clock_quality = ClockQuality()
        self._limiting_causes = LimitingCauses()

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        self._current_entries.apply(entry)
        self._limiting_causes.apply(entry)
        if isinstance(entry.event, MeterRead):
            read = entry.event
            cause = self._limiting_causes.on_evse(read.evse_id)
            yield TableRow(
                entry.at,
                (entry.seq, entry.at, quality, read.evse_id,
                 self._current_entries.transaction_id_on_evse(read.evse_id), read.energy_wh,
                 read.energy_export_wh, read.power_w, read.voltage_v, read.current_a,
                 read.soc_percent, cause.limit_w if cause else None,
                 f"{name_limiting_cause(cause)} (entry {cause.seq})" if cause else None),
            )  # fmt: skip
        elif isinstance(entry.event, MeterFellSilent):
            silent = entry.event
            read_at = entry.at - timedelta(milliseconds=silent.age_ms)
            yield TableRow(
                entry.at,
                (entry.seq, read_at, quality, silent.evse_id,
                 self._current_entries.transaction_id_on_evse(silent.evse_id), silent.energy_wh,
                 silent.energy_export_wh, *(None,) * (len(METER_VALUE_COLUMNS) - 7)),
            )  # fmt: skip

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        yield from ()


# --- Refused idTokens ----------------------------------------------------------------------------

REFUSAL_COLUMNS: Final[Columns] = (
    ("seq", "int"),
    ("at", "time"),
    ("time_quality", "text"),
    ("evse_id", "int"),
    ("id_token_type", "text"),
    ("id_token", "text"),
    ("status", "text"),  # AuthorizationStatusEnumType, or another reason
    ("cause_seq", "int"),
)


class RefusalsTable:
    """One row for each idToken that was presented and refused."""

    def __init__(self, reveal: Reveal) -> None:
        self._reveal = reveal
        self._clock_quality = ClockQuality()

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        if isinstance(entry.event, AuthorizationRefused):
            refused = entry.event
            yield TableRow(
                entry.at,
                (entry.seq, entry.at, quality, refused.evse_id, refused.id_token.type,
                 self._reveal(refused.id_token.ref), refused.status, entry.cause),
            )  # fmt: skip

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        yield from ()


# --- Energy of no transaction --------------------------------------------------------------------

UNACCOUNTED_COLUMNS: Final[Columns] = (
    ("seq", "int"),
    ("at", "time"),
    ("time_quality", "text"),
    ("evse_id", "int"),
    ("transaction_id", "text"),  # the last one that was billed on this EVSE before
    ("reason", "text"),  # meter_silent, program_not_running, register_fell, no_transaction
    ("from_wh", "decimal"),
    ("to_wh", "decimal"),
    ("energy_wh", "decimal"),  # negative: the register fell
    ("from_seq", "int"),  # entry of the reading at from_wh
    ("to_seq", "int"),
)


class UnaccountedTable:
    """One row for each energy that a meter counted and no transaction is billed."""

    def __init__(self) -> None:
        self._clock_quality = ClockQuality()

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        if isinstance(entry.event, EnergyUnaccounted):
            listed = entry.event
            yield TableRow(
                entry.at,
                (entry.seq, entry.at, quality, listed.evse_id, listed.transaction_id,
                 listed.reason, listed.from_wh, listed.to_wh,
                 subtract_registers(listed.from_wh, listed.to_wh), listed.from_seq,
                 listed.to_seq),
            )  # fmt: skip

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        yield from ()


# --- Messages ------------------------------------------------------------------------------------

MESSAGE_COLUMNS: Final[Columns] = (
    ("seq", "int"),
    ("at", "time"),
    ("time_quality", "text"),
    ("direction", "text"),  # out, in
    ("frame_type", "text"),  # CALL, CALLRESULT, CALLERROR, none
    ("message_id", "text"),
    ("action", "text"),
    ("call_seq", "int"),  # entry that queued the CALL; the same for every attempt
    ("attempt", "int"),
    ("transaction_id", "text"),
    ("seq_no", "int"),
    ("offline", "text"),
    ("payload", "text"),
)


CACHED_CALLS_MAX: Final = 256  # calls kept in memory; others are read from the journal again


class _CallInfo(NamedTuple):
    """Columns of a CALL of the station, kept by messageId for its answer."""

    action: str
    call_seq: int | None = None
    attempt: int | None = None
    transaction_id: str | None = None
    seq_no: int | None = None


class MessagesTable:
    """One row for each frame received, and for each frame committed for sending."""

    def __init__(self, reveal: Reveal, find_entry: FindEntry) -> None:
        self._reveal = reveal
        self._find_entry = find_entry
        self._clock_quality = ClockQuality()
        self._info_by_message_id: dict[str, _CallInfo] = {}  # of calls that are not delivered
        self._message_ids_by_call: dict[int, list[str]] = {}  # call -> messageIds of its attempts
        self._recent_calls: OrderedDict[int, CallQueued] = OrderedDict()  # most are sent at once

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        fields = self._message_fields(entry)
        if fields is not None:
            direction, frame_type, message_id, call_columns, offline, payload = fields
            yield TableRow(
                entry.at,
                (entry.seq, entry.at, quality, direction, frame_type, message_id, *call_columns,
                 offline, self._reveal(payload)),
            )  # fmt: skip
        match entry.event:
            case CallQueued() as queued:
                self._recent_calls[entry.seq] = queued
                if len(self._recent_calls) > CACHED_CALLS_MAX:
                    self._recent_calls.popitem(last=False)
            case CallDelivered(call_seq=call_seq):
                self._drop_call(call_seq)
            case CallsDropped(call_seqs=call_seqs):
                for call_seq in call_seqs:
                    self._drop_call(call_seq)

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        yield from ()

    def _message_fields(
        self, entry: Entry
    ) -> tuple[str, str, str, tuple[Any, ...], str, str] | None:
        """Direction, frame type, messageId, columns of the CALL, offline, payload."""
        match entry.event:
            case CallAttempted(message_id=message_id, offline=offline) as attempt:
                payload, info = self._record_attempt(attempt)
                columns = _call_columns(info)
                return "out", "CALL", message_id, columns, str(offline).lower(), payload
            case CallResultQueued(message_id=message_id, action=action, payload=raw):
                columns = _call_columns(_CallInfo(action))
                return "out", "CALLRESULT", message_id, columns, "", _decode_raw(raw)
            case CallErrorQueued() as error:
                text = f"{error.error_code} {error.error_description}"
                return "out", "CALLERROR", error.message_id, _call_columns(None), "", text
            case FrameReceived(frame=frame):
                return ("in", *self._parse_received_frame(frame))
            case FrameMalformed(excerpt=excerpt):
                return "in", "none", "", _call_columns(None), "", excerpt
            case _:
                return None

    def _record_attempt(self, attempt: CallAttempted) -> tuple[str, _CallInfo]:
        """The payload as queued, and its CALL. Only `offline` may change when it is sent."""
        queued = self._find_queued_call(attempt.call_seq)
        transaction = queued.transaction_event if queued else None
        info = _CallInfo(
            attempt.action,
            attempt.call_seq,
            attempt.attempt,
            transaction.transaction_id if transaction else None,
            transaction.seq_no if transaction else None,
        )
        self._info_by_message_id[attempt.message_id] = info
        self._message_ids_by_call.setdefault(attempt.call_seq, []).append(attempt.message_id)
        return (_decode_raw(queued.payload) if queued else ""), info

    def _find_queued_call(self, seq: int) -> CallQueued | None:
        """The CALL queued by an entry; None if the entry cannot be read."""
        if seq in self._recent_calls:
            return self._recent_calls[seq]
        entry = self._find_entry(seq)
        return entry.event if entry and isinstance(entry.event, CallQueued) else None

    def _parse_received_frame(
        self, frame: msgspec.Raw
    ) -> tuple[str, str, tuple[Any, ...], str, str]:
        match rpc.parse_frame(frame):
            case rpc.CallFrame(message_id=message_id, action=action, payload=payload):
                columns = _call_columns(_CallInfo(action))
                return "CALL", message_id, columns, "", _decode_raw(payload)
            case rpc.CallResultFrame(message_id=message_id, payload=payload):
                columns = _call_columns(self._info_by_message_id.get(message_id))
                return "CALLRESULT", message_id, columns, "", _decode_raw(payload)
            case rpc.CallErrorFrame(message_id=message_id, code=code, description=description):
                columns = _call_columns(self._info_by_message_id.get(message_id))
                return "CALLERROR", message_id, columns, "", f"{code} {description}"
            case _:
                return "none", "", _call_columns(None), "", _decode_raw(frame)

    def _drop_call(self, call_seq: int) -> None:
        for message_id in self._message_ids_by_call.pop(call_seq, ()):
            self._info_by_message_id.pop(message_id, None)


def _call_columns(call_info: _CallInfo | None) -> tuple[Any, ...]:
    return tuple(call_info) if call_info else (None,) * len(_CallInfo._fields)


def _decode_raw(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="backslashreplace")


# --- Transactions ---------------------------------------------------------------------------------


class TransactionsTable:
    """One row for each transaction, once it has ended and its messages are delivered."""

    def __init__(self, reveal: Reveal) -> None:
        self._records = TransactionRecords()
        self._clock_quality = ClockQuality()
        self._reveal = reveal

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        for record in self._records.apply(entry, quality):
            yield TableRow(record.ended_at or record.started_at, record.build_row(self._reveal))

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        for record in self._records.finish(open_ended=open_ended):
            yield TableRow(record.ended_at or record.started_at, record.build_row(self._reveal))


# --- All of them ---------------------------------------------------------------------------------

TABLE_COLUMNS: Final[dict[str, Columns]] = {
    "transactions": TRANSACTION_COLUMNS,
    "meter-values": METER_VALUE_COLUMNS,
    "refusals": REFUSAL_COLUMNS,
    "unaccounted": UNACCOUNTED_COLUMNS,
    "states": STATE_COLUMNS,
    "faults": FAULT_COLUMNS,
    "messages": MESSAGE_COLUMNS,
    "events": EVENT_COLUMNS,
}


def create_table(table_name: str, reveal: Reveal, find_entry: FindEntry) -> Table:
    """A table by its name, before the first entry."""
    factories: dict[str, Callable[[], Table]] = {
        "transactions": lambda: TransactionsTable(reveal),
        "meter-values": MeterValuesTable,
        "refusals": lambda: RefusalsTable(reveal),
        "unaccounted": UnaccountedTable,
        "states": StatesTable,
        "faults": FaultsTable,
        "messages": lambda: MessagesTable(reveal, find_entry),
        "events": lambda: EventsTable(reveal),
    }
    return factories[table_name]()
