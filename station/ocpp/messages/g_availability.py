"""Messages of block G: availability, status, heartbeat."""

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

    timestamp: Timestamp  # start of the status
    connector_status: ConnectorStatusEnumType
    evse_id: Integer
    connector_id: Integer


class StatusNotificationResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class HeartbeatRequest(Datatype, frozen=True):
    """Shows that the station is connected, and requests the time. G02."""


class HeartbeatResponse(Datatype, frozen=True):
    """The time at the CSMS. G02."""

    current_time: Timestamp


class ChangeAvailabilityRequest(Datatype, frozen=True):
    """Take into or out of service. G03, G04."""

    operational_status: OperationalStatusEnumType
    evse: Maybe[EVSEType] = None  # absent: the whole station


class ChangeAvailabilityResponse(Datatype, frozen=True):
    """Accepted, Scheduled after the transaction, or Rejected."""

    status: ChangeAvailabilityStatusEnumType
    status_info: Maybe[StatusInfoType] = None
