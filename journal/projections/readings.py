"""The latest reading of each meter, the registers of the last session at each EVSE, and the last
clock-aligned interval that was handled. J01."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import MeterFellSilent, MeterRead
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted


class ClockAlignedIntervalHandled(Decision, frozen=True):
    """The clock-aligned values of an interval were sent, or are not required. J01.FR.14."""

    interval_index: int  # whole intervals since 1970-01-01T00:00Z
    interval_s: int


class Reading(msgspec.Struct, frozen=True):
    """A reading, its entry, and when the meter was read."""

    seq: int
    at_unix_ms: int  # wall clock, milliseconds since 1970
    uptime_ms: int
    meter_read: MeterRead


class SessionRegisters(msgspec.Struct, frozen=True):
    """The meter's register at the begin and the end of the last transaction at an EVSE.

    `begin_wh` is None if no register was known then, `end_wh` while the transaction is open.
    """

    evse_id: int
    begin_wh: Decimal | None
    end_wh: Decimal | None = None


class Readings(Projection, frozen=True):
    HANDLES = (
        MeterRead, MeterFellSilent, CallQueued, TransactionStarted, AuthorizationBoundToEvse,
        ClockAlignedIntervalHandled,
    )  # fmt: skip

    latest: tuple[Reading, ...] = ()
    sessions: tuple[SessionRegisters, ...] = ()
    aligned_interval_index: int | None = None
    aligned_interval_s: int = 0

    def apply(self, entry: Entry) -> Readings:
        match entry.event:
            case MeterRead() as read:
                return self._with_reading(entry, read, age_ms=0)
            case MeterFellSilent() as silent:
                read = MeterRead(silent.evse_id, silent.energy_wh, silent.energy_export_wh)
                return self._with_reading(entry, read, silent.age_ms)
            case CallQueued(transaction_event=summary):
                if summary is None or summary.event_type != "Ended":
                    return self
                return self._end_session(summary.evse_id)
            case TransactionStarted(evse_id=evse_id) | AuthorizationBoundToEvse(evse_id=evse_id):
                return self._begin_session(evse_id)
            case ClockAlignedIntervalHandled(interval_index=index, interval_s=interval_s):
                return replace(self, aligned_interval_index=index, aligned_interval_s=interval_s)
            case _:
                return self

    def _with_reading(self, entry: Entry, read: MeterRead, age_ms: int) -> Readings:
        at_ms = round(entry.at.timestamp() * 1000) - age_ms
        new = Reading(entry.seq, at_ms, entry.uptime_ms - age_ms, read)
        others = [each for each in self.latest if each.meter_read.evse_id != read.evse_id]
        return replace(self, latest=(*others, new))

    def on_evse(self, evse_id: int) -> Reading | None:
        for reading in self.latest:
            if reading.meter_read.evse_id == evse_id:
                return reading
        return None

    def session(self, evse_id: int) -> SessionRegisters | None:
        """The registers of the last transaction at an EVSE, open or ended."""
        return next((each for each in self.sessions if each.evse_id == evse_id), None)

    def _register_wh(self, evse_id: int) -> Decimal | None:
        reading = self.on_evse(evse_id)
        return reading.meter_read.energy_wh if reading else None

    def _begin_session(self, evse_id: int) -> Readings:
        if not evse_id:
            return self  # authorized, not plugged in yet
        others = tuple(each for each in self.sessions if each.evse_id != evse_id)
        begun = SessionRegisters(evse_id, self._register_wh(evse_id))
        return replace(self, sessions=(*others, begun))

    def _end_session(self, evse_id: int) -> Readings:
        session = self.session(evse_id)
        if session is None or session.end_wh is not None:
            return self
        others = tuple(each for each in self.sessions if each.evse_id != evse_id)
        ended = replace(session, end_wh=self._register_wh(evse_id))
        return replace(self, sessions=(*others, ended))
