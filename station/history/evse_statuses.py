"""Status of each EVSE at a point of a journal.

The status is not computed here: `EvseStatusTracker` keeps the part of the state that a status
depends on and calls the function with which the station itself computes what it reports to the
CSMS (`station.core.blocks.g_availability`). So `export states`, the report and the CSMS agree.

Two things are not in a journal and are filled in:

* A journal holds the name of the product profile, not the profile. Of the profile a status uses
  only whether firmware is installed while an EV charges (C-43), and the default of
  `AllowNewSessionsPendingFirmwareUpdate`. If the profile does not come with the program,
  `FALLBACK_PROFILE` is used.
* While no program runs there is no status. That is for the caller to show.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from journal.events import PROGRAMMING_ERRORS, Entry, Event, Observation
from journal.state import PROJECTIONS, State
from station.core.blocks.evse_conditions import is_closed_for_firmware
from station.core.blocks.g_availability import current_evse_status
from station.core.context import Context, Product
from station.core.device_model.model import DeviceModel
from station.ocpp.messages.enums import ConnectorStatusEnumType
from station.profiles import load_profile, profile_names

FALLBACK_PROFILE: Final = "evs-flash-300"

# The projections that a status is computed from.
STATUS_PROJECTIONS: Final = (
    "health",
    "lifecycle",
    "availability",
    "faults",
    "evses",
    "transactions",
    "authorizations",
    "reservations",
    "firmware",
    "variables",
)


class EvseStatusTracker:
    """The status of every EVSE after the entries applied so far."""

    def __init__(self) -> None:
        self._state = State("")
        self._entry: Entry | None = None

    def apply(self, entry: Entry) -> bool:
        """Apply an entry; whether a status may have changed. Entries come in order."""
        names = _PROJECTIONS_BY_EVENT.get(type(entry.event), ())
        if names:
            self._state = _apply_projections(self._state, names, entry)
        self._entry = entry
        return bool(names) or (isinstance(entry.event, Observation) and self._depends_on_time())

    @property
    def state(self) -> State:
        """The state at the last entry; only the projections of STATUS_PROJECTIONS are kept."""
        return self._state

    @property
    def evse_ids(self) -> tuple[int, ...]:
        return self._state.lifecycle.evse_ids

    def status_on_evse(self, evse_id: int) -> ConnectorStatusEnumType:
        """AvailabilityState of an EVSE after the last entry."""
        return current_evse_status(self._context(), evse_id)

    def is_closed_for_firmware(self, evse_id: int) -> bool:
        """Whether an update keeps new EV drivers away from an EVSE after the last entry."""
        return is_closed_for_firmware(self._context(), evse_id)

    def _context(self) -> Context:
        assert self._entry is not None, "no entry yet"
        product = find_product(self._state.lifecycle.product_profile)
        return Context(product, self._state, self._entry)

    def _depends_on_time(self) -> bool:
        """Whether a status can change by time alone: a failed rule, an update with a start time."""
        return (
            self._state.health.rule_failed_ms is not None
            or self._state.firmware.running_update is not None
        )


def _apply_projections(state: State, names: tuple[str, ...], entry: Entry) -> State:
    """`journal.state.apply_entry`, for some projections only."""
    changes: dict[str, Any] = {}
    for name in names:
        projection = getattr(state, name)
        try:
            changes[name] = projection.apply(entry)
        except PROGRAMMING_ERRORS as error:
            health = changes.get("health", state.health)
            changes["health"] = health.with_projection_failure(
                entry, type(projection).__name__, error
            )
    return msgspec.structs.replace(state, **changes)


def _index_by_event() -> dict[type[Event], tuple[str, ...]]:
    names_by_event: dict[type[Event], tuple[str, ...]] = {}
    for name in STATUS_PROJECTIONS:
        for kind in PROJECTIONS[name].HANDLES:
            names_by_event[kind] = (*names_by_event.get(kind, ()), name)
    return names_by_event


_PROJECTIONS_BY_EVENT: Final = _index_by_event()


@cache
def find_product(profile_name: str) -> Product:
    """The product of a run, by the profile named in its StationStarted."""
    profile = load_profile(profile_name if profile_name in profile_names() else FALLBACK_PROFILE)
    return Product(profile, DeviceModel(profile))
