"""Messages of block N: logs, monitoring, events, customer information."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import (
    CertificateHashDataType,
    ComponentType,
    ComponentVariableType,
    IdTokenType,
    StatusInfoType,
    VariableType,
)
from station.ocpp.messages.enums import (
    ClearMonitoringStatusEnumType,
    CustomerInformationStatusEnumType,
    EventNotificationEnumType,
    EventTriggerEnumType,
    GenericDeviceModelStatusEnumType,
    GenericStatusEnumType,
    LogEnumType,
    LogStatusEnumType,
    MonitorEnumType,
    MonitoringBaseEnumType,
    MonitoringCriterionEnumType,
    SetMonitoringStatusEnumType,
    UploadLogStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Number, Timestamp


class ClearMonitoringResultType(Datatype, frozen=True):
    """Result of removing one monitor. N06."""

    status: ClearMonitoringStatusEnumType
    id: Integer
    status_info: Maybe[StatusInfoType] = None


class EventDataType(Datatype, frozen=True):
    """An event that a monitor or the station detected. N07, N08."""

    event_id: Integer
    timestamp: Timestamp
    trigger: EventTriggerEnumType
    actual_value: Annotated[str, Meta(max_length=2500)]
    component: ComponentType
    event_notification_type: EventNotificationEnumType
    variable: VariableType
    cause: Maybe[Integer] = None  # eventId of the event that led to this one
    tech_code: Maybe[Annotated[str, Meta(max_length=50)]] = None
    tech_info: Maybe[Annotated[str, Meta(max_length=500)]] = None
    cleared: Maybe[bool] = None  # the condition has ended
    transaction_id: Maybe[Annotated[str, Meta(max_length=36)]] = None
    variable_monitoring_id: Maybe[Integer] = None


class LogParametersType(Datatype, frozen=True):
    """Period of a log, and where to upload it. N01."""

    remote_location: Annotated[str, Meta(max_length=512)]  # URL; may contain a password
    oldest_timestamp: Maybe[Timestamp] = None
    latest_timestamp: Maybe[Timestamp] = None


class VariableMonitoringType(Datatype, frozen=True):
    """A monitor as installed. N02."""

    id: Integer
    transaction: bool
    value: Number  # threshold or delta in the variable's unit; Periodic: s
    type: MonitorEnumType
    severity: Integer  # 0 (danger) to 9 (debug)


class MonitoringDataType(Datatype, frozen=True):
    """The monitors of one variable. N02."""

    component: ComponentType
    variable: VariableType
    variable_monitoring: Annotated[tuple[VariableMonitoringType, ...], Meta(min_length=1)]


class SetMonitoringDataType(Datatype, frozen=True):
    """A monitor to install or to change. N04."""

    value: Number  # threshold or delta in the variable's unit; Periodic: s
    type: MonitorEnumType
    severity: Integer  # 0 (danger) to 9 (debug)
    component: ComponentType
    variable: VariableType
    id: Maybe[Integer] = None  # only to change one
    transaction: Maybe[bool] = None  # only while a transaction runs; absent: no


class SetMonitoringResultType(Datatype, frozen=True):
    """Result of installing one monitor. N04."""

    status: SetMonitoringStatusEnumType
    type: MonitorEnumType
    component: ComponentType
    variable: VariableType
    severity: Integer
    id: Maybe[Integer] = None  # only when Accepted
    status_info: Maybe[StatusInfoType] = None


class GetLogRequest(Datatype, frozen=True):
    """Upload a log. N01."""

    log: LogParametersType
    log_type: LogEnumType
    request_id: Integer
    retries: Maybe[Integer] = None
    retry_interval: Maybe[Integer] = None  # s


class GetLogResponse(Datatype, frozen=True):
    """Whether it will be uploaded, and its file name."""

    status: LogStatusEnumType
    status_info: Maybe[StatusInfoType] = None
    filename: Maybe[Annotated[str, Meta(max_length=255)]] = None


class LogStatusNotificationRequest(Datatype, frozen=True):
    """Status of an upload. N01."""

    status: UploadLogStatusEnumType
    # of the upload; absent when triggered and none runs. N01.FR.13
    request_id: Maybe[Integer] = None


class LogStatusNotificationResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class GetMonitoringReportRequest(Datatype, frozen=True):
    """Report the monitors that match. N02."""

    request_id: Integer
    component_variable: Maybe[Annotated[tuple[ComponentVariableType, ...], Meta(min_length=1)]] = (
        None
    )
    monitoring_criteria: Maybe[
        Annotated[tuple[MonitoringCriterionEnumType, ...], Meta(min_length=1, max_length=3)]
    ] = None


class GetMonitoringReportResponse(Datatype, frozen=True):
    """Whether NotifyMonitoringReportRequests will follow."""

    status: GenericDeviceModelStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class NotifyMonitoringReportRequest(Datatype, frozen=True):
    """One part of a report on monitors. N02."""

    request_id: Integer  # of the request
    seq_no: Integer  # of the part, from 0
    generated_at: Timestamp
    monitor: Maybe[Annotated[tuple[MonitoringDataType, ...], Meta(min_length=1)]] = None
    tbc: Maybe[bool] = None  # more parts follow; absent: no


class NotifyMonitoringReportResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class SetMonitoringBaseRequest(Datatype, frozen=True):
    """Activate a set of monitors. N03."""

    monitoring_base: MonitoringBaseEnumType


class SetMonitoringBaseResponse(Datatype, frozen=True):
    """Whether it is active."""

    status: GenericDeviceModelStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class SetMonitoringLevelRequest(Datatype, frozen=True):
    """Set the severity up to which events are reported. N05."""

    severity: Integer  # 0 (danger) to 9 (debug): report up to this


class SetMonitoringLevelResponse(Datatype, frozen=True):
    """Whether it is set."""

    status: GenericStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class SetVariableMonitoringRequest(Datatype, frozen=True):
    """Install or change monitors. N04."""

    set_monitoring_data: Annotated[tuple[SetMonitoringDataType, ...], Meta(min_length=1)]


class SetVariableMonitoringResponse(Datatype, frozen=True):
    """One result for each monitor. N04."""

    set_monitoring_result: Annotated[tuple[SetMonitoringResultType, ...], Meta(min_length=1)]


class ClearVariableMonitoringRequest(Datatype, frozen=True):
    """Remove monitors. N06."""

    id: Annotated[tuple[Integer, ...], Meta(min_length=1)]


class ClearVariableMonitoringResponse(Datatype, frozen=True):
    """One result for each monitor. N06.FR.01."""

    clear_monitoring_result: Annotated[tuple[ClearMonitoringResultType, ...], Meta(min_length=1)]


class NotifyEventRequest(Datatype, frozen=True):
    """Events that monitors or the station detected. N07, N08."""

    generated_at: Timestamp
    seq_no: Integer  # of the part, from 0
    event_data: Annotated[tuple[EventDataType, ...], Meta(min_length=1)]
    tbc: Maybe[bool] = None  # more parts follow; absent: no


class NotifyEventResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class CustomerInformationRequest(Datatype, frozen=True):
    """Report or clear the data of a customer. N09, N10."""

    request_id: Integer
    report: bool
    clear: bool
    customer_certificate: Maybe[CertificateHashDataType] = None
    id_token: Maybe[IdTokenType] = None
    customer_identifier: Maybe[Annotated[str, Meta(max_length=64)]] = None


class CustomerInformationResponse(Datatype, frozen=True):
    """Whether it will be reported or cleared."""

    status: CustomerInformationStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class NotifyCustomerInformationRequest(Datatype, frozen=True):
    """One part of the data of a customer. N09."""

    data: Annotated[str, Meta(max_length=512)]
    seq_no: Integer  # of the part, from 0
    generated_at: Timestamp
    request_id: Integer  # of the request
    tbc: Maybe[bool] = None  # more parts follow; absent: no


class NotifyCustomerInformationResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""
