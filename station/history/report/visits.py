"""Which sessions were there, and what did each come to?"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, DecimalException
from typing import Final

from journal.observations import CableReported, ClockStepped, EvIdentified, MeterRead
from journal.observations import StationStarted as Started
from journal.projections.authorizations import AuthorizationBound
from journal.projections.clocks import ClockCorrected
from journal.projections.lifecycle import Lifecycle
from journal.projections.outbox import CallDelivered, CallParked, CallQueued, CallsDropped
from journal.projections.transactions import (
    GroupLearned,
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopping,
)
from journal.terms import Entry
from station.history.report.times import at_ms
from station.history.rows import Clocked
from station.history.sessions import EXACT, Session, Sessions

LISTED_MAX: Final = 1_000  # the newest; `station export` has all
REASONS_MAX: Final = 60  # ReasonEnumType has 17
TIMED: Final = (TransactionStarted, CallQueued)  # whose time the account takes over
HEARS: Final = frozenset(
    (
        MeterRead, EvIdentified, CableReported, ClockStepped, ClockCorrected, Started,
        AuthorizationBound, CallDelivered, CallParked, CallQueued, CallsDropped, GroupLearned,
        TransactionAuthorized, TransactionStarted, TransactionStopping, *Lifecycle.HEARS,
    )
)  # fmt: skip


@dataclass
class Visit:
    """A session as a page tells it."""

    session: Session
    energy_wh: Decimal | None
    soc_first: int | None = None
    soc_last: int | None = None
    power_max_w: Decimal | None = None

    @property
    def over(self) -> bool:
        return self.session.ended_at is not None


class Visits:
    """The sessions that ended in a range, as an export tells them, and those still open.

    `ever`: the range has no end, so that what ended with the last entry belongs to it.
    """

    def __init__(self, since: int, until: int, *, ever: bool) -> None:
        self._since, self._until, self._ever = at_ms(since), at_ms(until), ever
        self._sessions = Sessions()
        self._clock = Clocked()
        self._open: dict[str, Visit] = {}
        self._at: dict[int, str] = {}  # evse_id -> its transaction
        self._registers: dict[int, Decimal] = {}
        self._soc: dict[int, int | None] = {}  # as the EV said before there was a transaction
        self._listed: deque[Visit] = deque(maxlen=LISTED_MAX)
        self.ended = 0
        self.energy_wh = Decimal(0)
        self.reasons: Counter[str] = Counter()

    def hears(self, entry: Entry, moment: int) -> None:
        """Take an entry in; its time is set right."""
        quality = self._clock.quality(entry)
        if isinstance(entry.event, TIMED):
            at = at_ms(moment)
            entry = Entry(entry.seq, at, entry.uptime_ms, entry.event, entry.cause)
        for session in self._sessions.hears(entry, quality):
            self._over(session)
        match entry.event:
            case MeterRead() as read:
                self._read(read)
            case EvIdentified(evse_id=evse_id, soc_percent=soc) if soc is not None:
                self._soc[evse_id] = soc
            case CableReported(evse_id=evse_id, plugged=False):
                self._soc.pop(evse_id, None)
            case TransactionStarted(transaction_id=name, evse_id=evse_id):
                self._at[evse_id] = name
                self._known(name).soc_first = self._soc.get(evse_id)
            case AuthorizationBound(evse_id=evse_id) if 0 in self._at:
                self._at[evse_id] = self._at.pop(0)
            case CallQueued(transaction=mark) if mark and mark.event_type == "Ended":
                self._at = {evse: one for evse, one in self._at.items()
                            if one != mark.transaction_id}  # fmt: skip

    def _known(self, name: str) -> Visit:
        blank = Session(name, 0, self._since, "", "", 0, 0)
        return self._open.setdefault(name, Visit(blank, None))

    def _read(self, read: MeterRead) -> None:
        self._registers[read.evse_id] = read.energy_wh
        name = self._at.get(read.evse_id)
        if read.soc_percent is not None:
            self._soc[read.evse_id] = read.soc_percent
        if name is None:
            return
        visit = self._known(name)
        if read.soc_percent is not None:
            if visit.soc_first is None:
                visit.soc_first = read.soc_percent
            visit.soc_last = read.soc_percent
        if read.power_w is not None:
            visit.power_max_w = max(visit.power_max_w or read.power_w, read.power_w)

    def _over(self, session: Session) -> None:
        visit = self._open.pop(session.transaction_id, None) or Visit(session, None)
        visit.session = session
        visit.energy_wh = _energy(session.start_wh, session.stop_wh)
        ended = session.ended_at
        assert ended is not None, "what is not over is not complete"
        if not self._holds(ended):
            return
        self.ended += 1
        if visit.energy_wh is not None:
            try:
                self.energy_wh = EXACT.add(self.energy_wh, visit.energy_wh)
            except DecimalException:
                visit.energy_wh = None  # what no meter gives is in no sum, and not told either
        reason = session.stopped_reason or "Local"
        room = reason in self.reasons or len(self.reasons) < REASONS_MAX
        self.reasons[reason if room else "(others)"] += 1
        self._listed.append(visit)

    def _holds(self, at: datetime) -> bool:
        return self._since <= at and (self._ever or at < self._until)

    def close(self) -> None:
        """The range is over: what the CSMS has not confirmed, and what is still open."""
        for session in self._sessions.rest(ever=True):
            if session.ended_at is not None:
                self._over(session)
                continue
            visit = self._open.pop(session.transaction_id, None) or Visit(session, None)
            visit.session = session
            visit.energy_wh = _energy(session.start_wh, self._registers.get(session.evse_id))
            self._listed.append(visit)

    def __iter__(self) -> Iterator[Visit]:
        """In order of their beginning."""
        return iter(
            sorted(self._listed, key=lambda one: (one.session.started_at, one.session.entry_first))
        )

    def __len__(self) -> int:
        return len(self._listed)


def _energy(start_wh: Decimal | None, stop_wh: Decimal | None) -> Decimal | None:
    """The exact difference of two registers; None: one is missing, or is none a meter gives."""
    if start_wh is None or stop_wh is None:
        return None
    try:
        return EXACT.subtract(stop_wh, start_wh)
    except DecimalException:
        return None
