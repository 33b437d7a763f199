"""Key pairs of the station, and the CSRs for them. A02.FR.02, A02.FR.03, A00.FR.501 to 511.

The functions block, the creation of an RSA key for seconds on a small computer, and import
`cryptography`: the station has them called in another process, see `station.runtime.crypto`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

RSA_PUBLIC_EXPONENT: Final = 65537  # NIST SP 800-56B
ORGANIZATION_MAX: Final = 64  # characters. RFC 5280, ub-organization-name


class KeyTypeUnknown(ValueError):
    """No key pair of that type can be created."""


class PrivateKeyUnusable(ValueError):
    """A private key that cannot be read, or is not that of the certificate. One line."""


class KeyPair(NamedTuple):
    """A private key, and the CSR for its public key."""

    private_key: str  # PKCS #8, PEM, without a password
    csr: str  # PKCS #10, PEM
    public_key_sha256: str  # of the SubjectPublicKeyInfo, hex


def create_key_pair(key_type: str, common_name: str, organization: str) -> KeyPair:
    """Create a key pair and a CSR for it, signed with SHA-256.

    Args:
        key_type: `ECDSA-P256` or `RSA-<bits>`, as in SecurityCtrlr.CertificateKeyType.
        common_name: unique serial number of the station, or its SeccId. A00.FR.511.
        organization: A00.FR.509; cut to the length that a certificate may have.

    Raises:
        KeyTypeUnknown: another type, or less than 2048 bits.
        ValueError: a name does not fit a certificate.
    """
    return describe_key(_create_key(key_type), common_name, organization)


def describe_key(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    common_name: str,
    organization: str,
    *,
    deterministic: bool | None = None,
) -> KeyPair:
    """The key pair of a private key, with a CSR. Arguments and errors as of `create_key_pair`.

    Args:
        deterministic: sign with ECDSA as RFC 6979 does, so that the CSR is always the same.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )
    from cryptography.x509.oid import NameOID

    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:ORGANIZATION_MAX]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = builder.sign(key, SHA256(), ecdsa_deterministic=deterministic)
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"),
        csr.public_bytes(Encoding.PEM).decode("ascii"),
        hashlib.sha256(public_key).hexdigest(),
    )


def read_private_key(name: str, text: bytes, password: str | None, certificate_pem: str) -> str:
    """A private key in PEM without its password; the secret store protects it from then on.

    Args:
        name: of its file, for errors.
        text: PEM.
        password: None: it has none.
        certificate_pem: the certificate that it belongs to.

    Raises:
        PrivateKeyUnusable: see there; the message continues "the certificate ...".
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(text, password.encode() if password else None)
    except (ValueError, TypeError) as error:
        raise PrivateKeyUnusable(f"has no usable key in {name}: {type(error).__name__}") from None
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    if certificate.public_key() != key.public_key():
        raise PrivateKeyUnusable(f"does not belong to the key in {name}")
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _create_key(key_type: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    kind, _, size = key_type.partition("-")
    if key_type == "ECDSA-P256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "RSA" and size.isdecimal() and int(size) >= 2048:
        return rsa.generate_private_key(RSA_PUBLIC_EXPONENT, int(size))
    raise KeyTypeUnknown(f"{key_type} is no type of key pair")
