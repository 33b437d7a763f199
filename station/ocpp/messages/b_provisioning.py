"""Messages of block B: boot, variables, reports, network profiles, reset."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import (
    ComponentType,
    ComponentVariableType,
    StatusInfoType,
    VariableType,
)
from station.ocpp.messages.enums import (
    APNAuthenticationEnumType,
    AttributeEnumType,
    BootReasonEnumType,
    ComponentCriterionEnumType,
    DataEnumType,
    GenericDeviceModelStatusEnumType,
    GetVariableStatusEnumType,
    MutabilityEnumType,
    OCPPInterfaceEnumType,
    OCPPTransportEnumType,
    OCPPVersionEnumType,
    RegistrationStatusEnumType,
    ReportBaseEnumType,
    ResetEnumType,
    ResetStatusEnumType,
    SetNetworkProfileStatusEnumType,
    SetVariableStatusEnumType,
    VPNEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Number, Timestamp


class APNType(Datatype, frozen=True):
    """How the modem reaches a mobile network. B09."""

    apn: Annotated[str, Meta(max_length=512)]
    apn_authentication: APNAuthenticationEnumType
    apn_user_name: Maybe[Annotated[str, Meta(max_length=20)]] = None
    apn_password: Maybe[Annotated[str, Meta(max_length=20)]] = None  # secret
    sim_pin: Maybe[Integer] = None  # secret
    preferred_network: Maybe[Annotated[str, Meta(max_length=6)]] = None  # MCC and MNC
    use_only_preferred_network: Maybe[bool] = None


class ModemType(Datatype, frozen=True):
    """The SIM card of the station's modem."""

    iccid: Maybe[Annotated[str, Meta(max_length=20)]] = None
    imsi: Maybe[Annotated[str, Meta(max_length=20)]] = None


class ChargingStationType(Datatype, frozen=True):
    """Model, vendor, firmware and modem of the station. B01."""

    model: Annotated[str, Meta(max_length=20)]
    vendor_name: Annotated[str, Meta(max_length=50)]
    serial_number: Maybe[Annotated[str, Meta(max_length=25)]] = None
    modem: Maybe[ModemType] = None
    firmware_version: Maybe[Annotated[str, Meta(max_length=50)]] = None


class GetVariableDataType(Datatype, frozen=True):
    """One attribute of one variable to read. Absent type: Actual. B06."""

    component: ComponentType
    variable: VariableType
    attribute_type: Maybe[AttributeEnumType] = None


class GetVariableResultType(Datatype, frozen=True):
    """One attribute, or why it cannot be read. B06."""

    attribute_status: GetVariableStatusEnumType
    component: ComponentType
    variable: VariableType
    attribute_status_info: Maybe[StatusInfoType] = None
    attribute_type: Maybe[AttributeEnumType] = None
    attribute_value: Maybe[Annotated[str, Meta(max_length=2500)]] = None  # only when Accepted


class VPNType(Datatype, frozen=True):
    """A tunnel to the CSMS. B09."""

    server: Annotated[str, Meta(max_length=512)]
    user: Annotated[str, Meta(max_length=20)]
    password: Annotated[str, Meta(max_length=20)]  # secret
    key: Annotated[str, Meta(max_length=255)]  # secret
    type: VPNEnumType
    group: Maybe[Annotated[str, Meta(max_length=20)]] = None


class NetworkConnectionProfileType(Datatype, frozen=True):
    """One way to reach a CSMS. B09."""

    ocpp_version: OCPPVersionEnumType
    ocpp_transport: OCPPTransportEnumType
    ocpp_csms_url: Annotated[str, Meta(max_length=512)]  # without the station's identity
    message_timeout: Integer  # s
    security_profile: Integer  # 1 to 3
    ocpp_interface: OCPPInterfaceEnumType
    apn: Maybe[APNType] = None
    vpn: Maybe[VPNType] = None


class VariableAttributeType(Datatype, frozen=True):
    """A value of a variable and who may change it."""

    type: Maybe[AttributeEnumType] = None  # absent: Actual
    # never for a WriteOnly one, B07.FR.03
    value: Maybe[Annotated[str, Meta(max_length=2500)]] = None
    mutability: Maybe[MutabilityEnumType] = None  # absent: ReadWrite
    persistent: Maybe[bool] = None  # survives a restart; absent: no
    constant: Maybe[bool] = None  # never changes at run time; absent: no


class VariableCharacteristicsType(Datatype, frozen=True):
    """What values a variable can take."""

    data_type: DataEnumType
    supports_monitoring: bool
    unit: Maybe[Annotated[str, Meta(max_length=16)]] = None
    min_limit: Maybe[Number] = None  # of the value
    max_limit: Maybe[Number] = None  # of the value, or of its length where it is text
    values_list: Maybe[Annotated[str, Meta(max_length=1000)]] = None  # comma separated


class ReportDataType(Datatype, frozen=True):
    """One variable with its attributes and characteristics. B07, B08."""

    component: ComponentType
    variable: VariableType
    variable_attribute: Annotated[
        tuple[VariableAttributeType, ...], Meta(min_length=1, max_length=4)
    ]
    variable_characteristics: Maybe[VariableCharacteristicsType] = None


class SetVariableDataType(Datatype, frozen=True):
    """One attribute of one variable to write. Absent type: Actual. B05."""

    attribute_value: Annotated[str, Meta(max_length=1000)]  # may be a secret
    component: ComponentType
    variable: VariableType
    attribute_type: Maybe[AttributeEnumType] = None


class SetVariableResultType(Datatype, frozen=True):
    """Result of writing one attribute. B05."""

    attribute_status: SetVariableStatusEnumType
    component: ComponentType
    variable: VariableType
    attribute_type: Maybe[AttributeEnumType] = None
    attribute_status_info: Maybe[StatusInfoType] = None


class BootNotificationRequest(Datatype, frozen=True):
    """Reports a start of the station. B01."""

    charging_station: ChargingStationType
    reason: BootReasonEnumType


class BootNotificationResponse(Datatype, frozen=True):
    """Accepted, Pending or Rejected, the time, and the next interval. B01 to B03."""

    current_time: Timestamp
    interval: Integer  # s: heartbeat when Accepted, else wait before the next boot message
    status: RegistrationStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetBaseReportRequest(Datatype, frozen=True):
    """Send the whole device model, or a named part of it. B07."""

    request_id: Integer
    report_base: ReportBaseEnumType


class GetBaseReportResponse(Datatype, frozen=True):
    """Whether NotifyReportRequests will follow."""

    status: GenericDeviceModelStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetReportRequest(Datatype, frozen=True):
    """Send the variables that match. B08."""

    request_id: Integer
    component_variable: Maybe[Annotated[tuple[ComponentVariableType, ...], Meta(min_length=1)]] = (
        None
    )
    component_criteria: Maybe[
        Annotated[tuple[ComponentCriterionEnumType, ...], Meta(min_length=1, max_length=4)]
    ] = None


class GetReportResponse(Datatype, frozen=True):
    """Whether NotifyReportRequests will follow."""

    status: GenericDeviceModelStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetVariablesRequest(Datatype, frozen=True):
    """Read attributes of variables. B06."""

    get_variable_data: Annotated[tuple[GetVariableDataType, ...], Meta(min_length=1)]


class GetVariablesResponse(Datatype, frozen=True):
    """One result for each requested attribute. B06.FR.01."""

    get_variable_result: Annotated[tuple[GetVariableResultType, ...], Meta(min_length=1)]


class NotifyReportRequest(Datatype, frozen=True):
    """One part of a report on the device model. B07, B08."""

    request_id: Integer  # of the request
    generated_at: Timestamp
    seq_no: Integer  # of the part, from 0
    report_data: Maybe[Annotated[tuple[ReportDataType, ...], Meta(min_length=1)]] = None
    tbc: Maybe[bool] = None  # more parts follow; absent: no


class NotifyReportResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class ResetRequest(Datatype, frozen=True):
    """Restart the station or one EVSE. B11, B12."""

    type: ResetEnumType
    evse_id: Maybe[Integer] = None  # absent: the whole station


class ResetResponse(Datatype, frozen=True):
    """Now, once idle, or not at all. B11, B12."""

    status: ResetStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class SetNetworkProfileRequest(Datatype, frozen=True):
    """Store a way to reach a CSMS in a slot. B09."""

    configuration_slot: Integer
    connection_data: NetworkConnectionProfileType


class SetNetworkProfileResponse(Datatype, frozen=True):
    """Whether it is stored in the slot."""

    status: SetNetworkProfileStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class SetVariablesRequest(Datatype, frozen=True):
    """Write attributes of variables. B05."""

    set_variable_data: Annotated[tuple[SetVariableDataType, ...], Meta(min_length=1)]


class SetVariablesResponse(Datatype, frozen=True):
    """One result for each attribute to write. B05.FR.01."""

    set_variable_result: Annotated[tuple[SetVariableResultType, ...], Meta(min_length=1)]
