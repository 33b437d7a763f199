"""Active faults of devices and protections, and the releases that people requested."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Entry
from journal.observations import (
    DeviceFaulted,
    DeviceRecovered,
    FaultReleaseRequested,
    StationStarted,
)
from journal.projections.base import Projection

RELEASES_MAX = 8  # kept; the hardware acts on each within a round


class FaultRelease(msgspec.Struct, frozen=True):
    """A requested release of latched faults, by the entry that recorded it."""

    seq: int
    device: str
    fault: str  # empty: all of the device
    evse_id: int | None  # None: every EVSE


class Faults(Projection, frozen=True):
    """A fault is a state of a device, not an event: after a start the devices report it again."""

    HANDLES = (DeviceFaulted, DeviceRecovered, FaultReleaseRequested, StationStarted)

    active: tuple[DeviceFaulted, ...] = ()
    releases: tuple[FaultRelease, ...] = ()  # the newest of this run

    def apply(self, entry: Entry) -> Faults:
        match entry.event:
            case DeviceFaulted() as fault:
                return replace(self, active=(*self._without_fault(fault), fault))
            case DeviceRecovered() as end:
                return replace(self, active=self._without_fault(end))
            case FaultReleaseRequested(device=device, fault=fault_kind, evse_id=evse_id):
                release = FaultRelease(entry.seq, device, fault_kind, evse_id)
                return replace(self, releases=(*self.releases, release)[-RELEASES_MAX:])
            case StationStarted() if self.active or self.releases:
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
