"""What does a certificate say, and may the station trust it as a root? (A00.FR.501 to 508, M05)

Pure. `cryptography` is imported where it is used: it is a fifth of a cold start, and most runs
never look at a certificate.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from journal.projections.certificates import CertificateHash, CertificateInstalled

if TYPE_CHECKING:
    from cryptography import x509

RSA_KEY_BITS_MIN: Final = 2048  # bits, DSA too. A00.FR.502
EC_KEY_BITS_MIN: Final = 224  # bits. A00.FR.503
WEAK_HASHES: Final = frozenset({"md5", "sha1"})  # A00.FR.504
SERIAL_DIGITS_MAX: Final = 40  # hex digits. CertificateHashDataType
PEM_BLOCK: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII
)  # RFC 7468


class CertificateUnusable(Exception):
    """A certificate that cannot be used. The message is one line for people."""


def pem_blocks(text: str) -> tuple[str, ...]:
    """The certificates in a PEM text, in its order; what stands between them is left out."""
    return tuple(f"{found[0]}\n" for found in PEM_BLOCK.finditer(text))


def parse_root(
    use: str, pem: str, trusted: Sequence[CertificateInstalled], now: datetime | None
) -> CertificateInstalled:
    """A root certificate, checked, as the store keeps it.

    It signs itself, or one of `trusted` signs it: otherwise nobody could tell the hash of its
    issuer's key, which names it in every message.

    Args:
        pem: one certificate.
        now: the station's time; None where it cannot be known yet (A00.FR.308 is then left to
            the handshake).

    Raises:
        Unfit: it is no certificate, no CA's, too weak, out of its time, or not signed.
    """
    certificate = _load_single(pem)
    _check_ca(certificate)
    _check_strength(certificate)
    if now is not None:
        _check_validity(certificate, now)
    return _build_installed(use, pem, (certificate,), _require_issuer(certificate, trusted))


def parse_own_chain(
    use: str, pem: str, trusted: Sequence[CertificateInstalled], key: str
) -> CertificateInstalled:
    """A certificate of the station with its sub-CAs, leaf first, as the store keeps it.

    Args:
        trusted: where the issuer of the last one may be; a station need not hold it.
        key: reference of its private key.

    Raises:
        Unfit: there is no certificate in it, or the chain is not signed link by link.
    """
    chain = tuple(_load_block(block) for block in pem_blocks(pem))
    if not chain:
        raise CertificateUnusable("holds no certificate in PEM")
    for child, parent in pairwise(chain):
        _check_signature(child, parent)
    return _build_installed(use, pem, chain, _find_issuer(chain[-1], trusted), key)


def is_valid(certificate: CertificateInstalled, now: datetime) -> bool:
    """Whether the time is between its two dates."""
    first, last = (
        datetime.fromisoformat(text) for text in (certificate.not_before, certificate.not_after)
    )
    return first <= now <= last


# --- Reading -------------------------------------------------------------------------------------


def _load_single(pem: str) -> x509.Certificate:
    """Exactly one: who is trusted must not hide behind somebody else. Erratum 2.7 (2025-01)."""
    blocks = pem_blocks(pem)
    if len(blocks) != 1:
        raise CertificateUnusable(f"holds {len(blocks)} certificates in PEM, not one")
    return _load_block(blocks[0])


def _load_block(block: str) -> x509.Certificate:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(block.encode("ascii"))
        certificate.extensions  # noqa: B018 - parsed when they are first read
        certificate.public_key()
        certificate.subject, certificate.issuer  # noqa: B018 - as above
    except Exception as error:  # whatever a parser of hostile bytes comes up with
        raise CertificateUnusable(f"cannot be read: {type(error).__name__}") from error
    return certificate


def _check_ca(certificate: x509.Certificate) -> None:
    from cryptography import x509

    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise CertificateUnusable("is no CA's: it has no basicConstraints") from None
    if not basic.ca:
        raise CertificateUnusable("is no CA's")


def _check_strength(certificate: x509.Certificate) -> None:
    """A00.FR.501 to 504."""
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey) and key.key_size < RSA_KEY_BITS_MIN:
        kind = "an RSA" if isinstance(key, rsa.RSAPublicKey) else "a DSA"
        raise CertificateUnusable(
            f"has {kind} key of {key.key_size} bits; {RSA_KEY_BITS_MIN} is the least"
        )
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < EC_KEY_BITS_MIN:
        raise CertificateUnusable(
            f"has an EC key of {key.key_size} bits; {EC_KEY_BITS_MIN} is the least"
        )
    algorithm = _hash_algorithm(certificate)
    if algorithm in WEAK_HASHES:
        raise CertificateUnusable(f"is signed with {algorithm}")


def _hash_algorithm(certificate: x509.Certificate) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        raise CertificateUnusable("is signed in an unknown way") from None
    return algorithm.name if algorithm else ""  # Ed25519 and Ed448 bring their own


def _check_validity(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise CertificateUnusable(
            f"is valid from {_format_rfc3339(certificate.not_valid_before_utc)} on"
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateUnusable(
            f"was valid until {_format_rfc3339(certificate.not_valid_after_utc)}"
        )


def _require_issuer(
    certificate: x509.Certificate, trusted: Sequence[CertificateInstalled]
) -> x509.Certificate:
    """Who signed it."""
    found = _find_issuer(certificate, trusted)
    if found is None:
        raise CertificateUnusable("neither signs itself nor is signed by an installed root")
    return found


def _find_issuer(
    certificate: x509.Certificate, trusted: Sequence[CertificateInstalled]
) -> x509.Certificate | None:
    """Itself, or the first of the trusted that signed it.

    Raises:
        Unfit: it claims to sign itself, and does not.
    """
    if certificate.subject == certificate.issuer:
        _check_signature(certificate, certificate)
        return certificate
    for each in trusted:
        candidate = _load_block(pem_blocks(each.pem)[0])
        try:
            _check_signature(certificate, candidate)
        except CertificateUnusable:
            continue
        return candidate
    return None


def _check_signature(child: x509.Certificate, parent: x509.Certificate) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        child.verify_directly_issued_by(parent)
    except (InvalidSignature, TypeError, ValueError):
        raise CertificateUnusable(
            f"is not signed by {parent.subject.rfc4514_string()[:100]}"
        ) from None


# --- Describing ----------------------------------------------------------------------------------


def _build_installed(
    use: str,
    pem: str,
    chain: Sequence[x509.Certificate],
    last_issuer: x509.Certificate | None,
    key: str = "",
) -> CertificateInstalled:
    from cryptography.hazmat.primitives.serialization import Encoding

    first = chain[0]
    named = [
        _hash_certificate(one, by) for one, by in zip(chain, [*chain[1:], last_issuer], strict=True)
    ]
    return CertificateInstalled(
        use=use,
        pem="".join(pem_blocks(pem)),
        sha256=hashlib.sha256(first.public_bytes(Encoding.DER)).hexdigest(),
        hash_data=named[0],
        child_hash_data=tuple(one for one in named[1:] if one.issuer_key_hash),
        subject=first.subject.rfc4514_string()[:500],
        issuer=first.issuer.rfc4514_string()[:500],
        not_before=_format_rfc3339(first.not_valid_before_utc),
        not_after=_format_rfc3339(first.not_valid_after_utc),
        private_key_ref=key,
    )


def _hash_certificate(
    certificate: x509.Certificate, issuer: x509.Certificate | None
) -> CertificateHash:
    """CertificateHashDataType: the same three that name a certificate in OCSP. RFC 6960 §4.1.1.

    Without its issuer the hash of the issuer's key stays empty.
    """
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import ocsp

    serial_number = f"{certificate.serial_number:x}"
    if len(serial_number) > SERIAL_DIGITS_MAX:
        raise CertificateUnusable(
            f"has a serial number of {len(serial_number)} hex digits, not {SERIAL_DIGITS_MAX}"
        )
    builder = ocsp.OCSPRequestBuilder()
    request = builder.add_certificate(certificate, issuer or certificate, SHA256()).build()
    return CertificateHash(
        issuer_name_hash=request.issuer_name_hash.hex(),
        issuer_key_hash=request.issuer_key_hash.hex() if issuer else "",
        serial_number=serial_number,
    )


def _format_rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
