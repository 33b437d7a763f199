"""Messages of block D: Local Authorization List."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import IdTokenInfoType, IdTokenType, StatusInfoType
from station.ocpp.messages.enums import SendLocalListStatusEnumType, UpdateEnumType
from station.ocpp.messages.primitives import Datatype, Integer, Maybe


class AuthorizationData(Datatype, frozen=True):
    """One IdToken of the Local Authorization List. D01."""

    id_token: IdTokenType
    id_token_info: Maybe[IdTokenInfoType] = None  # absent in a Differential update: remove it


class SendLocalListRequest(Datatype, frozen=True):
    """Replace or change the Local Authorization List. D01."""

    version_number: Integer  # of the list after the update
    update_type: UpdateEnumType
    local_authorization_list: Maybe[
        Annotated[tuple[AuthorizationData, ...], Meta(min_length=1)]
    ] = None


class SendLocalListResponse(Datatype, frozen=True):
    """Whether the list now has that version."""

    status: SendLocalListStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetLocalListVersionRequest(Datatype, frozen=True):
    """Requests the version of the list. D02."""


class GetLocalListVersionResponse(Datatype, frozen=True):
    """The version; 0: there is no list. D02."""

    version_number: Integer
