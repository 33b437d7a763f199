"""What does the CSMS believe of each connector?

A status counts as told from the moment it is queued. If its message is dropped, or the CSMS may
have forgotten, it is told again.
"""

from __future__ import annotations

import msgspec

from journal.observations import StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, CallsDropped, StatusMark
from journal.terms import Decision, Entry


class StatusesDoubted(Decision, frozen=True):
    """All connectors shall be told anew. B01.FR.05, B04.FR.01."""

    reason: str


class Told(msgspec.Struct, frozen=True):
    evse_id: int
    connector_id: int
    status: str
    call: int


class Statuses(Projection, frozen=True):
    HEARS = (CallQueued, CallsDropped, StatusesDoubted, StationStarted)

    told: tuple[Told, ...] = ()

    def after(self, entry: Entry) -> Statuses:
        match entry.event:
            case CallQueued(status=mark):
                return self if mark is None else self._told(entry.seq, mark)
            case CallsDropped(heard=True):
                return self  # told again at once, it would be refused again at once
            case CallsDropped(calls=calls) if any(one.call in calls for one in self.told):
                return Statuses(tuple(one for one in self.told if one.call not in calls))
            case StatusesDoubted() | StationStarted():
                return Statuses()
            case _:
                return self

    def of(self, evse_id: int, connector_id: int) -> str | None:
        for one in self.told:
            if (one.evse_id, one.connector_id) == (evse_id, connector_id):
                return one.status
        return None

    def _told(self, call: int, mark: StatusMark) -> Statuses:
        new = Told(mark.evse_id, mark.connector_id, mark.status, call)
        return Statuses((*self._without(mark.evse_id, mark.connector_id), new))

    def _without(self, evse_id: int, connector_id: int) -> tuple[Told, ...]:
        where = (evse_id, connector_id)
        return tuple(one for one in self.told if (one.evse_id, one.connector_id) != where)
