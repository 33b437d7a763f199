"""Messages of block F: remote start and stop, trigger, unlock."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import (
    ChargingProfileType,
    EVSEType,
    IdTokenType,
    StatusInfoType,
)
from station.ocpp.messages.enums import (
    MessageTriggerEnumType,
    RequestStartStopStatusEnumType,
    TriggerMessageStatusEnumType,
    UnlockStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe


class RequestStartTransactionRequest(Datatype, frozen=True):
    """Charge for this IdToken. F01, F02."""

    id_token: IdTokenType
    remote_start_id: Integer
    evse_id: Maybe[Integer] = None  # from 1
    group_id_token: Maybe[IdTokenType] = None
    charging_profile: Maybe[ChargingProfileType] = None  # a TxProfile without transactionId


class RequestStartTransactionResponse(Datatype, frozen=True):
    """Whether it will be tried; the transaction if it is ongoing already."""

    status: RequestStartStopStatusEnumType
    status_info: Maybe[StatusInfoType] = None
    transaction_id: Maybe[Annotated[str, Meta(max_length=36)]] = None


class RequestStopTransactionRequest(Datatype, frozen=True):
    """End this transaction. F03, F04."""

    transaction_id: Annotated[str, Meta(max_length=36)]


class RequestStopTransactionResponse(Datatype, frozen=True):
    """Whether it will be ended."""

    status: RequestStartStopStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class TriggerMessageRequest(Datatype, frozen=True):
    """Send a message now. F06."""

    requested_message: MessageTriggerEnumType
    evse: Maybe[EVSEType] = None  # absent: for all of them


class TriggerMessageResponse(Datatype, frozen=True):
    """Whether the message will follow."""

    status: TriggerMessageStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class UnlockConnectorRequest(Datatype, frozen=True):
    """Open the lock of a connector. F05."""

    evse_id: Integer
    connector_id: Integer


class UnlockConnectorResponse(Datatype, frozen=True):
    """Result of unlocking. F05."""

    status: UnlockStatusEnumType
    status_info: Maybe[StatusInfoType] = None
