"""Messages of block H: reservation."""

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
    """Reserve an EVSE, or any EVSE, for an IdToken. H01."""

    id: Integer  # of the reservation; the same id replaces it
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
    """Cancel a reservation. H02."""

    reservation_id: Integer


class CancelReservationResponse(Datatype, frozen=True):
    """Whether there was one to cancel."""

    status: CancelReservationStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class ReservationStatusUpdateRequest(Datatype, frozen=True):
    """A reservation ended unused. H04."""

    reservation_id: Integer
    reservation_update_status: ReservationUpdateStatusEnumType


class ReservationStatusUpdateResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""
