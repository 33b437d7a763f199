"""What do the cables, contactors and EVs of each EVSE do right now?"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.observations import (
    CableReported,
    ContactorReported,
    EvIdentified,
    Flow,
    FlowReported,
    StationStarted,
)
from journal.projections.base import Projection
from journal.terms import Entry


class Evse(msgspec.Struct, frozen=True):
    """What is known of one EVSE. None: not reported since the program started."""

    evse_id: int
    plugged_at: int | None = None  # the connector an EV hangs on; 0: none
    cables: int = 0  # reports of the cable since the program started
    plugged_seq: int = 0  # entry that reported the cable last
    plugged_ms: int = 0  # uptime of that report
    contactor_closed: bool | None = None
    flow: Flow = "none"
    ev: EvIdentified | None = None

    @property
    def known(self) -> bool:
        return self.plugged_at is not None

    @property
    def plugged(self) -> bool:
        return bool(self.plugged_at)

    @property
    def powerless(self) -> bool:
        """No energy can flow any more."""
        return self.contactor_closed is False and self.flow == "none"


class Hardware(Projection, frozen=True):
    HEARS = (StationStarted, CableReported, ContactorReported, FlowReported, EvIdentified)

    evses: tuple[Evse, ...] = ()

    def after(self, entry: Entry) -> Hardware:
        match entry.event:
            case StationStarted(evses=evses):
                return Hardware(tuple(Evse(evse_id) for evse_id, _ in evses))
            case CableReported(evse_id=evse_id, connector_id=connector, plugged=plugged):
                old = self.at(evse_id)
                new = replace(
                    old,
                    plugged_at=connector if plugged else 0,
                    cables=old.cables + 1,
                    plugged_seq=entry.seq,
                    plugged_ms=entry.uptime_ms,
                    ev=old.ev if plugged else None,
                    flow=old.flow if plugged else "none",
                )
                return self._having(new)
            case ContactorReported(evse_id=evse_id, closed=closed):
                return self._having(replace(self.at(evse_id), contactor_closed=closed))
            case FlowReported(evse_id=evse_id, flow=flow):
                return self._having(replace(self.at(evse_id), flow=flow))
            case EvIdentified(evse_id=evse_id) as ev:
                return self._having(replace(self.at(evse_id), ev=ev))
            case _:
                return self

    def at(self, evse_id: int) -> Evse:
        for evse in self.evses:
            if evse.evse_id == evse_id:
                return evse
        return Evse(evse_id)

    def _having(self, new: Evse) -> Hardware:
        return Hardware(tuple(new if evse.evse_id == new.evse_id else evse for evse in self.evses))
