"""Signature of a firmware image, and the signing certificate. L01.

* The signing certificate must be issued directly by an installed ManufacturerRootCertificate;
  intermediates are excluded (L01, remarks).
* Certificates are valid at the time of the check, have keys and hashes of A00.FR.502 to 506, and no
  unknown critical extension.
* Revocation is checked by the CSMS before it sends a certificate (A00.FR.707).

Pure. The import of `cryptography` is slow, so import this module only where it is used.
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
ALLOWED_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)  # A00.FR.504, A00.FR.506
SUPPORTED_CRITICAL_EXTENSIONS: Final = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
)
CERTIFICATE_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
NAME_LENGTH_MAX: Final = 150  # characters of a subject in an error
CHUNK_BYTES: Final = 64 * 1024


class SigningCertificateRefused(Exception):
    """The signing certificate is not trusted: status InvalidCertificate. One line."""


class SignatureRefused(Exception):
    """The file does not match its signature: status InvalidSignature. One line."""


def load_signing_certificate(pem: str, roots: Iterable[str], at: datetime) -> x509.Certificate:
    """The certificate, if a manufacturer root has issued it. L01.FR.12, L01.FR.21.

    Args:
        pem: `signingCertificate` of the request; of several certificates the first.
        roots: the installed ManufacturerRootCertificates, PEM.
        at: now, with a time zone.

    Raises:
        SigningCertificateRefused: with the reason.
    """
    with _refuse_unreadable():
        certificate = x509.load_pem_x509_certificates(pem.encode())[0]
        _check_leaf(certificate, at)
    reasons: list[str] = []
    for root in roots:
        try:
            with _refuse_unreadable():
                _check_root(certificate, x509.load_pem_x509_certificate(root.encode()), at)
        except SigningCertificateRefused as reason:
            reasons.append(str(reason))
        else:
            return certificate
    raise SigningCertificateRefused(
        "; ".join(reasons) or "no ManufacturerRootCertificate is installed"
    )


def hash_file(file: BinaryIO) -> bytes:
    """SHA-256 of the file from its position to its end. Blocks; L01.FR.04."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.digest()


def check_signature(certificate: x509.Certificate, digest: bytes, signature: str) -> None:
    """Check the signature over the entire file. L01.FR.04, L01.FR.12.

    With RSA keys it is RSA-PSS with a salt of any length. With elliptic curves it is ECDSA, as in
    A00.FR.505: no library that manufacturers use for signing has the EC-Schnorr of L01.FR.04.

    Args:
        certificate: from `load_signing_certificate`.
        digest: SHA-256 of the file.
        signature: base64, as in the request.

    Raises:
        SignatureRefused: with the reason.
    """
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused("the signature is not base64") from None
    algorithm = utils.Prehashed(hashes.SHA256())
    try:
        match certificate.public_key():
            case rsa.RSAPublicKey() as key:
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
                key.verify(raw, digest, pss, algorithm)
            case ec.EllipticCurvePublicKey() as key:
                key.verify(raw, digest, ec.ECDSA(algorithm))
            case key:
                raise SignatureRefused(f"signatures of a {type(key).__name__} are not supported")
    except InvalidSignature:
        raise SignatureRefused("the signature does not match the file") from None


@contextlib.contextmanager
def _refuse_unreadable() -> Iterator[None]:
    """Turn parse errors into a refusal: fields are parsed when read, and each may be malformed."""
    try:
        yield
    except CERTIFICATE_PARSE_ERRORS as error:
        raise SigningCertificateRefused(
            _to_one_line(f"not a readable certificate: {error}")
        ) from None


def _check_leaf(certificate: x509.Certificate, at: datetime) -> None:
    _check_common(certificate, at)
    constraints, usage = _basic_constraints(certificate), _key_usage(certificate)
    if constraints is not None and constraints.ca:
        raise SigningCertificateRefused(
            f"{_subject_name(certificate)}: a CA certificate, not one for signing files"
        )
    if usage is not None and not usage.digital_signature:
        raise SigningCertificateRefused(
            f"{_subject_name(certificate)}: its key usage excludes signatures"
        )


def _check_root(certificate: x509.Certificate, root: x509.Certificate, at: datetime) -> None:
    _check_common(root, at)
    constraints, usage = _basic_constraints(root), _key_usage(root)
    if constraints is None or not constraints.ca or (usage and not usage.key_cert_sign):
        raise SigningCertificateRefused(f"{_subject_name(root)}: not a CA certificate")
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise SigningCertificateRefused(f"not issued by {_subject_name(root)}") from None


def _check_common(certificate: x509.Certificate, at: datetime) -> None:
    """Checks of every certificate: validity, strength, critical extensions."""
    name = _subject_name(certificate)
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise SigningCertificateRefused(
            f"{name}: valid from {certificate.not_valid_before_utc:%Y-%m-%d}"
            f" to {certificate.not_valid_after_utc:%Y-%m-%d}, not at {at:%Y-%m-%d}"
        )
    _check_strength(certificate)
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, SUPPORTED_CRITICAL_EXTENSIONS):
            raise SigningCertificateRefused(
                f"{name}: unknown critical extension {extension.oid.dotted_string}"
            )


def _check_strength(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    hash_algorithm = certificate.signature_hash_algorithm
    hash_name = hash_algorithm.name if hash_algorithm else "no"
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else 0
    bits_min = RSA_BITS_MIN if isinstance(key, rsa.RSAPublicKey) else CURVE_BITS_MIN
    if bits < bits_min or not isinstance(hash_algorithm, ALLOWED_HASHES):
        raise SigningCertificateRefused(
            f"{_subject_name(certificate)}: too weak, {bits} bits and {hash_name} hash; needs at"
            f" least {bits_min} bits and SHA-256"
        )


def _basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _subject_name(certificate: x509.Certificate) -> str:
    return _to_one_line(certificate.subject.rfc4514_string())


def _to_one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:NAME_LENGTH_MAX])
