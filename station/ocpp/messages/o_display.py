"""Messages of block O: display messages."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import ComponentType, MessageContentType, StatusInfoType
from station.ocpp.messages.enums import (
    ClearMessageStatusEnumType,
    DisplayMessageStatusEnumType,
    GetDisplayMessagesStatusEnumType,
    MessagePriorityEnumType,
    MessageStateEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Timestamp


class MessageInfoType(Datatype, frozen=True):
    """A message for the display: time, priority, text. O01, O02."""

    id: Integer
    priority: MessagePriorityEnumType
    message: MessageContentType
    display: Maybe[ComponentType] = None  # absent: the main one
    state: Maybe[MessageStateEnumType] = None  # absent: in any
    start_date_time: Maybe[Timestamp] = None
    end_date_time: Maybe[Timestamp] = None
    # removed when this transaction ends
    transaction_id: Maybe[Annotated[str, Meta(max_length=36)]] = None


class SetDisplayMessageRequest(Datatype, frozen=True):
    """Show a message. O01, O02, O06."""

    message: MessageInfoType


class SetDisplayMessageResponse(Datatype, frozen=True):
    """Whether it will be shown, or why not."""

    status: DisplayMessageStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetDisplayMessagesRequest(Datatype, frozen=True):
    """Report the messages that match. O03, O04."""

    request_id: Integer
    id: Maybe[Annotated[tuple[Integer, ...], Meta(min_length=1)]] = None
    priority: Maybe[MessagePriorityEnumType] = None
    state: Maybe[MessageStateEnumType] = None


class GetDisplayMessagesResponse(Datatype, frozen=True):
    """Whether NotifyDisplayMessagesRequests will follow."""

    status: GetDisplayMessagesStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class NotifyDisplayMessagesRequest(Datatype, frozen=True):
    """Requested messages. O03, O04."""

    request_id: Integer  # of the request
    message_info: Maybe[Annotated[tuple[MessageInfoType, ...], Meta(min_length=1)]] = None
    tbc: Maybe[bool] = None  # more parts follow; absent: no


class NotifyDisplayMessagesResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class ClearDisplayMessageRequest(Datatype, frozen=True):
    """Remove a message. O05."""

    id: Integer


class ClearDisplayMessageResponse(Datatype, frozen=True):
    """Whether there was one."""

    status: ClearMessageStatusEnumType
    status_info: Maybe[StatusInfoType] = None
