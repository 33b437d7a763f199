"""Charging sessions of the newest entries, and the curves of power and SoC of those that run."""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.codec import format_time
from journal.events import Entry
from journal.observations import MeterRead
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.outbox import CallDelivered, CallParked, CallQueued
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered

SESSIONS_MAX: Final = 100
POINTS_MAX: Final = 600  # of a curve; when it is full, every second point is removed


class Session(msgspec.Struct):
    """A transaction, as far as its entries were read.

    Attributes:
        begin_wh, end_wh: registers, decimals as text; None: not read.
        delivery: of TransactionEvent Ended: "waiting", "delivered" or "parked"; empty: it runs.
    """

    transaction_id: str
    evse_id: int
    started_seq: int
    started_at: str
    id_token: str | None = None
    begin_wh: str | None = None
    end_wh: str | None = None
    energy_wh: str | None = None
    ended_seq: int | None = None
    ended_at: str | None = None
    stopped_reason: str | None = None
    delivery: str = ""


class Point(msgspec.Struct, array_like=True):
    """A point of a curve."""

    at_ms: int
    power_w: float
    soc_percent: int | None


class Curve:
    """Power and SoC of one session over time."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def add(self, point: Point) -> None:
        """Add a point; later ones are removed: the clock was set back, or it was read late."""
        while self.points and self.points[-1].at_ms > point.at_ms:
            self.points.pop()
        self.points.append(point)
        if len(self.points) > POINTS_MAX:
            del self.points[1:-1:2]


class SessionLog:
    """Applies entries in order and keeps the newest sessions."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._open_by_evse: dict[int, str] = {}
        self._evse_by_authorization: dict[int, str] = {}
        self._registers: dict[int, Any] = {}  # by EVSE, the last one read
        self._ended_calls: dict[int, str] = {}  # call of TransactionEvent Ended -> transactionId
        self._curves: dict[str, Curve] = {}

    def newest(self) -> list[Session]:
        """The sessions, the newest first."""
        return list(reversed(self._sessions.values()))

    def curve(self, transaction_id: str) -> list[Point]:
        """The curve of a session; empty if it is not known."""
        curve = self._curves.get(transaction_id)
        return list(curve.points) if curve else []

    def add_point(self, transaction_id: str, point: Point) -> None:
        """Add what was measured now to the curve of a session that runs."""
        session = self._sessions.get(transaction_id)
        if session is not None and session.ended_seq is None:
            self._curves.setdefault(transaction_id, Curve()).add(point)

    def apply(self, entry: Entry) -> bool:
        """Apply the next entry; whether a session changed."""
        match entry.event:
            case MeterRead() as reading:
                return self._on_reading(entry, reading)
            case TransactionStarted() as start:
                self._on_started(entry, start)
            case AuthorizationBoundToEvse(authorization_seq=seq, evse_id=evse_id):
                return self._on_bound(seq, evse_id)
            case TransactionStopOrdered(transaction_id=transaction_id, stopped_reason=reason):
                session = self._sessions.get(transaction_id)
                if session is None:
                    return False
                session.stopped_reason = reason
            case CallQueued(transaction_event=event) if event and event.event_type == "Ended":
                self._on_ended(entry, event.transaction_id)
            case CallDelivered(call_seq=call_seq) | CallParked(call_seq=call_seq):
                return self._on_settled(
                    call_seq, "parked" if isinstance(entry.event, CallParked) else "delivered"
                )
            case _:
                return False
        return True

    def _on_started(self, entry: Entry, start: TransactionStarted) -> None:
        register = self._registers.get(start.evse_id)
        self._sessions[start.transaction_id] = Session(
            transaction_id=start.transaction_id,
            evse_id=start.evse_id,
            started_seq=entry.seq,
            started_at=format_time(entry.at),
            id_token=str(start.id_token) if start.id_token else None,
            begin_wh=None if register is None else str(register),
        )
        self._evse_by_authorization[start.authorization_seq] = start.transaction_id
        if start.evse_id:
            self._open_by_evse[start.evse_id] = start.transaction_id
        while len(self._sessions) > SESSIONS_MAX:
            old, _ = self._sessions.popitem(last=False)
            self._curves.pop(old, None)
        if len(self._evse_by_authorization) > SESSIONS_MAX:
            self._evse_by_authorization.pop(next(iter(self._evse_by_authorization)))

    def _on_bound(self, authorization_seq: int, evse_id: int) -> bool:
        session = self._sessions.get(self._evse_by_authorization.get(authorization_seq, ""))
        if session is None or session.evse_id:
            return False
        session.evse_id = evse_id
        self._open_by_evse[evse_id] = session.transaction_id
        return True

    def _on_reading(self, entry: Entry, reading: MeterRead) -> bool:
        self._registers[reading.evse_id] = reading.energy_wh
        session = self._sessions.get(self._open_by_evse.get(reading.evse_id, ""))
        if session is None:
            return False
        register = str(reading.energy_wh)
        session.begin_wh = session.begin_wh or register
        session.end_wh = register
        session.energy_wh = _difference(session.begin_wh, register)
        if reading.power_w is not None:
            at_ms = round(entry.at.timestamp() * 1000)
            point = Point(at_ms, float(reading.power_w), reading.soc_percent)
            self._curves.setdefault(session.transaction_id, Curve()).add(point)
        return True

    def _on_ended(self, entry: Entry, transaction_id: str) -> None:
        session = self._sessions.get(transaction_id)
        if session is None:
            return
        session.ended_seq, session.ended_at = entry.seq, format_time(entry.at)
        session.delivery = "waiting"
        self._ended_calls[entry.seq] = transaction_id
        if self._open_by_evse.get(session.evse_id) == transaction_id:
            del self._open_by_evse[session.evse_id]

    def _on_settled(self, call_seq: int, delivery: str) -> bool:
        session = self._sessions.get(self._ended_calls.get(call_seq, ""))
        if session is None:
            return False
        session.delivery = delivery
        if delivery == "delivered":
            del self._ended_calls[call_seq]
        return True


def _difference(begin_wh: str, end_wh: str) -> str:
    return str(Decimal(end_wh) - Decimal(begin_wh))
