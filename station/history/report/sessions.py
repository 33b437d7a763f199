"""Which sessions were there, and what did each come to?"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, DecimalException
from typing import Final

from journal.events import Entry
from journal.observations import CableReported, ClockStepped, EvIdentified, MeterRead
from journal.observations import StationStarted as Started
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.clock import ClockCorrected
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
    EXACT_CONTEXT,
    TransactionRecord,
    TransactionRecords,
)
from station.history.report.clock_corrections import ms_to_datetime

LISTED_SESSIONS_MAX: Final = 1_000  # the newest; `station export` has all
STOP_REASONS_MAX: Final = 60  # ReasonEnumType has 17
CORRECTED_EVENTS: Final = (TransactionStarted, CallQueued)  # whose time the account takes over
HANDLES: Final = frozenset(
    (
        MeterRead, EvIdentified, CableReported, ClockStepped, ClockCorrected, Started,
        AuthorizationBoundToEvse, CallDelivered, CallParked, CallQueued, CallsDropped, GroupIdTokenReceived,
        TransactionAuthorized, TransactionStarted, TransactionStopOrdered, *Lifecycle.HANDLES,
    )
)  # fmt: skip


@dataclass
class ReportedSession:
    """A session as a page tells it."""

    record: TransactionRecord
    energy_wh: Decimal | None
    soc_first: int | None = None
    soc_last: int | None = None
    power_max_w: Decimal | None = None

    @property
    def has_ended(self) -> bool:
        return self.record.ended_at is not None


class ReportedSessions:
    """The sessions that ended in a range, as an export tells them, and those still open.

    `ever`: the range has no end, so that what ended with the last entry belongs to it.
    """

    def __init__(self, since_ms: int, until_ms: int, *, open_ended: bool) -> None:
        self._since, self._until, self._open_ended = (
            ms_to_datetime(since_ms),
            ms_to_datetime(until_ms),
            open_ended,
        )
        self._records = TransactionRecords()
        self._clock_quality = ClockQuality()
        self._open_sessions: dict[str, ReportedSession] = {}
        self._transaction_by_evse: dict[int, str] = {}  # evse_id -> its transaction
        self._register_by_evse: dict[int, Decimal] = {}
        self._soc_by_evse: dict[
            int, int | None
        ] = {}  # as the EV said before there was a transaction
        self._listed_sessions: deque[ReportedSession] = deque(maxlen=LISTED_SESSIONS_MAX)
        self.ended_count = 0
        self.energy_wh = Decimal(0)
        self.stop_reasons: Counter[str] = Counter()

    def apply(self, entry: Entry, moment_ms: int) -> None:
        """Take an entry in; its time is set right."""
        quality = self._clock_quality.assess_time(entry)
        if isinstance(entry.event, CORRECTED_EVENTS):
            at = ms_to_datetime(moment_ms)
            entry = Entry(entry.seq, at, entry.uptime_ms, entry.event, entry.cause)
        for session in self._records.apply(entry, quality):
            self._end_session(session)
        match entry.event:
            case MeterRead() as read:
                self._on_meter_read(read)
            case EvIdentified(evse_id=evse_id, soc_percent=soc) if soc is not None:
                self._soc_by_evse[evse_id] = soc
            case CableReported(evse_id=evse_id, plugged_in=False):
                self._soc_by_evse.pop(evse_id, None)
            case TransactionStarted(transaction_id=name, evse_id=evse_id):
                self._transaction_by_evse[evse_id] = name
                self._find_session(name).soc_first = self._soc_by_evse.get(evse_id)
            case AuthorizationBoundToEvse(evse_id=evse_id) if 0 in self._transaction_by_evse:
                self._transaction_by_evse[evse_id] = self._transaction_by_evse.pop(0)
            case CallQueued(transaction_event=mark) if mark and mark.event_type == "Ended":
                self._transaction_by_evse = {evse: one for evse, one in self._transaction_by_evse.items()
                            if one != mark.transaction_id}  # fmt: skip

    def _find_session(self, transaction_id: str) -> ReportedSession:
        blank = TransactionRecord(transaction_id, 0, self._since, "", "", 0, 0)
        return self._open_sessions.setdefault(transaction_id, ReportedSession(blank, None))

    def _on_meter_read(self, read: MeterRead) -> None:
        self._register_by_evse[read.evse_id] = read.energy_wh
        name = self._transaction_by_evse.get(read.evse_id)
        if read.soc_percent is not None:
            self._soc_by_evse[read.evse_id] = read.soc_percent
        if name is None:
            return
        visit = self._find_session(name)
        if read.soc_percent is not None:
            if visit.soc_first is None:
                visit.soc_first = read.soc_percent
            visit.soc_last = read.soc_percent
        if read.power_w is not None:
            visit.power_max_w = max(visit.power_max_w or read.power_w, read.power_w)

    def _end_session(self, record: TransactionRecord) -> None:
        visit = self._open_sessions.pop(record.transaction_id, None) or ReportedSession(
            record, None
        )
        visit.record = record
        visit.energy_wh = _subtract_registers(record.start_wh, record.stop_wh)
        ended = record.ended_at
        assert ended is not None, "what is not over is not complete"
        if not self._is_in_range(ended):
            return
        self.ended_count += 1
        if visit.energy_wh is not None:
            try:
                self.energy_wh = EXACT_CONTEXT.add(self.energy_wh, visit.energy_wh)
            except DecimalException:
                visit.energy_wh = None  # what no meter gives is in no sum, and not told either
        reason = record.stopped_reason or "Local"
        room = reason in self.stop_reasons or len(self.stop_reasons) < STOP_REASONS_MAX
        self.stop_reasons[reason if room else "(others)"] += 1
        self._listed_sessions.append(visit)

    def _is_in_range(self, at: datetime) -> bool:
        return self._since <= at and (self._open_ended or at < self._until)

    def close(self) -> None:
        """The range is over: what the CSMS has not confirmed, and what is still open."""
        for session in self._records.finish(open_ended=True):
            if session.ended_at is not None:
                self._end_session(session)
                continue
            visit = self._open_sessions.pop(session.transaction_id, None) or ReportedSession(
                session, None
            )
            visit.record = session
            visit.energy_wh = _subtract_registers(
                session.start_wh, self._register_by_evse.get(session.evse_id)
            )
            self._listed_sessions.append(visit)

    def __iter__(self) -> Iterator[ReportedSession]:
        """In order of their beginning."""
        return iter(
            sorted(
                self._listed_sessions,
                key=lambda one: (one.record.started_at, one.record.first_seq),
            )
        )

    def __len__(self) -> int:
        return len(self._listed_sessions)


def _subtract_registers(start_wh: Decimal | None, stop_wh: Decimal | None) -> Decimal | None:
    """The exact difference of two registers; None: one is missing, or is none a meter gives."""
    if start_wh is None or stop_wh is None:
        return None
    try:
        return EXACT_CONTEXT.subtract(stop_wh, start_wh)
    except DecimalException:
        return None
