"""Operational status ordered by the CSMS: of the station, its EVSEs and its connectors. Block G.

A part is (evse_id, connector_id); (0, 0) is the station, (n, 0) a whole EVSE. Each part keeps its
own status, so that setting the station Operative returns its EVSEs to what they were. G03.FR.07,
G04.FR.08.
"""

from __future__ import annotations

from journal.events import Decision, Entry
from journal.projections.base import Projection

Part = tuple[int, int]


class AvailabilityChanged(Decision, frozen=True):
    """A part was set Operative or Inoperative; persists over restarts. G03.FR.08, G04.FR.09."""

    evse_id: int
    connector_id: int
    operative: bool


class AvailabilityScheduled(Decision, frozen=True):
    """The change of a part waits for a transaction to end. G03.FR.05, G04.FR.06."""

    evse_id: int
    connector_id: int
    operative: bool


class Availability(Projection, frozen=True):
    HANDLES = (AvailabilityChanged, AvailabilityScheduled)

    inoperative: tuple[Part, ...] = ()  # sorted
    scheduled: tuple[tuple[Part, bool], ...] = ()  # part -> operative

    def apply(self, entry: Entry) -> Availability:
        match entry.event:
            case AvailabilityChanged(evse_id=evse, connector_id=connector, operative=operative):
                part = (evse, connector)
                others = {other for other in self.inoperative if other != part}
                inoperative = others if operative else others | {part}
                return Availability(tuple(sorted(inoperative)), self._scheduled_without(part))
            case AvailabilityScheduled(evse_id=evse, connector_id=connector, operative=operative):
                part = (evse, connector)
                return Availability(
                    self.inoperative, (*self._scheduled_without(part), (part, operative))
                )
            case _:
                return self

    def is_operative(self, evse_id: int, connector_id: int = 0) -> bool:
        """Whether the part and everything it belongs to is Operative."""
        if not self.inoperative:
            return True
        return not {(0, 0), (evse_id, 0), (evse_id, connector_id)} & set(self.inoperative)

    def is_leaving_service(self, evse_id: int, connector_id: int = 0) -> bool:
        """Whether the part becomes Inoperative when a transaction ends, perhaps on another EVSE."""
        if not self.scheduled:
            return False
        waiting = {part for part, operative in self.scheduled if not operative}
        return bool({(0, 0), (evse_id, 0), (evse_id, connector_id)} & waiting)

    def is_itself_operative(self, part: Part) -> bool:
        """Whether the part itself is Operative, regardless of what it belongs to."""
        return part not in self.inoperative

    def _scheduled_without(self, part: Part) -> tuple[tuple[Part, bool], ...]:
        return tuple(change for change in self.scheduled if change[0] != part)
