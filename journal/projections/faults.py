"""What is broken?"""

from __future__ import annotations

from journal.observations import DeviceFaulted, DeviceRecovered, StationStarted
from journal.projections.base import Projection
from journal.terms import Entry


class Faults(Projection, frozen=True):
    """Faults are levels of the devices: after a start they are reported anew."""

    HEARS = (DeviceFaulted, DeviceRecovered, StationStarted)

    active: tuple[DeviceFaulted, ...] = ()

    def after(self, entry: Entry) -> Faults:
        match entry.event:
            case DeviceFaulted() as fault:
                return Faults((*self._without(fault), fault))
            case DeviceRecovered() as end:
                return Faults(self._without(end))
            case StationStarted() if self.active:
                return Faults()
            case _:
                return self

    def blocking(self, evse_id: int) -> DeviceFaulted | None:
        """The first fault for which this EVSE may not charge; 0 asks for the station."""
        for fault in self.active:
            if fault.blocks and fault.evse_id in (0, evse_id):
                return fault
        return None

    def _without(self, one: DeviceFaulted | DeviceRecovered) -> tuple[DeviceFaulted, ...]:
        name = (one.evse_id, one.device, one.fault)
        return tuple(
            fault for fault in self.active if (fault.evse_id, fault.device, fault.fault) != name
        )
