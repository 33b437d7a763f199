"""Messages of block E: transactions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import (
    EVSEType,
    IdTokenInfoType,
    IdTokenType,
    MessageContentType,
    MeterValueType,
)
from station.ocpp.messages.enums import (
    ChargingStateEnumType,
    ReasonEnumType,
    TransactionEventEnumType,
    TriggerReasonEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Number, Timestamp


class TransactionType(Datatype, frozen=True):
    """The transaction of a TransactionEvent."""

    transaction_id: Annotated[str, Meta(max_length=36)]
    charging_state: Maybe[ChargingStateEnumType] = None
    time_spent_charging: Maybe[Integer] = None  # s
    stopped_reason: Maybe[ReasonEnumType] = None  # absent at the end: Local
    remote_start_id: Maybe[Integer] = None  # of the RequestStartTransactionRequest that started it


class TransactionEventRequest(Datatype, frozen=True):
    """A transaction started, changed or ended. E01 to E15."""

    event_type: TransactionEventEnumType
    timestamp: Timestamp  # when it happened, not when it was sent
    trigger_reason: TriggerReasonEnumType
    seq_no: Integer  # from 0, without gaps, within the transaction
    transaction_info: TransactionType
    meter_value: Maybe[Annotated[tuple[MeterValueType, ...], Meta(min_length=1)]] = None
    offline: Maybe[bool] = None  # happened while offline; absent: no
    number_of_phases_used: Maybe[Integer] = None
    cable_max_current: Maybe[Integer] = None  # A
    reservation_id: Maybe[Integer] = None
    evse: Maybe[EVSEType] = None
    id_token: Maybe[IdTokenType] = None


class TransactionEventResponse(Datatype, frozen=True):
    """Cost so far, priority and status of the IdToken."""

    total_cost: Maybe[Number] = None  # in the station's currency, taxes included; 0: free
    charging_priority: Maybe[Integer] = None  # -9 to 9; for this transaction only
    id_token_info: Maybe[IdTokenInfoType] = None
    updated_personal_message: Maybe[MessageContentType] = None


class GetTransactionStatusRequest(Datatype, frozen=True):
    """Requests whether a transaction is ongoing and messages are queued. E14."""

    transaction_id: Maybe[Annotated[str, Meta(max_length=36)]] = None  # absent: of all messages


class GetTransactionStatusResponse(Datatype, frozen=True):
    """Whether it is ongoing and whether messages are queued. E14."""

    messages_in_queue: bool
    ongoing_indicator: Maybe[bool] = None  # only with a transactionId
