"""The power limit in force at each EVSE and at the station, with its source. SC.01.

What limits is decided from charging profiles and external limits (`k_power_limits`) whenever one of
the events in `HANDLES` may have changed it, and when the present limits end. The decision is kept
here, so that the desired state does not compute schedules after every commit, and so that a journal
shows at each entry which limit was in force and why.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import (
    CableReported,
    ClockStepped,
    EnergyFlowReported,
    ExternalLimitReported,
    StationStarted,
)
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.base import Projection
from journal.projections.charging_profiles import ChargingProfileInstalled, ChargingProfileRemoved
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionAuthorized, TransactionStarted
from journal.projections.variables import VariableChanged


class PowerLimit(msgspec.Struct, frozen=True, kw_only=True):
    """The limit in force at an EVSE or at the station, and its source."""

    evse_id: int  # 0: the grid connection of the station, for all EVSEs together
    limit_w: Decimal
    limit_a: Decimal | None = None  # where the profile of an EVSE limits the current
    min_rate_w: Decimal | None = None  # minChargingRate. K01.FR.21
    purpose: str  # ChargingProfilePurposeEnumType
    source_seq: int  # entry that installed the profile or reported the external limit
    profile_id: int  # chargingProfile.id; negative: an external limit
    stack_level: int
    limit_source: str  # ChargingLimitSourceEnumType
    origin: str = ""  # of an external limit: what reported it


class PowerLimitsDecided(Decision, frozen=True):
    """These limits are in force from now on. SC.01, K08.FR.04."""

    limits: tuple[PowerLimit, ...]  # at most one for each EVSE and the station
    until_unix_ms: int | None = None  # they may change by themselves then, by the wall clock


class PowerLimits(Projection, frozen=True):
    """The limits in force."""

    HANDLES = (
        CallQueued, EnergyFlowReported, CableReported, TransactionStarted, TransactionAuthorized,
        AuthorizationBoundToEvse, ClockCorrected, ClockStepped, PowerLimitsDecided, StationStarted,
        ChargingProfileInstalled, ChargingProfileRemoved, ExternalLimitReported, VariableChanged,
    )  # fmt: skip

    limits: tuple[PowerLimit, ...] = ()
    until_unix_ms: int | None = None
    is_outdated: bool = False  # something happened that may change them

    def apply(self, entry: Entry) -> PowerLimits:
        match entry.event:
            case CallQueued(transaction_event=summary):
                if summary is None or summary.event_type != "Ended":
                    return self
                return replace(self, is_outdated=True)
            case PowerLimitsDecided(limits=limits, until_unix_ms=until_unix_ms):
                return PowerLimits(limits, until_unix_ms)
            case _ if self.is_outdated:
                return self
            case _:
                return replace(self, is_outdated=True)

    def on_evse(self, evse_id: int) -> PowerLimit | None:
        """The limit of an EVSE, or of the station (0); None: nothing limits it."""
        return next((limit for limit in self.limits if limit.evse_id == evse_id), None)
