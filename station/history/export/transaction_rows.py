"""Table `transactions`: one record per transaction, from its start to its last delivered message.

A record is complete when the transaction has ended and each of its messages is delivered or
dropped; its row is written then. A parked message keeps the record incomplete, because an operator
can have it sent again. At the end of a range, records that have ended are written as they are; at
the end of the journal, open transactions too.

Registers and energy are those of the projection EnergyLedger: from the newest register when the
first event on the EVSE was queued to the newest when Ended was queued. `stop_read_at` is when the
meter was read for `stop_wh`; a silent meter makes it earlier than `ended_at`. `excluded_wh` is what
EnergyUnaccounted entries listed within the transaction, because the register fell (another meter);
it is not part of `energy_wh`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from journal.events import Entry, IdToken
from journal.observations import (
    CableReported,
    ClockStepped,
    MeterFellSilent,
    MeterRead,
    StationStarted,
)
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.clock import ClockCorrected
from journal.projections.driver_information import (
    CostReceived,
    DriverInformation,
    DriverInformationReceived,
)
from journal.projections.energy_ledger import EnergyLedger, EnergyUnaccounted, subtract_registers
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

TRANSACTION_COLUMNS: Final[tuple[tuple[str, Any], ...]] = (
    ("transaction_id", "text"),
    ("evse_id", "int"),
    ("connector_id", "int"),
    ("id_token_type", "text"),
    ("id_token", "text"),  # its reference, or with --values its value
    ("group_id_token", "text"),
    ("remote_start_id", "int"),
    ("started_at", "time"),
    ("started_time_quality", "text"),
    ("started_trigger_reason", "text"),  # TriggerReasonEnumType
    ("ended_at", "time"),  # empty: still open
    ("ended_time_quality", "text"),
    ("stopped_reason", "text"),  # ReasonEnumType
    ("stopped_trigger_reason", "text"),  # TriggerReasonEnumType
    ("duration_ms", "int"),  # by the wall clock, without its changes
    ("start_wh", "decimal"),
    ("stop_wh", "decimal"),
    ("energy_wh", "decimal"),
    ("seq_no_first", "int"),
    ("seq_no_last", "int"),
    ("seq_no_missing", "int"),  # between first and last; must be 0
    ("message_count", "int"),
    ("delivered_count", "int"),
    ("parked_count", "int"),
    ("dropped_count", "int"),
    ("ended_message_id", "text"),  # of the attempt at TransactionEvent Ended that was answered
    ("ended_response_seq", "int"),  # entry with that answer of the CSMS
    ("restart_count", "int"),  # restarts of the program while it was open
    ("restart_gap_ms", "int"),  # sum of the times without program; empty: clock ran backwards
    ("clock_change_count", "int"),  # changes of the wall clock while it was open
    ("clock_change_ms", "int"),  # sum of the changes
    ("first_seq", "int"),
    ("last_seq", "int"),
    ("stop_read_at", "time"),  # when the meter was read for stop_wh; empty: it was not
    ("excluded_wh", "decimal"),  # between start_wh and stop_wh, but not billed: see above
    ("total_cost", "decimal"),  # the newest the CSMS sent, taxes included; empty: it sent none
    ("total_cost_is_final", "int"),  # 1: answer to the last TransactionEvent; 0: so far
    ("currency", "text"),  # ISO 4217
    ("tariff", "text"),  # as the CSMS sent it for this EV driver, the newest
)


@dataclass
class TransactionRecord:
    """A transaction, as far as the entries read so far show it."""

    transaction_id: str
    evse_id: int
    started_at: datetime
    started_time_quality: str
    started_trigger_reason: str
    first_seq: int
    last_seq: int
    id_token: IdToken | None = None
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None
    connector_id: int | None = None
    authorization_seq: int = 0  # entry that authorized it; 0: none
    start_wh: Decimal | None = None
    stop_wh: Decimal | None = None
    stop_read_at: datetime | None = None
    excluded_wh: Decimal = Decimal(0)
    ended_at: datetime | None = None
    ended_time_quality: str = ""
    stopped_reason: str = ""
    stopped_trigger_reason: str = ""
    seq_no_summary: list[int] = field(default_factory=list)  # first, last, count
    delivered_count: int = 0
    dropped_count: int = 0
    waiting_calls: set[int] = field(default_factory=set)
    parked_calls: set[int] = field(default_factory=set)
    ended_call: int = 0
    ended_message_id: str = ""
    ended_response_seq: int | None = None
    restart_count: int = 0
    restart_gap_ms: int | None = 0
    clock_change_count: int = 0
    clock_change_ms: int = 0
    cost: CostReceived | None = None
    tariff: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether it has ended and no message waits."""
        return self.ended_at is not None and not self.waiting_calls

    def count_seq_no(self, seq_no: int) -> None:
        first, _, count = self.seq_no_summary or (seq_no, 0, 0)
        self.seq_no_summary = [first, seq_no, count + 1]

    def build_row(self, reveal: Callable[[str], str]) -> tuple[Any, ...]:
        """A row of `TRANSACTION_COLUMNS`."""
        first, last, message_count = self.seq_no_summary or (None, None, 0)
        missing = 0 if first is None or last is None else last - first + 1 - message_count
        token, group = self.id_token, self.group_id_token
        return (
            self.transaction_id,
            self.evse_id or None,
            self.connector_id,
            token.type if token else None,
            reveal(token.ref) if token else None,
            reveal(group.ref) if group else None,
            self.remote_start_id,
            self.started_at,
            self.started_time_quality,
            self.started_trigger_reason,
            self.ended_at,
            self.ended_time_quality,
            self.stopped_reason,
            self.stopped_trigger_reason,
            self._compute_duration_ms(),
            self.start_wh,
            self.stop_wh,
            self._compute_energy_wh(),
            first,
            last,
            missing,
            message_count,
            self.delivered_count,
            len(self.parked_calls),
            self.dropped_count,
            self.ended_message_id,
            self.ended_response_seq,
            self.restart_count,
            self.restart_gap_ms,
            self.clock_change_count,
            self.clock_change_ms,
            self.first_seq,
            self.last_seq,
            self.stop_read_at,
            self.excluded_wh,
            self.cost.total_cost if self.cost else None,
            int(self.cost.is_final) if self.cost else None,
            self.cost.currency if self.cost else None,
            self.tariff or None,
        )

    def _compute_energy_wh(self) -> Decimal | None:
        return subtract_registers(self.start_wh, self.stop_wh, excluded_wh=self.excluded_wh)

    def _compute_duration_ms(self) -> int | None:
        if self.ended_at is None:
            return None
        return (self.ended_at - self.started_at) // timedelta(milliseconds=1) - self.clock_change_ms


class TransactionRecords:
    """The records that are not complete; a complete record is returned and dropped."""

    def __init__(self) -> None:
        self._records: dict[str, TransactionRecord] = {}
        self._record_by_call: dict[int, TransactionRecord] = {}  # by calls that are not delivered
        self._ledger = EnergyLedger()
        self._read_at_by_evse: dict[int, datetime] = {}  # time of the newest reading
        self._connector_by_evse: dict[int, int] = {}  # evse_id -> connector with a cable plugged in
        self._lifecycle = Lifecycle()
        self._driver_information = DriverInformation()

    def apply(self, entry: Entry, time_quality: str) -> Iterator[TransactionRecord]:
        """The records that this entry completes; `time_quality` is that of the entry's time."""
        match entry.event:
            case MeterRead() | MeterFellSilent() as read:
                self._on_meter_read(entry, read)
            case EnergyUnaccounted(evse_id=evse_id):
                self._ledger = self._ledger.apply(entry)
                self._update_registers(evse_id)
            case CableReported() as cable:
                self._on_cable_reported(cable)
            case ClockStepped(step_ms=step_ms) | ClockCorrected(step_ms=step_ms) if step_ms:
                self._on_clock_changed(step_ms)
            case TransactionStarted() as start:
                self._start_record(entry, start, time_quality)
            case CallQueued(transaction_event=summary) if summary is not None:
                self._on_call_queued(entry, summary, time_quality)
            case CallDelivered() | CallParked() | CallsDropped():
                yield from self._on_call_finished(entry)
            case _:
                self._update_record(entry)
        if isinstance(entry.event, DriverInformation.HANDLES):
            self._driver_information = self._driver_information.apply(entry)
        if isinstance(entry.event, Lifecycle.HANDLES):
            self._lifecycle = self._lifecycle.apply(entry)
            if isinstance(entry.event, StationStarted):
                self._ledger = self._ledger.apply(entry)
                self._on_restart()

    def finish(self, *, open_ended: bool) -> Iterator[TransactionRecord]:
        """Records that have ended but are not confirmed, by their end; then the open ones.

        Args:
            open_ended: the journal ends here, not only the range; else no open ones are returned.
        """
        ended = [record for record in self._records.values() if record.ended_at is not None]
        yield from sorted(ended, key=lambda record: record.ended_call)
        if open_ended:
            yield from self._open_records()

    def _open_records(self) -> Iterator[TransactionRecord]:
        return (record for record in self._records.values() if record.ended_at is None)

    def _start_record(self, entry: Entry, start: TransactionStarted, time_quality: str) -> None:
        self._records[start.transaction_id] = TransactionRecord(
            transaction_id=start.transaction_id,
            evse_id=start.evse_id,
            started_at=entry.at,
            started_time_quality=time_quality,
            started_trigger_reason=start.trigger_reason,
            first_seq=entry.seq,
            last_seq=entry.seq,
            id_token=start.id_token,
            group_id_token=start.group_id_token,
            remote_start_id=start.remote_start_id,
            connector_id=self._connector_by_evse.get(start.evse_id),
            authorization_seq=start.authorization_seq,
            tariff=self._tariff_of(start.id_token),
        )

    def _tariff_of(self, id_token: IdToken | None) -> str:
        """What the CSMS sent when it authorized an idToken."""
        information = self._driver_information.for_token(id_token) if id_token else None
        return (information.message or "") if information else ""

    def _update_record(self, entry: Entry) -> None:
        match entry.event:
            case AuthorizationBoundToEvse(authorization_seq=authorization_seq, evse_id=evse_id):
                self._bind_evse(authorization_seq, evse_id)
            case TransactionAuthorized(transaction_id=transaction_id) as authorized:
                if record := self._records.get(transaction_id):
                    record.id_token = authorized.id_token
                    record.group_id_token = authorized.group_id_token
                    record.remote_start_id = authorized.remote_start_id or record.remote_start_id
                    record.tariff = self._tariff_of(authorized.id_token) or record.tariff
            case DriverInformationReceived(transaction_id=str() as transaction_id, message=message):
                if record := self._records.get(transaction_id):
                    record.tariff = message or record.tariff
            case CostReceived(transaction_id=transaction_id) as cost:
                if record := self._records.get(transaction_id):
                    record.cost = cost
            case GroupIdTokenReceived(transaction_id=transaction_id, group_id_token=group):
                if record := self._records.get(transaction_id):
                    record.group_id_token = group
            case TransactionStopOrdered(transaction_id=transaction_id) as stop:
                if record := self._records.get(transaction_id):
                    record.stopped_reason = stop.stopped_reason
                    record.stopped_trigger_reason = stop.trigger_reason
            case _:
                pass

    def _on_meter_read(self, entry: Entry, read: MeterRead | MeterFellSilent) -> None:
        self._ledger = self._ledger.apply(entry)
        age_ms = read.age_ms if isinstance(read, MeterFellSilent) else 0
        self._read_at_by_evse[read.evse_id] = entry.at - timedelta(milliseconds=age_ms)
        self._update_registers(read.evse_id)

    def _update_registers(self, evse_id: int) -> None:
        """Copy what the ledger has of the open transaction of an EVSE."""
        account = self._ledger.on_evse(evse_id)
        record = self._records.get(account.transaction_id or "") if account else None
        if account and record:
            record.start_wh, record.excluded_wh = account.start_wh, account.excluded_wh

    def _on_cable_reported(self, cable: CableReported) -> None:
        if not cable.plugged_in:
            self._connector_by_evse.pop(cable.evse_id, None)
            return
        self._connector_by_evse[cable.evse_id] = cable.connector_id
        for record in self._open_records():
            if record.evse_id == cable.evse_id:
                record.connector_id = record.connector_id or cable.connector_id

    def _bind_evse(self, authorization_seq: int, evse_id: int) -> None:
        """A transaction that started before an EV was plugged in gets its EVSE. E01.FR.03."""
        for record in self._open_records():
            if record.authorization_seq == authorization_seq and not record.evse_id:
                record.evse_id = evse_id
                record.connector_id = self._connector_by_evse.get(evse_id)

    def _on_call_queued(
        self, entry: Entry, summary: TransactionEventSummary, time_quality: str
    ) -> None:
        record = self._records.get(summary.transaction_id)
        if record is None:  # its start is archived or damaged
            self._ledger = self._ledger.apply(entry)
            return
        record.count_seq_no(summary.seq_no)
        record.waiting_calls.add(entry.seq)
        record.last_seq = entry.seq
        self._record_by_call[entry.seq] = record
        self._ledger = self._ledger.apply(entry)
        if summary.event_type == "Ended":
            record.ended_at, record.ended_time_quality = entry.at, time_quality
            record.ended_call = entry.seq
            if account := self._ledger.on_evse(record.evse_id):
                record.stop_wh = account.register_wh
                record.stop_read_at = self._read_at_by_evse[record.evse_id]
        else:
            self._update_registers(record.evse_id)

    def _on_call_finished(self, entry: Entry) -> Iterator[TransactionRecord]:
        match entry.event:
            case CallDelivered(call_seq=call_seq, message_id=message_id):
                if record := self._record_by_call.pop(call_seq, None):
                    record.delivered_count += 1
                    if call_seq == record.ended_call:
                        record.ended_message_id = message_id
                        record.ended_response_seq = entry.cause
                    yield from self._remove_call(record, call_seq, entry)
            case CallParked(call_seq=call_seq):
                if record := self._record_by_call.get(call_seq):
                    record.parked_calls.add(call_seq)
                    record.last_seq = entry.seq
            case CallsDropped(call_seqs=call_seqs):
                for call_seq in call_seqs:
                    if record := self._record_by_call.pop(call_seq, None):
                        record.dropped_count += 1
                        yield from self._remove_call(record, call_seq, entry)

    def _remove_call(
        self, record: TransactionRecord, call_seq: int, entry: Entry
    ) -> Iterator[TransactionRecord]:
        """A call no longer waits; the record is complete with the last one."""
        record.waiting_calls.discard(call_seq)
        record.parked_calls.discard(call_seq)
        record.last_seq = entry.seq
        if record.is_complete:
            del self._records[record.transaction_id]
            yield record

    def _on_clock_changed(self, step_ms: int) -> None:
        for record in self._open_records():
            record.clock_change_count += 1
            record.clock_change_ms += step_ms

    def _on_restart(self) -> None:
        gap_ms = self._lifecycle.downtime_ms
        for record in self._open_records():
            record.restart_count += 1
            is_known = record.restart_gap_ms is not None and gap_ms is not None
            record.restart_gap_ms = (
                (record.restart_gap_ms or 0) + (gap_ms or 0) if is_known else None
            )
