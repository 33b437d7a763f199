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
FROM = datetime(2020, 1, 1, tzinfo=UTC)
UNTIL = datetime(2090, 1, 1, tzinfo=UTC)


@dataclass
class Holder:
    """A certificate, its key, and whoever signed it."""

    certificate: x509.Certificate
    key: Key
    issuer: Holder | None = None

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


def authority(
    name: str = "CSO root",
    *,
    by: Holder | None = None,
    key: Key | None = None,
    ca: bool = True,
    first: datetime = FROM,
    last: datetime = UNTIL,
    serial_number: int | None = None,
) -> Holder:
    """A CA that signs itself, or is signed by another."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(name, by, key, first, last, serial_number)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    signer = by.key if by else key
    return Holder(builder.sign(signer, hashes.SHA256()), key, by)


def server(
    by: Holder,
    *names: str,
    common_name: str = "CSMS",
    key: Key | None = None,
    first: datetime | None = None,
    last: datetime | None = None,
) -> Holder:
    """The certificate of a CSMS. `names` go into subjectAltName: hosts or addresses."""
    now = datetime.now(UTC)
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = _builder(
        common_name, by, key, first or now - timedelta(days=1), last or now + timedelta(days=1)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_name(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False)
    return Holder(builder.sign(by.key, hashes.SHA256()), key, by)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    name: str,
    by: Holder | None,
    key: Key,
    first: datetime,
    last: datetime,
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
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
    )
