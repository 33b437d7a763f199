"""Did the manufacturer sign this firmware? L01.

A signing certificate stands directly below a ManufacturerRootCertificate: intermediates are ruled
out (L01, remarks). Revocation is the CSMS's to check before it sends one (A00.FR.707). Pure; the
import of `cryptography` is slow, so import this module where it is used.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import BinaryIO, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

RSA_BITS_MIN: Final = 2048  # A00.FR.502
CURVE_BITS_MIN: Final = 224  # A00.FR.503
HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)  # A00.FR.504, A00.FR.506
CRITICAL_KNOWN: Final = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
)
UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
NAME_MAX: Final = 150  # characters of what a certificate says
CHUNK: Final = 64 * 1024


class CertificateRefused(Exception):
    """The signing certificate is not one to trust: the answer is InvalidCertificate. One line."""


class SignatureRefused(Exception):
    """The file is not what was signed: its status is InvalidSignature. One line."""


def signing_certificate(pem: str, roots: Iterable[str], at: datetime) -> x509.Certificate:
    """The certificate, if a manufacturer root vouches for it. L01.FR.12, L01.FR.21.

    Args:
        pem: `signingCertificate` of the request; of several certificates the first.
        roots: the installed ManufacturerRootCertificates, PEM.
        at: now, with a time zone.

    Raises:
        CertificateRefused: with the reason.
    """
    with _readable():
        certificate = x509.load_pem_x509_certificates(pem.encode())[0]
        _check_leaf(certificate, at)
    reasons: list[str] = []
    for root in roots:
        try:
            with _readable():
                _check_root(certificate, x509.load_pem_x509_certificate(root.encode()), at)
        except CertificateRefused as reason:
            reasons.append(str(reason))
        else:
            return certificate
    raise CertificateRefused("; ".join(reasons) or "no ManufacturerRootCertificate is installed")


def digest_of(file: BinaryIO) -> bytes:
    """SHA-256 of the entire file, from where it stands. Blocks; L01.FR.04."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.digest()


def check_signature(certificate: x509.Certificate, digest: bytes, signature: str) -> None:
    """Check the signature over the entire file. L01.FR.04, L01.FR.12.

    RSA means RSA-PSS, with a salt of any length. On elliptic curves it is ECDSA, as A00.FR.505 has
    it: the EC-Schnorr that L01.FR.04 names is in no library a manufacturer signs with.

    Args:
        certificate: from `signing_certificate`.
        digest: SHA-256 of the file.
        signature: base64, as in the request.

    Raises:
        SignatureRefused: with the reason.
    """
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused("signature is no base64") from None
    algorithm = utils.Prehashed(hashes.SHA256())
    try:
        match certificate.public_key():
            case rsa.RSAPublicKey() as key:
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
                key.verify(raw, digest, pss, algorithm)
            case ec.EllipticCurvePublicKey() as key:
                key.verify(raw, digest, ec.ECDSA(algorithm))
            case key:
                raise SignatureRefused(f"no signatures by a {type(key).__name__}")
    except InvalidSignature:
        raise SignatureRefused("signature does not match the file") from None


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Fields of a certificate are parsed when they are asked for, and each may be nonsense."""
    try:
        yield
    except UNREADABLE as error:
        raise CertificateRefused(_one_line(f"not a certificate to be read: {error}")) from None


def _check_leaf(certificate: x509.Certificate, at: datetime) -> None:
    _check_any(certificate, at)
    constraints, usage = _constraints(certificate), _usage(certificate)
    if constraints is not None and constraints.ca:
        raise CertificateRefused(f"{_named(certificate)}: an authority's, it signs certificates")
    if usage is not None and not usage.digital_signature:
        raise CertificateRefused(f"{_named(certificate)}: its key may not sign")


def _check_root(certificate: x509.Certificate, root: x509.Certificate, at: datetime) -> None:
    _check_any(root, at)
    constraints, usage = _constraints(root), _usage(root)
    if constraints is None or not constraints.ca or (usage and not usage.key_cert_sign):
        raise CertificateRefused(f"{_named(root)}: no authority")
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise CertificateRefused(f"not issued by {_named(root)}") from None


def _check_any(certificate: x509.Certificate, at: datetime) -> None:
    """What holds for every certificate: time, strength, and no condition we do not know."""
    name = _named(certificate)
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise CertificateRefused(
            f"{name}: valid from {certificate.not_valid_before_utc:%Y-%m-%d}"
            f" to {certificate.not_valid_after_utc:%Y-%m-%d}, not at {at:%Y-%m-%d}"
        )
    _check_strength(certificate)
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, CRITICAL_KNOWN):
            raise CertificateRefused(f"{name}: unknown condition {extension.oid.dotted_string}")


def _check_strength(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    hashed = certificate.signature_hash_algorithm
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else 0
    least = RSA_BITS_MIN if isinstance(key, rsa.RSAPublicKey) else CURVE_BITS_MIN
    if bits < least or not isinstance(hashed, HASHES):
        raise CertificateRefused(
            f"{_named(certificate)}: too weak, {bits} bits and {hashed.name if hashed else 'no'}"
            f" hash; at least {least} bits and SHA-256"
        )


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _named(certificate: x509.Certificate) -> str:
    return _one_line(certificate.subject.rfc4514_string())


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:NAME_MAX])
