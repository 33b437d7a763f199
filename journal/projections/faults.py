"""Active faults of devices and protections."""

from __future__ import annotations

from journal.events import Entry
from journal.observations import DeviceFaulted, DeviceRecovered, StationStarted
from journal.projections.base import Projection


class Faults(Projection, frozen=True):
    """A fault is a state of a device, not an event: after a start the devices report it again."""

    HANDLES = (DeviceFaulted, DeviceRecovered, StationStarted)

    active: tuple[DeviceFaulted, ...] = ()

    def apply(self, entry: Entry) -> Faults:
        match entry.event:
            case DeviceFaulted() as fault:
                return Faults((*self._without_fault(fault), fault))
            case DeviceRecovered() as end:
                return Faults(self._without_fault(end))
            case StationStarted() if self.active:
                return Faults()
            case _:
                return self

    def blocking_fault(self, evse_id: int) -> DeviceFaulted | None:
        """The first fault that forbids charging at this EVSE; 0: at the whole station."""
        for fault in self.active:
            if fault.blocks_charging and fault.evse_id in (0, evse_id):
                return fault
        return None

    def _without_fault(self, event: DeviceFaulted | DeviceRecovered) -> tuple[DeviceFaulted, ...]:
        name = (event.evse_id, event.device, event.fault)
        return tuple(
            fault for fault in self.active if (fault.evse_id, fault.device, fault.fault) != name
        )
