"""Sessions of a range: transactions with energy, state of charge and highest power.

The records are those of the export (`TransactionRecords`), so both give the same energies. Times
are corrected times.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from journal.events import Entry
from journal.observations import (
    CableReported,
    ClockStepped,
    EvIdentified,
    MeterFellSilent,
    MeterRead,
)
from journal.observations import StationStarted as Started
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.clock import ClockCorrected
from journal.projections.driver_information import DriverInformation
from journal.projections.energy_ledger import (
    EnergyUnaccounted,
    add_energies,
    subtract_registers,
)
from journal.projections.faults import Faults
from journal.projections.lifecycle import Lifecycle
from journal.projections.outbox import CallDelivered, CallParked, CallQueued, CallsDropped
from journal.projections.transactions import (
    GroupIdTokenReceived,
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopOrdered,
)
from station.history.export.table import ClockQuality
from station.history.export.transaction_rows import (
    TransactionRecord,
    TransactionRecords,
)
from station.history.report.clock_corrections import ms_to_datetime

LISTED_ENERGIES_MAX: Final = 100  # the newest; `station export unaccounted` has all
LISTED_SESSIONS_MAX: Final = 1_000  # the newest; `station export` has all
STOP_REASONS_MAX: Final = 60  # ReasonEnumType has 17
CORRECTED_EVENTS: Final = (TransactionStarted, CallQueued)  # their times go into a record
HANDLES: Final = frozenset(
    (
        MeterRead,
        MeterFellSilent,
        EnergyUnaccounted,
        EvIdentified,
        CableReported,
        ClockStepped,
        ClockCorrected,
        Started,
        AuthorizationBoundToEvse,
        *DriverInformation.HANDLES,
        CallDelivered,
        CallParked,
        CallQueued,
        CallsDropped,
        GroupIdTokenReceived,
        TransactionAuthorized,
        TransactionStarted,
        TransactionStopOrdered,
        *Lifecycle.HANDLES,
        *Faults.HANDLES,
    )
)


@dataclass
class ReportedSession:
    """A row of the table of sessions."""

    record: TransactionRecord
    energy_wh: Decimal | None
    soc_first: int | None = None
    soc_last: int | None = None
    power_max_w: Decimal | None = None
    stop_fault: str = ""  # device and kind of the fault that stopped it

    @property
    def has_ended(self) -> bool:
        return self.record.ended_at is not None


class ReportedEnergy(NamedTuple):
    """Energy of no transaction; negative: the register fell."""

    seq: int
    moment_ms: int  # corrected time
    listed: EnergyUnaccounted
    energy_wh: Decimal | None


class ReportedSessions:
    """The sessions that ended in a range, as in an export, and those still open at its end."""

    def __init__(self, since_ms: int, until_ms: int, *, open_ended: bool) -> None:
        """`open_ended`: the range has no end; a session ended by the last entry belongs to it."""
        self._since, self._until, self._open_ended = (
            ms_to_datetime(since_ms),
            ms_to_datetime(until_ms),
            open_ended,
        )
        self._records = TransactionRecords()
        self._clock_quality = ClockQuality()
        self._faults = Faults()
        self._open_sessions: dict[str, ReportedSession] = {}
        self._transaction_by_evse: dict[int, str] = {}  # evse_id -> transactionId
        self._register_by_evse: dict[int, Decimal] = {}
        self._soc_by_evse: dict[int, int | None] = {}  # last SoC, also before a transaction
        self._listed_sessions: deque[ReportedSession] = deque(maxlen=LISTED_SESSIONS_MAX)
        self.ended_count = 0
        self.energy_wh = Decimal(0)
        self.stop_reasons: Counter[str] = Counter()
        self.unaccounted_wh = Decimal(0)  # energy of no transaction, without falls of a register
        self.unaccounted_count = 0
        self.unaccounted: deque[ReportedEnergy] = deque(maxlen=LISTED_ENERGIES_MAX)

    def apply(self, entry: Entry, moment_ms: int) -> None:
        """Apply an entry; `moment_ms` is its corrected time."""
        quality = self._clock_quality.assess_time(entry)
        if isinstance(entry.event, CORRECTED_EVENTS):
            at = ms_to_datetime(moment_ms)
            entry = Entry(entry.seq, at, entry.uptime_ms, entry.event, entry.cause)
        for session in self._records.apply(entry, quality):
            self._end_session(session)
        if isinstance(entry.event, Faults.HANDLES):
            self._faults = self._faults.apply(entry)
        match entry.event:
            case MeterRead() as read:
                self._on_meter_read(read)
            case MeterFellSilent(evse_id=evse_id, energy_wh=energy_wh):
                self._register_by_evse[evse_id] = energy_wh
            case EnergyUnaccounted() as listed:
                self._add_unaccounted(entry.seq, moment_ms, listed)
            case EvIdentified(evse_id=evse_id, soc_percent=soc) if soc is not None:
                self._soc_by_evse[evse_id] = soc
            case CableReported(evse_id=evse_id, plugged_in=False):
                self._soc_by_evse.pop(evse_id, None)
            case TransactionStarted(transaction_id=transaction_id, evse_id=evse_id):
                self._transaction_by_evse[evse_id] = transaction_id
                self._find_session(transaction_id).soc_first = self._soc_by_evse.get(evse_id)
            case AuthorizationBoundToEvse(evse_id=evse_id) if 0 in self._transaction_by_evse:
                self._transaction_by_evse[evse_id] = self._transaction_by_evse.pop(0)
            case TransactionStopOrdered() as order:
                self._record_stop_fault(order)
            case CallQueued(transaction_event=summary) if summary and summary.event_type == "Ended":
                self._transaction_by_evse = {
                    evse_id: transaction_id
                    for evse_id, transaction_id in self._transaction_by_evse.items()
                    if transaction_id != summary.transaction_id
                }

    def _record_stop_fault(self, order: TransactionStopOrdered) -> None:
        """OCPP reports most faults as Other: name the one that the core stops for."""
        if order.trigger_reason != "AbnormalCondition":
            return
        session = self._find_session(order.transaction_id)
        evse_id = next((evse_id for evse_id, transaction_id in self._transaction_by_evse.items()
                        if transaction_id == order.transaction_id), 0)  # fmt: skip
        fault = self._faults.blocking_fault(evse_id)
        session.stop_fault = f"{fault.device} {fault.fault}" if fault else ""

    def _find_session(self, transaction_id: str) -> ReportedSession:
        empty_record = TransactionRecord(transaction_id, 0, self._since, "", "", 0, 0)
        return self._open_sessions.setdefault(transaction_id, ReportedSession(empty_record, None))

    def _on_meter_read(self, read: MeterRead) -> None:
        self._register_by_evse[read.evse_id] = read.energy_wh
        transaction_id = self._transaction_by_evse.get(read.evse_id)
        if read.soc_percent is not None:
            self._soc_by_evse[read.evse_id] = read.soc_percent
        if transaction_id is None:
            return
        session = self._find_session(transaction_id)
        if read.soc_percent is not None:
            if session.soc_first is None:
                session.soc_first = read.soc_percent
            session.soc_last = read.soc_percent
        if read.power_w is not None:
            session.power_max_w = max(session.power_max_w or read.power_w, read.power_w)

    def _end_session(self, record: TransactionRecord) -> None:
        session = self._pop_session(record)
        session.energy_wh = subtract_registers(
            record.start_wh, record.stop_wh, excluded_wh=record.excluded_wh
        )
        assert record.ended_at is not None, "a complete record has an end"
        if not self._is_in_range(record.ended_at):
            return
        self.ended_count += 1
        self.energy_wh = add_energies(self.energy_wh, session.energy_wh)
        reason = record.stopped_reason or "Local"
        is_counted = reason in self.stop_reasons or len(self.stop_reasons) < STOP_REASONS_MAX
        self.stop_reasons[reason if is_counted else "(others)"] += 1
        self._listed_sessions.append(session)

    def _add_unaccounted(self, seq: int, moment_ms: int, listed: EnergyUnaccounted) -> None:
        if not self._is_in_range(ms_to_datetime(moment_ms)):
            return
        energy_wh = subtract_registers(listed.from_wh, listed.to_wh)
        self.unaccounted_count += 1
        self.unaccounted.append(ReportedEnergy(seq, moment_ms, listed, energy_wh))
        if energy_wh is not None and energy_wh > 0:
            self.unaccounted_wh = add_energies(self.unaccounted_wh, energy_wh)

    def _pop_session(self, record: TransactionRecord) -> ReportedSession:
        session = self._open_sessions.pop(record.transaction_id, None)
        if session is None:
            return ReportedSession(record, None)
        session.record = record
        return session

    def _is_in_range(self, at: datetime) -> bool:
        return self._since <= at and (self._open_ended or at < self._until)

    def close(self) -> None:
        """End of the range: add sessions that are not confirmed, and those still open."""
        for record in self._records.finish(open_ended=True):
            if record.ended_at is not None:
                self._end_session(record)
                continue
            session = self._pop_session(record)
            session.energy_wh = subtract_registers(
                record.start_wh,
                self._register_by_evse.get(record.evse_id),
                excluded_wh=record.excluded_wh,
            )
            self._listed_sessions.append(session)

    def __iter__(self) -> Iterator[ReportedSession]:
        """The listed sessions in order of their start."""
        return iter(
            sorted(
                self._listed_sessions,
                key=lambda session: (session.record.started_at, session.record.first_seq),
            )
        )

    def __len__(self) -> int:
        return len(self._listed_sessions)
