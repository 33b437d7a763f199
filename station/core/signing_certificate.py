"""The certificate that signs a firmware image. L01.

* It must be issued directly by an installed ManufacturerRootCertificate; intermediates are excluded
  (L01, remarks).
* Certificates are valid at the time of the check, have keys and hashes of A00.FR.502 to 506, and no
  unknown critical extension.
* Revocation is checked by the CSMS before it sends a certificate (A00.FR.707).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from station.core.certificates import known_facts
from station.core.certificates.facts import CertificateFacts, Contents, Unreadable

RSA_BITS_MIN: Final = 2048  # A00.FR.502
CURVE_BITS_MIN: Final = 224  # A00.FR.503
ALLOWED_HASHES: Final = ("sha256", "sha384", "sha512")  # A00.FR.504, A00.FR.506
SUPPORTED_CRITICAL_EXTENSIONS: Final = (
    "2.5.29.19",  # basicConstraints
    "2.5.29.15",  # keyUsage
    "2.5.29.37",  # extendedKeyUsage
    "2.5.29.17",  # subjectAltName
)
NAME_LENGTH_MAX: Final = 150  # characters of a subject in an error


class SigningCertificateRefused(Exception):
    """The signing certificate is not trusted: status InvalidCertificate. One line."""


def check_signing_certificate(pem: str, roots: Iterable[str], at: datetime) -> CertificateFacts:
    """The certificate, if a manufacturer root has issued it. L01.FR.12, L01.FR.21.

    Args:
        pem: `signingCertificate` of the request; of several certificates the first.
        roots: the installed ManufacturerRootCertificates, PEM.
        at: now, with a time zone.

    Raises:
        SigningCertificateRefused: with the reason.
    """
    certificate = _require_readable(known_facts.read_first(pem))
    _check_leaf(certificate, at)
    reasons: list[str] = []
    for root in roots:
        try:
            _check_root(certificate, _require_readable(known_facts.read_block(root)), at)
        except SigningCertificateRefused as reason:
            reasons.append(str(reason))
        else:
            return certificate
    raise SigningCertificateRefused(
        "; ".join(reasons) or "no ManufacturerRootCertificate is installed"
    )


def _require_readable(contents: Contents) -> CertificateFacts:
    if isinstance(contents, Unreadable):
        raise SigningCertificateRefused(
            _to_one_line(f"not a readable certificate: {contents.text}")
        )
    return contents


def _check_leaf(certificate: CertificateFacts, at: datetime) -> None:
    _check_common(certificate, at)
    if certificate.is_ca:
        raise SigningCertificateRefused(
            f"{_subject_name(certificate)}: a CA certificate, not one for signing files"
        )
    if certificate.digital_signature is False:
        raise SigningCertificateRefused(
            f"{_subject_name(certificate)}: its key usage excludes signatures"
        )


def _check_root(certificate: CertificateFacts, root: CertificateFacts, at: datetime) -> None:
    _check_common(root, at)
    if not root.is_ca or root.key_cert_sign is False:
        raise SigningCertificateRefused(f"{_subject_name(root)}: not a CA certificate")
    if not known_facts.is_signed_by(certificate, root):
        raise SigningCertificateRefused(f"not issued by {_subject_name(root)}")


def _check_common(certificate: CertificateFacts, at: datetime) -> None:
    """Checks of every certificate: validity, strength, critical extensions."""
    name = _subject_name(certificate)
    if not certificate.not_before <= at <= certificate.not_after:
        raise SigningCertificateRefused(
            f"{name}: valid from {certificate.not_before:%Y-%m-%d}"
            f" to {certificate.not_after:%Y-%m-%d}, not at {at:%Y-%m-%d}"
        )
    _check_strength(certificate)
    for oid in certificate.critical_extensions:
        if oid not in SUPPORTED_CRITICAL_EXTENSIONS:
            raise SigningCertificateRefused(f"{name}: unknown critical extension {oid}")


def _check_strength(certificate: CertificateFacts) -> None:
    if certificate.signature_problem:
        raise SigningCertificateRefused(
            _to_one_line(f"not a readable certificate: {certificate.signature_problem}")
        )
    hash_name = certificate.signature_hash or "no"
    bits = certificate.key_bits if certificate.key_kind in ("RSA", "EC") else 0
    bits_min = RSA_BITS_MIN if certificate.key_kind == "RSA" else CURVE_BITS_MIN
    if bits < bits_min or hash_name not in ALLOWED_HASHES:
        raise SigningCertificateRefused(
            f"{_subject_name(certificate)}: too weak, {bits} bits and {hash_name} hash; needs at"
            f" least {bits_min} bits and SHA-256"
        )


def _subject_name(certificate: CertificateFacts) -> str:
    return _to_one_line(certificate.subject)


def _to_one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:NAME_LENGTH_MAX])
