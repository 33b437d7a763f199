"""What is in service, and is the station alive? (Block G)"""

from __future__ import annotations

from station.ocpp.messages.datatypes import EVSEType, StatusInfoType
from station.ocpp.messages.enums import (
    ChangeAvailabilityStatusEnumType,
    ConnectorStatusEnumType,
    OperationalStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Timestamp


class StatusNotificationRequest(Datatype, frozen=True):
    """The status of a connector. G01."""

    timestamp: Timestamp  # since when the status holds
    connector_status: ConnectorStatusEnumType
    evse_id: Integer
    connector_id: Integer


class StatusNotificationResponse(Datatype, frozen=True):
    """Received; says nothing else."""


class HeartbeatRequest(Datatype, frozen=True):
    """The station is alive and would like to know the time. G02."""


class HeartbeatResponse(Datatype, frozen=True):
    """The time at the CSMS. G02."""

    current_time: Timestamp


class ChangeAvailabilityRequest(Datatype, frozen=True):
    """Take into or out of service. G03, G04."""

    operational_status: OperationalStatusEnumType
    evse: Maybe[EVSEType] = None  # absent: the whole station


class ChangeAvailabilityResponse(Datatype, frozen=True):
    """Done, to be done after the transaction, or not at all."""

    status: ChangeAvailabilityStatusEnumType
    status_info: Maybe[StatusInfoType] = None
