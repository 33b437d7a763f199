"""Who has an EVSE kept for them? (Block H)"""

from __future__ import annotations

from station.ocpp.messages.datatypes import IdTokenType, StatusInfoType
from station.ocpp.messages.enums import (
    CancelReservationStatusEnumType,
    ConnectorEnumType,
    ReservationUpdateStatusEnumType,
    ReserveNowStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Timestamp


class ReserveNowRequest(Datatype, frozen=True):
    """Keep an EVSE, or any EVSE, for an IdToken. H01."""

    id: Integer  # of the reservation; a known one is replaced
    expiry_date_time: Timestamp
    id_token: IdTokenType
    connector_type: Maybe[ConnectorEnumType] = None
    evse_id: Maybe[Integer] = None  # absent: no particular EVSE
    group_id_token: Maybe[IdTokenType] = None


class ReserveNowResponse(Datatype, frozen=True):
    """Whether it is reserved, or why not."""

    status: ReserveNowStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class CancelReservationRequest(Datatype, frozen=True):
    """Give a reservation up. H02."""

    reservation_id: Integer


class CancelReservationResponse(Datatype, frozen=True):
    """Whether there was one to give up."""

    status: CancelReservationStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class ReservationStatusUpdateRequest(Datatype, frozen=True):
    """A reservation ended unused. H04."""

    reservation_id: Integer
    reservation_update_status: ReservationUpdateStatusEnumType


class ReservationStatusUpdateResponse(Datatype, frozen=True):
    """Received; says nothing else."""
