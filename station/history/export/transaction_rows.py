"""What is the account of a transaction, from its first entry to the last proof of delivery?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from journal.events import Entry, IdToken
from journal.observations import CableReported, ClockStepped, MeterRead, StationStarted
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.clock import ClockCorrected
from journal.projections.lifecycle import Lifecycle
from journal.projections.outbox import (
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    TransactionEventSummary,
)
from journal.projections.transactions import (
    GroupIdTokenReceived,
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopOrdered,
)

# Sums and differences of registers keep every digit, or fail.
EXACT_CONTEXT: Final = Context(prec=200, traps=[Inexact, InvalidOperation])

TRANSACTION_COLUMNS: Final[tuple[tuple[str, Any], ...]] = (
    ("transaction_id", "text"),
    ("evse_id", "int"),
    ("connector_id", "int"),
    ("id_token_type", "text"),
    ("id_token", "text"),  # its reference, or with --values what it stands for
    ("group_id_token", "text"),
    ("remote_start_id", "int"),
    ("started_at", "time"),
    ("started_time_quality", "text"),
    ("started_reason", "text"),  # TriggerReasonEnumType
    ("ended_at", "time"),  # empty: still open
    ("ended_time_quality", "text"),
    ("stopped_reason", "text"),  # ReasonEnumType
    ("stopped_trigger", "text"),  # TriggerReasonEnumType
    ("duration_ms", "int"),  # by the wall clock, its changes taken out
    ("start_wh", "decimal"),
    ("stop_wh", "decimal"),
    ("energy_wh", "decimal"),
    ("seq_no_first", "int"),
    ("seq_no_last", "int"),
    ("seq_no_missing", "int"),  # between first and last; 0 is what must be
    ("messages", "int"),
    ("delivered", "int"),
    ("parked", "int"),
    ("dropped", "int"),
    ("ended_message_id", "text"),  # of the attempt at the last message that the CSMS answered
    ("ended_answer_entry", "int"),  # entry that holds the CSMS's answer
    ("interruptions", "int"),  # restarts of the program in between
    ("interrupted_ms", "int"),  # how long, in all; empty: a clock that ran backwards cannot say
    ("clock_changes", "int"),  # of the wall clock in between
    ("clock_change_ms", "int"),
    ("entry_first", "int"),
    ("entry_last", "int"),
)


@dataclass
class TransactionRecord:
    """A transaction as far as it has been heard."""

    transaction_id: str
    evse_id: int
    started_at: datetime
    started_time_quality: str
    started_reason: str
    entry_first: int
    entry_last: int
    id_token: IdToken | None = None
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None
    connector_id: int | None = None
    granted_seq: int = 0  # entry that granted the right to charge
    start_wh: Decimal | None = None
    stop_wh: Decimal | None = None
    ended_at: datetime | None = None
    ended_time_quality: str = ""
    stopped_reason: str = ""
    stopped_trigger: str = ""
    seq_no_summary: list[int] = field(default_factory=list)  # first, last, how many
    delivered_count: int = 0
    dropped_count: int = 0
    waiting_calls: set[int] = field(default_factory=set)
    parked_calls: set[int] = field(default_factory=set)
    ended_call: int = 0
    ended_message_id: str = ""
    ended_answer_seq: int | None = None
    interruptions: int = 0
    interrupted_ms: int | None = 0
    clock_changes: int = 0
    clock_change_ms: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether it is over and the CSMS has confirmed all of it."""
        return self.ended_at is not None and not self.waiting_calls

    def count_seq_no(self, seq_no: int) -> None:
        first, _, known = self.seq_no_summary or (seq_no, 0, 0)
        self.seq_no_summary = [first, seq_no, known + 1]

    def build_row(self, reveal: Callable[[str], str]) -> tuple[Any, ...]:
        """A row of `TRANSACTION_COLUMNS`."""
        first, last, messages = self.seq_no_summary or (None, None, 0)
        missing = 0 if first is None or last is None else last - first + 1 - messages
        token, group = self.id_token, self.group_id_token
        return (
            self.transaction_id, self.evse_id or None, self.connector_id,
            token.type if token else None, reveal(token.ref) if token else None,
            reveal(group.ref) if group else None, self.remote_start_id,
            self.started_at, self.started_time_quality, self.started_reason,
            self.ended_at, self.ended_time_quality, self.stopped_reason, self.stopped_trigger,
            self._compute_duration_ms(), self.start_wh, self.stop_wh, self._compute_energy_wh(),
            first, last, missing, messages, self.delivered_count, len(self.parked_calls), self.dropped_count,
            self.ended_message_id, self.ended_answer_seq, self.interruptions, self.interrupted_ms,
            self.clock_changes, self.clock_change_ms, self.entry_first, self.entry_last,
        )  # fmt: skip

    def _compute_energy_wh(self) -> Decimal | None:
        if self.start_wh is None or self.stop_wh is None:
            return None
        return EXACT_CONTEXT.subtract(self.stop_wh, self.start_wh)

    def _compute_duration_ms(self) -> int | None:
        if self.ended_at is None:
            return None
        return (self.ended_at - self.started_at) // timedelta(milliseconds=1) - self.clock_change_ms


class TransactionRecords:
    """Keeps a transaction until its account is complete; what is complete is forgotten."""

    def __init__(self) -> None:
        self._records: dict[str, TransactionRecord] = {}
        self._record_by_call: dict[
            int, TransactionRecord
        ] = {}  # call -> whose it is, until the CSMS has it
        self._register_by_evse: dict[int, Decimal] = {}  # evse_id -> what its meter said last
        self._connector_by_evse: dict[int, int] = {}  # evse_id -> connector the EV hangs on
        self._lifecycle = Lifecycle()

    def apply(self, entry: Entry, time_quality: str) -> Iterator[TransactionRecord]:
        """Those that are complete with this entry; `quality` is that of its time."""
        match entry.event:
            case MeterRead(evse_id=evse_id, energy_wh=energy_wh):
                self._register_by_evse[evse_id] = energy_wh
            case CableReported() as cable:
                self._on_cable_reported(cable)
            case ClockStepped(step_ms=step_ms) | ClockCorrected(step_ms=step_ms) if step_ms:
                self._on_clock_changed(step_ms)
            case TransactionStarted() as start:
                self._start_record(entry, start, time_quality)
            case CallQueued(transaction_event=mark) if mark is not None:
                self._on_call_queued(entry, mark, time_quality)
            case CallDelivered() | CallParked() | CallsDropped():
                yield from self._on_call_finished(entry)
            case _:
                self._update_record(entry)
        if isinstance(entry.event, Lifecycle.HANDLES):
            self._lifecycle = self._lifecycle.apply(entry)
            if isinstance(entry.event, StationStarted):
                self._on_restart()

    def finish(self, *, open_ended: bool) -> Iterator[TransactionRecord]:
        """Those that are over though not confirmed, as they ended; `ever`: then the open ones."""
        ended = [one for one in self._records.values() if one.ended_at is not None]
        yield from sorted(ended, key=lambda one: one.ended_call)
        if open_ended:
            yield from (one for one in self._records.values() if one.ended_at is None)

    def _open_records(self) -> Iterator[TransactionRecord]:
        return (one for one in self._records.values() if one.ended_at is None)

    def _start_record(self, entry: Entry, start: TransactionStarted, time_quality: str) -> None:
        self._records[start.transaction_id] = TransactionRecord(
            transaction_id=start.transaction_id,
            evse_id=start.evse_id,
            started_at=entry.at,
            started_time_quality=time_quality,
            started_reason=start.trigger_reason,
            entry_first=entry.seq,
            entry_last=entry.seq,
            id_token=start.id_token,
            group_id_token=start.group_id_token,
            remote_start_id=start.remote_start_id,
            connector_id=self._connector_by_evse.get(start.evse_id),
            start_wh=self._register_by_evse.get(start.evse_id),
            granted_seq=start.authorization_seq,
        )

    def _update_record(self, entry: Entry) -> None:
        match entry.event:
            case AuthorizationBoundToEvse(authorization_seq=granted, evse_id=evse_id):
                self._bind_evse(granted, evse_id)
            case TransactionAuthorized(transaction_id=name) as grant:
                if one := self._records.get(name):
                    one.id_token, one.group_id_token = grant.id_token, grant.group_id_token
                    one.remote_start_id = grant.remote_start_id or one.remote_start_id
            case GroupIdTokenReceived(transaction_id=name, group_id_token=group):
                if one := self._records.get(name):
                    one.group_id_token = group
            case TransactionStopOrdered(transaction_id=name) as stop:
                if one := self._records.get(name):
                    one.stopped_reason, one.stopped_trigger = (
                        stop.stopped_reason,
                        stop.trigger_reason,
                    )
            case _:
                pass

    def _on_cable_reported(self, cable: CableReported) -> None:
        if not cable.plugged_in:
            self._connector_by_evse.pop(cable.evse_id, None)
            return
        self._connector_by_evse[cable.evse_id] = cable.connector_id
        for one in self._open_records():
            if one.evse_id == cable.evse_id:
                one.connector_id = one.connector_id or cable.connector_id

    def _bind_evse(self, granted_seq: int, evse_id: int) -> None:
        """Who was authorised before there was a cable has found an EVSE. E01.FR.03."""
        for one in self._open_records():
            if one.granted_seq == granted_seq and not one.evse_id:
                one.evse_id = evse_id
                one.connector_id = self._connector_by_evse.get(evse_id)

    def _on_call_queued(
        self, entry: Entry, mark: TransactionEventSummary, time_quality: str
    ) -> None:
        one = self._records.get(mark.transaction_id)
        if one is None:
            return  # its beginning is archived or damaged
        one.count_seq_no(mark.seq_no)
        one.waiting_calls.add(entry.seq)
        one.entry_last = entry.seq
        self._record_by_call[entry.seq] = one
        if one.start_wh is None:
            one.start_wh = self._register_by_evse.get(one.evse_id)  # not known before
        if mark.event_type == "Ended":
            one.ended_at, one.ended_time_quality = entry.at, time_quality
            one.ended_call = entry.seq
            one.stop_wh = self._register_by_evse.get(one.evse_id)

    def _on_call_finished(self, entry: Entry) -> Iterator[TransactionRecord]:
        match entry.event:
            case CallDelivered(call_seq=call, message_id=name):
                if one := self._record_by_call.pop(call, None):
                    one.delivered_count += 1
                    if call == one.ended_call:
                        one.ended_message_id, one.ended_answer_seq = name, entry.cause
                    yield from self._remove_call(one, call, entry)
            case CallParked(call_seq=call):
                if one := self._record_by_call.get(call):
                    one.parked_calls.add(call)
                    one.entry_last = entry.seq
            case CallsDropped(call_seqs=calls):
                for call in calls:
                    if one := self._record_by_call.pop(call, None):
                        one.dropped_count += 1
                        yield from self._remove_call(one, call, entry)

    def _remove_call(
        self, record: TransactionRecord, call: int, entry: Entry
    ) -> Iterator[TransactionRecord]:
        """A call is off the table: with the last of them the account is complete."""
        record.waiting_calls.discard(call)
        record.parked_calls.discard(call)
        record.entry_last = entry.seq
        if record.is_complete:
            del self._records[record.transaction_id]
            yield record

    def _on_clock_changed(self, step_ms: int) -> None:
        for one in self._open_records():
            one.clock_changes += 1
            one.clock_change_ms += step_ms

    def _on_restart(self) -> None:
        gap_ms = self._lifecycle.downtime_ms
        for one in self._open_records():
            one.interruptions += 1
            known = one.interrupted_ms is not None and gap_ms is not None
            one.interrupted_ms = (one.interrupted_ms or 0) + (gap_ms or 0) if known else None
