"""Datatypes that messages of several blocks share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from station.ocpp.messages.enums import (
    AuthorizationStatusEnumType,
    ChargingProfileKindEnumType,
    ChargingProfilePurposeEnumType,
    ChargingRateUnitEnumType,
    CostKindEnumType,
    HashAlgorithmEnumType,
    IdTokenEnumType,
    LocationEnumType,
    MeasurandEnumType,
    MessageFormatEnumType,
    PhaseEnumType,
    ReadingContextEnumType,
    RecurrencyKindEnumType,
)
from station.ocpp.messages.primitives import (
    INTEGER_MAX,
    Datatype,
    Integer,
    Maybe,
    Number,
    Timestamp,
)


class AdditionalInfoType(Datatype, frozen=True):
    """A further identifier of an IdToken, of a private type."""

    additional_id_token: Annotated[str, Meta(max_length=36)]
    type: Annotated[str, Meta(max_length=50)]


class CertificateHashDataType(Datatype, frozen=True):
    """Identifies a certificate as in OCSP. M03, M04."""

    hash_algorithm: HashAlgorithmEnumType
    issuer_name_hash: Annotated[str, Meta(max_length=128)]  # hex
    issuer_key_hash: Annotated[str, Meta(max_length=128)]  # hex
    serial_number: Annotated[str, Meta(max_length=40)]  # hex without leading zeroes


class ChargingSchedulePeriodType(Datatype, frozen=True):
    """A limit from one moment on."""

    start_period: Integer  # s from the schedule's start
    limit: Number  # A per phase or W, the unit is that of the schedule; one decimal
    number_phases: Maybe[Integer] = None  # absent: 3
    phase_to_use: Maybe[Integer] = None  # 1 to 3, only with numberPhases 1


class RelativeTimeIntervalType(Datatype, frozen=True):
    """A span of time from now. ISO 15118-2."""

    start: Integer  # s
    duration: Maybe[Integer] = None  # s


class CostType(Datatype, frozen=True):
    """An amount of money, carbon or share. ISO 15118-2."""

    cost_kind: CostKindEnumType
    amount: Integer  # per kWh, times 10 to the power of amountMultiplier
    amount_multiplier: Maybe[Integer] = None  # -3 to 3


class ConsumptionCostType(Datatype, frozen=True):
    """Cost from a level of consumption on. ISO 15118-2."""

    start_value: Number
    cost: Annotated[tuple[CostType, ...], Meta(min_length=1, max_length=3)]


class SalesTariffEntryType(Datatype, frozen=True):
    """The price in one span of time. ISO 15118-2."""

    relative_time_interval: RelativeTimeIntervalType
    # the lower, the cheaper
    e_price_level: Maybe[Annotated[int, Meta(ge=0, le=INTEGER_MAX)]] = None
    consumption_cost: Maybe[
        Annotated[tuple[ConsumptionCostType, ...], Meta(min_length=1, max_length=3)]
    ] = None


class SalesTariffType(Datatype, frozen=True):
    """Prices over time, for the EV. ISO 15118-2."""

    id: Integer
    sales_tariff_entry: Annotated[
        tuple[SalesTariffEntryType, ...], Meta(min_length=1, max_length=1024)
    ]
    sales_tariff_description: Maybe[Annotated[str, Meta(max_length=32)]] = None
    num_e_price_levels: Maybe[Integer] = None


class ChargingScheduleType(Datatype, frozen=True):
    """A sequence of limits in one unit."""

    id: Integer
    charging_rate_unit: ChargingRateUnitEnumType
    charging_schedule_period: Annotated[
        tuple[ChargingSchedulePeriodType, ...], Meta(min_length=1, max_length=1024)
    ]
    start_schedule: Maybe[Timestamp] = None  # absent: relative to the start of charging
    duration: Maybe[Integer] = None  # s; absent: the last period has no end
    min_charging_rate: Maybe[Number] = None  # A or W; one decimal
    sales_tariff: Maybe[SalesTariffType] = None


class ChargingProfileType(Datatype, frozen=True):
    """A limit over time, with its purpose and its rank. K01."""

    id: Integer
    stack_level: Integer  # from 0; the highest valid one counts
    charging_profile_purpose: ChargingProfilePurposeEnumType
    charging_profile_kind: ChargingProfileKindEnumType
    charging_schedule: Annotated[tuple[ChargingScheduleType, ...], Meta(min_length=1, max_length=3)]
    recurrency_kind: Maybe[RecurrencyKindEnumType] = None
    valid_from: Maybe[Timestamp] = None  # absent: from its arrival
    valid_to: Maybe[Timestamp] = None  # absent: until replaced
    transaction_id: Maybe[Annotated[str, Meta(max_length=36)]] = None  # TxProfile only


class EVSEType(Datatype, frozen=True):
    """An EVSE, or one of its connectors."""

    id: Integer
    connector_id: Maybe[Integer] = None


class ComponentType(Datatype, frozen=True):
    """A part of the station in the device model."""

    name: Annotated[str, Meta(max_length=50)]
    evse: Maybe[EVSEType] = None
    instance: Maybe[Annotated[str, Meta(max_length=50)]] = None


class VariableType(Datatype, frozen=True):
    """A value of a component in the device model."""

    name: Annotated[str, Meta(max_length=50)]
    instance: Maybe[Annotated[str, Meta(max_length=50)]] = None


class ComponentVariableType(Datatype, frozen=True):
    """A variable of a component, or all of them."""

    component: ComponentType
    variable: Maybe[VariableType] = None


class IdTokenType(Datatype, frozen=True):
    """The identifier that is authorized. Not case-sensitive."""

    id_token: Annotated[str, Meta(max_length=36)]
    type: IdTokenEnumType
    additional_info: Maybe[Annotated[tuple[AdditionalInfoType, ...], Meta(min_length=1)]] = None


class MessageContentType(Datatype, frozen=True):
    """Text for a person."""

    format: MessageFormatEnumType
    content: Annotated[str, Meta(max_length=512)]
    language: Maybe[Annotated[str, Meta(max_length=8)]] = None  # RFC 5646


class IdTokenInfoType(Datatype, frozen=True):
    """Authorization status of an IdToken."""

    status: AuthorizationStatusEnumType
    cache_expiry_date_time: Maybe[Timestamp] = None  # overrides AuthCacheLifeTime. C10.FR.13
    charging_priority: Maybe[Integer] = None  # -9 to 9; absent: 0
    language1: Maybe[Annotated[str, Meta(max_length=8)]] = None  # RFC 5646
    # only valid there; absent: everywhere
    evse_id: Maybe[Annotated[tuple[Integer, ...], Meta(min_length=1)]] = None
    group_id_token: Maybe[IdTokenType] = None
    language2: Maybe[Annotated[str, Meta(max_length=8)]] = None  # RFC 5646
    personal_message: Maybe[MessageContentType] = None


class SignedMeterValueType(Datatype, frozen=True):
    """A reading that the meter itself signed."""

    signed_meter_data: Annotated[str, Meta(max_length=2500)]  # base64
    signing_method: Annotated[str, Meta(max_length=50)]
    encoding_method: Annotated[str, Meta(max_length=50)]
    public_key: Annotated[str, Meta(max_length=2500)]  # base64; may be empty


class UnitOfMeasureType(Datatype, frozen=True):
    """A unit and a power of ten."""

    unit: Maybe[Annotated[str, Meta(max_length=20)]] = None  # Part 2 appendix 2; absent: Wh
    multiplier: Maybe[Integer] = None  # exponent of 10; absent: 0


class SampledValueType(Datatype, frozen=True):
    """One number of a reading."""

    value: Number
    context: Maybe[ReadingContextEnumType] = None  # absent: Sample.Periodic
    measurand: Maybe[MeasurandEnumType] = None  # absent: Energy.Active.Import.Register
    phase: Maybe[PhaseEnumType] = None  # absent: overall
    location: Maybe[LocationEnumType] = None  # absent: Outlet
    signed_meter_value: Maybe[SignedMeterValueType] = None
    unit_of_measure: Maybe[UnitOfMeasureType] = None  # absent: Wh for an energy


class MeterValueType(Datatype, frozen=True):
    """Readings of one moment."""

    sampled_value: Annotated[tuple[SampledValueType, ...], Meta(min_length=1)]
    timestamp: Timestamp


class OCSPRequestDataType(Datatype, frozen=True):
    """Identifies a certificate and its OCSP responder."""

    hash_algorithm: HashAlgorithmEnumType
    issuer_name_hash: Annotated[str, Meta(max_length=128)]  # hex
    issuer_key_hash: Annotated[str, Meta(max_length=128)]  # hex
    serial_number: Annotated[str, Meta(max_length=40)]  # hex without leading zeroes
    responder_url: Annotated[str, Meta(max_length=512)] = field(name="responderURL")


class StatusInfoType(Datatype, frozen=True):
    """Reason of a status."""

    reason_code: Annotated[str, Meta(max_length=20)]  # Part 2 appendix 5
    additional_info: Maybe[Annotated[str, Meta(max_length=512)]] = None
