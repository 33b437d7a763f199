"""Messages of block A: certificates of the station, security events."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import StatusInfoType
from station.ocpp.messages.enums import (
    CertificateSignedStatusEnumType,
    CertificateSigningUseEnumType,
    GenericStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Maybe, Timestamp


class CertificateSignedRequest(Datatype, frozen=True):
    """The signed certificate for an earlier SignCertificateRequest. A02, A03."""

    certificate_chain: Annotated[str, Meta(max_length=10000)]  # PEM, leaf first
    certificate_type: Maybe[CertificateSigningUseEnumType] = None  # absent: for both uses


class CertificateSignedResponse(Datatype, frozen=True):
    """Whether the chain passed the station's checks. A02.FR.06."""

    status: CertificateSignedStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class SecurityEventNotificationRequest(Datatype, frozen=True):
    """Reports a security event to the CSMS. A04."""

    type: Annotated[str, Meta(max_length=50)]  # Part 2 appendix 1
    timestamp: Timestamp
    tech_info: Maybe[Annotated[str, Meta(max_length=255)]] = None


class SecurityEventNotificationResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class SignCertificateRequest(Datatype, frozen=True):
    """Requests a certificate for a new key pair. A02, A03."""

    csr: Annotated[str, Meta(max_length=5500)]  # PKCS #10 in PEM
    certificate_type: Maybe[CertificateSigningUseEnumType] = None


class SignCertificateResponse(Datatype, frozen=True):
    """Whether the CSMS forwards the CSR; the certificate follows later."""

    status: GenericStatusEnumType
    status_info: Maybe[StatusInfoType] = None
