"""Certificates of a manufacturer, right and wrong in one point, for tests of firmware. L01."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 6, 1, tzinfo=UTC)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_KEY = rsa.generate_private_key(65537, 2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class CertifiedKey:
    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def x509_name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def make_certificate(
    name: str,
    key: Key,
    issuer: CertifiedKey | None = None,
    *,
    ca: bool | None = False,
    usage: str | None = "digital_signature",
    days: tuple[int, int] = (-30, 30),
    critical: x509.ExtensionType | None = None,
    hashed: hashes.HashAlgorithm | None = None,
) -> CertifiedKey:
    """A certificate, self-signed without an issuer."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509_name(name))
        .issuer_name(issuer.certificate.subject if issuer else x509_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if usage is not None:
        builder = builder.add_extension(key_usage_of(usage), critical=True)
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    signer = issuer.key if issuer else key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashed or hashes.SHA256()
    return CertifiedKey(key, builder.sign(signer, algorithm))  # type: ignore[arg-type]


USAGES = """digital_signature content_commitment key_encipherment data_encipherment key_agreement
    key_cert_sign crl_sign encipher_only decipher_only"""


def key_usage_of(only: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name == only for name in USAGES.split()})


def encode_pem(raw: bytes) -> str:
    text = base64.b64encode(raw).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def make_root(key: Key, name: str = "root") -> CertifiedKey:
    return make_certificate(name, key, ca=True, usage="key_cert_sign", days=(-300, 300))
