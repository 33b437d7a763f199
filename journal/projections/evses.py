"""Cable, contactors, energy flow and EV of each EVSE, as last reported."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Entry
from journal.observations import (
    CableReported,
    ContactorReported,
    EnergyFlow,
    EnergyFlowReported,
    EvIdentified,
    StationStarted,
)
from journal.projections.base import Projection


class Evse(msgspec.Struct, frozen=True):
    """Reports of one EVSE. None: not reported since the program started."""

    evse_id: int
    plugged_connector_id: int | None = None  # the connector with an EV; 0: none
    cable_report_count: int = 0  # cable reports since the program started
    cable_reported_seq: int = 0  # entry that reported the cable last
    cable_reported_ms: int = 0  # uptime of that report
    contactor_closed: bool | None = None
    contactor_reported_ms: int = 0  # uptime of that report
    flow: EnergyFlow = "none"
    ev: EvIdentified | None = None

    @property
    def is_cable_known(self) -> bool:
        return self.plugged_connector_id is not None

    @property
    def is_plugged_in(self) -> bool:
        return bool(self.plugged_connector_id)

    @property
    def is_deenergized(self) -> bool:
        """Whether the contactors are open and no energy flows."""
        return self.contactor_closed is False and self.flow == "none"


class Evses(Projection, frozen=True):
    HANDLES = (StationStarted, CableReported, ContactorReported, EnergyFlowReported, EvIdentified)

    all_evses: tuple[Evse, ...] = ()

    def apply(self, entry: Entry) -> Evses:
        match entry.event:
            case StationStarted(evses=evses):
                return Evses(tuple(Evse(evse_id) for evse_id, _ in evses))
            case CableReported(evse_id=evse_id, connector_id=connector, plugged_in=plugged):
                old = self.by_id(evse_id)
                new = replace(
                    old,
                    plugged_connector_id=connector if plugged else 0,
                    cable_report_count=old.cable_report_count + 1,
                    cable_reported_seq=entry.seq,
                    cable_reported_ms=entry.uptime_ms,
                    ev=old.ev if plugged else None,
                    flow=old.flow if plugged else "none",
                )
                return self._with_evse(new)
            case ContactorReported(evse_id=evse_id, closed=closed):
                return self._with_evse(
                    replace(
                        self.by_id(evse_id),
                        contactor_closed=closed,
                        contactor_reported_ms=entry.uptime_ms,
                    )
                )
            case EnergyFlowReported(evse_id=evse_id, flow=flow):
                return self._with_evse(replace(self.by_id(evse_id), flow=flow))
            case EvIdentified(evse_id=evse_id) as ev:
                return self._with_evse(replace(self.by_id(evse_id), ev=ev))
            case _:
                return self

    def by_id(self, evse_id: int) -> Evse:
        for evse in self.all_evses:
            if evse.evse_id == evse_id:
                return evse
        return Evse(evse_id)

    def _with_evse(self, changed: Evse) -> Evses:
        return Evses(
            tuple(changed if evse.evse_id == changed.evse_id else evse for evse in self.all_evses)
        )
