"""Messages of block M: certificates and their status."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import (
    CertificateHashDataType,
    OCSPRequestDataType,
    StatusInfoType,
)
from station.ocpp.messages.enums import (
    CertificateActionEnumType,
    DeleteCertificateStatusEnumType,
    GetCertificateIdUseEnumType,
    GetCertificateStatusEnumType,
    GetInstalledCertificateStatusEnumType,
    InstallCertificateStatusEnumType,
    InstallCertificateUseEnumType,
    Iso15118EVCertificateStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Maybe


class CertificateHashDataChainType(Datatype, frozen=True):
    """A certificate with the sub-CAs below it. M03."""

    certificate_hash_data: CertificateHashDataType
    certificate_type: GetCertificateIdUseEnumType
    child_certificate_hash_data: Maybe[
        Annotated[tuple[CertificateHashDataType, ...], Meta(min_length=1, max_length=4)]
    ] = None


class InstallCertificateRequest(Datatype, frozen=True):
    """Install a root certificate. M05."""

    certificate_type: InstallCertificateUseEnumType
    certificate: Annotated[str, Meta(max_length=5500)]  # PEM


class InstallCertificateResponse(Datatype, frozen=True):
    """Whether it is installed."""

    status: InstallCertificateStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class DeleteCertificateRequest(Datatype, frozen=True):
    """Remove a certificate. M04."""

    certificate_hash_data: CertificateHashDataType


class DeleteCertificateResponse(Datatype, frozen=True):
    """Whether it was removed."""

    status: DeleteCertificateStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class GetInstalledCertificateIdsRequest(Datatype, frozen=True):
    """Requests the installed certificates. M03."""

    # absent: every use
    certificate_type: Maybe[
        Annotated[tuple[GetCertificateIdUseEnumType, ...], Meta(min_length=1)]
    ] = None


class GetInstalledCertificateIdsResponse(Datatype, frozen=True):
    """The certificates of the requested uses."""

    status: GetInstalledCertificateStatusEnumType
    status_info: Maybe[StatusInfoType] = None
    certificate_hash_data_chain: Maybe[
        Annotated[tuple[CertificateHashDataChainType, ...], Meta(min_length=1)]
    ] = None


class GetCertificateStatusRequest(Datatype, frozen=True):
    """Requests the OCSP status of a certificate. M06."""

    ocsp_request_data: OCSPRequestDataType


class GetCertificateStatusResponse(Datatype, frozen=True):
    """The response of the OCSP responder."""

    status: GetCertificateStatusEnumType
    status_info: Maybe[StatusInfoType] = None
    ocsp_result: Maybe[Annotated[str, Meta(max_length=5500)]] = None  # OCSPResponse, DER in base64


class Get15118EVCertificateRequest(Datatype, frozen=True):
    """Requests a contract certificate for an EV. M01, M02."""

    iso15118_schema_version: Annotated[str, Meta(max_length=50)]
    action: CertificateActionEnumType
    exi_request: Annotated[str, Meta(max_length=5600)]  # the EV's own bytes, base64


class Get15118EVCertificateResponse(Datatype, frozen=True):
    """The response to forward to the EV."""

    status: Iso15118EVCertificateStatusEnumType
    exi_response: Annotated[str, Meta(max_length=5600)]  # the EV's own bytes, base64
    status_info: Maybe[StatusInfoType] = None
