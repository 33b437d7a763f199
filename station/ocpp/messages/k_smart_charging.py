"""Messages of block K: smart charging."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from station.ocpp.messages.datatypes import (
    ChargingProfileType,
    ChargingSchedulePeriodType,
    ChargingScheduleType,
    StatusInfoType,
)
from station.ocpp.messages.enums import (
    ChargingLimitSourceEnumType,
    ChargingProfilePurposeEnumType,
    ChargingProfileStatusEnumType,
    ChargingRateUnitEnumType,
    ClearChargingProfileStatusEnumType,
    EnergyTransferModeEnumType,
    GenericStatusEnumType,
    GetChargingProfileStatusEnumType,
    NotifyEVChargingNeedsStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Timestamp


class ACChargingParametersType(Datatype, frozen=True):
    """AC charging needs of an EV. K15."""

    energy_amount: Integer  # Wh
    ev_min_current: Integer  # A per phase
    ev_max_current: Integer  # A per phase
    ev_max_voltage: Integer  # V


class ChargingLimitType(Datatype, frozen=True):
    """Source of a limit, and whether it is critical for the grid. K12."""

    charging_limit_source: ChargingLimitSourceEnumType
    is_grid_critical: Maybe[bool] = None


class DCChargingParametersType(Datatype, frozen=True):
    """DC charging needs of an EV. K15."""

    ev_max_current: Integer  # A
    ev_max_voltage: Integer  # V
    energy_amount: Maybe[Integer] = None  # Wh
    ev_max_power: Maybe[Integer] = None  # W
    state_of_charge: Maybe[Annotated[int, Meta(ge=0, le=100)]] = None  # %
    ev_energy_capacity: Maybe[Integer] = None  # Wh
    # %: full for the EV
    full_soc: Maybe[Annotated[int, Meta(ge=0, le=100)]] = field(default=None, name="fullSoC")
    # %: where charging gets slow
    bulk_soc: Maybe[Annotated[int, Meta(ge=0, le=100)]] = field(default=None, name="bulkSoC")


class ChargingNeedsType(Datatype, frozen=True):
    """Charging needs of an EV, and its departure time. K15."""

    requested_energy_transfer: EnergyTransferModeEnumType
    ac_charging_parameters: Maybe[ACChargingParametersType] = None
    dc_charging_parameters: Maybe[DCChargingParametersType] = None
    departure_time: Maybe[Timestamp] = None


class ChargingProfileCriterionType(Datatype, frozen=True):
    """Criteria of the requested charging profiles. K09."""

    charging_profile_purpose: Maybe[ChargingProfilePurposeEnumType] = None
    stack_level: Maybe[Integer] = None
    charging_profile_id: Maybe[Annotated[tuple[Integer, ...], Meta(min_length=1)]] = None
    charging_limit_source: Maybe[
        Annotated[tuple[ChargingLimitSourceEnumType, ...], Meta(min_length=1, max_length=4)]
    ] = None


class ClearChargingProfileType(Datatype, frozen=True):
    """Which charging profiles to clear. K10."""

    evse_id: Maybe[Integer] = None  # 0: those of the whole station
    charging_profile_purpose: Maybe[ChargingProfilePurposeEnumType] = None
    stack_level: Maybe[Integer] = None


class CompositeScheduleType(Datatype, frozen=True):
    """The limits that follow from all profiles. K08."""

    charging_schedule_period: Annotated[tuple[ChargingSchedulePeriodType, ...], Meta(min_length=1)]
    evse_id: Integer
    duration: Integer  # s
    schedule_start: Timestamp
    charging_rate_unit: ChargingRateUnitEnumType


class SetChargingProfileRequest(Datatype, frozen=True):
    """Install a charging profile. K01."""

    evse_id: Integer  # 0: whole station, or default for each EVSE
    charging_profile: ChargingProfileType


class SetChargingProfileResponse(Datatype, frozen=True):
    """Whether it is installed."""

    status: ChargingProfileStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetChargingProfilesRequest(Datatype, frozen=True):
    """Report the installed profiles that match. K09."""

    request_id: Integer
    charging_profile: ChargingProfileCriterionType
    evse_id: Maybe[Integer] = None  # 0: those of the whole station; absent: all


class GetChargingProfilesResponse(Datatype, frozen=True):
    """Whether ReportChargingProfilesRequests will follow."""

    status: GetChargingProfileStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class ReportChargingProfilesRequest(Datatype, frozen=True):
    """Requested charging profiles. K09."""

    request_id: Integer  # of the request
    charging_limit_source: ChargingLimitSourceEnumType
    charging_profile: Annotated[tuple[ChargingProfileType, ...], Meta(min_length=1)]
    evse_id: Integer
    tbc: Maybe[bool] = None  # more parts follow; absent: no


class ReportChargingProfilesResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class ClearChargingProfileRequest(Datatype, frozen=True):
    """Remove the profiles that match. K10."""

    charging_profile_id: Maybe[Integer] = None
    charging_profile_criteria: Maybe[ClearChargingProfileType] = None


class ClearChargingProfileResponse(Datatype, frozen=True):
    """Whether any matched."""

    status: ClearChargingProfileStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetCompositeScheduleRequest(Datatype, frozen=True):
    """Requests the limits of the next time. K08."""

    duration: Integer  # s
    evse_id: Integer  # 0: the limit of the grid connection
    charging_rate_unit: Maybe[ChargingRateUnitEnumType] = None


class GetCompositeScheduleResponse(Datatype, frozen=True):
    """The limits, or that they cannot be computed."""

    status: GenericStatusEnumType
    status_info: Maybe[StatusInfoType] = None
    schedule: Maybe[CompositeScheduleType] = None


class NotifyChargingLimitRequest(Datatype, frozen=True):
    """Reports a limit from another source than the CSMS. K11, K12."""

    charging_limit: ChargingLimitType
    charging_schedule: Maybe[Annotated[tuple[ChargingScheduleType, ...], Meta(min_length=1)]] = None
    evse_id: Maybe[Integer] = None


class NotifyChargingLimitResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class ClearedChargingLimitRequest(Datatype, frozen=True):
    """An external limit was lifted. K13."""

    charging_limit_source: ChargingLimitSourceEnumType
    evse_id: Maybe[Integer] = None


class ClearedChargingLimitResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class NotifyEVChargingNeedsRequest(Datatype, frozen=True):
    """Reports the charging needs of an EV. K15, K17."""

    charging_needs: ChargingNeedsType
    evse_id: Integer  # from 1
    max_schedule_tuples: Maybe[Integer] = None  # periods the EV can handle


class NotifyEVChargingNeedsResponse(Datatype, frozen=True):
    """Whether a charging profile will follow."""

    status: NotifyEVChargingNeedsStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class NotifyEVChargingScheduleRequest(Datatype, frozen=True):
    """Reports the schedule that an EV chose. K15, K17."""

    time_base: Timestamp  # start of the periods of the schedule
    charging_schedule: ChargingScheduleType
    evse_id: Integer


class NotifyEVChargingScheduleResponse(Datatype, frozen=True):
    """Whether the CSMS can process it."""

    status: GenericStatusEnumType
    status_info: Maybe[StatusInfoType] = None
