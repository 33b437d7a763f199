"""Certificates for tests: roots, sub-CAs and leaves, valid, expired, weak or signed by others."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2090, 1, 1, tzinfo=UTC)


@dataclass
class CertifiedKey:
    """A certificate, its private key, and the issuer; None: self-signed."""

    certificate: x509.Certificate
    key: Key
    issuer: CertifiedKey | None = None

    @cached_property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @cached_property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()


def make_authority(
    name: str = "CSO root",
    *,
    issuer: CertifiedKey | None = None,
    key: Key | None = None,
    is_ca: bool = True,
    valid_from: datetime = VALID_FROM,
    valid_until: datetime = VALID_UNTIL,
    serial_number: int | None = None,
) -> CertifiedKey:
    """A CA certificate: self-signed, or signed by `issuer`."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        _certificate_builder(name, issuer, key, valid_from, valid_until, serial_number)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    signer = issuer.key if issuer else key
    return CertifiedKey(builder.sign(signer, hashes.SHA256()), key, issuer)


def make_server_certificate(
    issuer: CertifiedKey,
    *names: str,
    common_name: str = "CSMS",
    key: Key | None = None,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> CertifiedKey:
    """The server certificate of a CSMS. `names`: hosts or addresses for subjectAltName."""
    now = datetime.now(UTC)
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = _certificate_builder(
        common_name,
        issuer,
        key,
        valid_from or now - timedelta(days=1),
        valid_until or now + timedelta(days=1),
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return CertifiedKey(builder.sign(issuer.key, hashes.SHA256()), key, issuer)


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _certificate_builder(
    name: str,
    issuer: CertifiedKey | None,
    key: Key,
    valid_from: datetime,
    valid_until: datetime,
    serial_number: int | None = None,
) -> x509.CertificateBuilder:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(valid_from)
        .not_valid_after(valid_until)
    )
