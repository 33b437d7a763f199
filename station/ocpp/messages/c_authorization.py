"""Messages of block C: authorization."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import (
    IdTokenInfoType,
    IdTokenType,
    OCSPRequestDataType,
    StatusInfoType,
)
from station.ocpp.messages.enums import AuthorizeCertificateStatusEnumType, ClearCacheStatusEnumType
from station.ocpp.messages.primitives import Datatype, Maybe


class AuthorizeRequest(Datatype, frozen=True):
    """Requests authorization of an IdToken. C01 to C08."""

    id_token: IdTokenType
    # the EV's contract chain, PEM, leaf first. C07
    certificate: Maybe[Annotated[str, Meta(max_length=5500)]] = None
    # for OCSP at the CSMS. C07
    iso15118_certificate_hash_data: Maybe[
        Annotated[tuple[OCSPRequestDataType, ...], Meta(min_length=1, max_length=4)]
    ] = None


class AuthorizeResponse(Datatype, frozen=True):
    """Status of the IdToken and of the contract certificate."""

    id_token_info: IdTokenInfoType
    certificate_status: Maybe[AuthorizeCertificateStatusEnumType] = None


class ClearCacheRequest(Datatype, frozen=True):
    """Remove every IdToken from the Authorization Cache. C11."""


class ClearCacheResponse(Datatype, frozen=True):
    """Whether the cache is now empty."""

    status: ClearCacheStatusEnumType
    status_info: Maybe[StatusInfoType] = None
