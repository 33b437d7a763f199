"""Certificates in the store of the station, and their uses. M03 to M05.

The certificates themselves are part of the state: there are few (CertificateEntries), and so the
journal shows for ever which certificates the station trusted when. Private keys are not:
`private_key_ref` is the reference of a secret.
"""

from __future__ import annotations

import msgspec

from journal.events import Decision, Entry
from journal.projections.base import Projection


class CertificateHash(msgspec.Struct, frozen=True):
    """CertificateHashDataType; its algorithm is SHA256."""

    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str  # hexadecimal, no leading zeros


class CertificateInstalled(Decision, frozen=True, kw_only=True):
    """A certificate was stored; the same one replaces itself. M05.FR.02, M05.FR.17."""

    use: str  # GetCertificateIdUseEnumType, or ChargingStationCertificate
    pem: str  # leaf first
    sha256: str  # of the first certificate as DER
    hash_data: CertificateHash
    child_hash_data: tuple[CertificateHash, ...] = ()  # the sub-CAs in its chain. M03.FR.05
    subject: str
    issuer: str
    not_before: str  # RFC 3339, UTC
    not_after: str
    private_key_ref: str = ""  # reference of the private key, if the station has it


class CertificateDeleted(Decision, frozen=True):
    """A certificate was removed from the store. M04.FR.02."""

    use: str
    sha256: str


class Certificates(Projection, frozen=True):
    HANDLES = (CertificateInstalled, CertificateDeleted)

    installed: tuple[CertificateInstalled, ...] = ()

    def apply(self, entry: Entry) -> Certificates:
        match entry.event:
            case CertificateInstalled() as new:
                return Certificates((*self._without_certificate(new.use, new.sha256), new))
            case CertificateDeleted(use=use, sha256=sha256):
                return Certificates(self._without_certificate(use, sha256))
            case _:
                return self

    def _without_certificate(self, use: str, sha256: str) -> tuple[CertificateInstalled, ...]:
        return tuple(each for each in self.installed if (each.use, each.sha256) != (use, sha256))

    def for_uses(self, *uses: str) -> tuple[CertificateInstalled, ...]:
        return tuple(each for each in self.installed if each.use in uses)
