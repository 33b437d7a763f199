"""Parse, check and describe X.509 certificates. A00.FR.501 to 511, A02.FR.06, M05.

The contents of certificates and who signed them come from `known_facts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import msgspec

from journal.projections.certificates import CertificateHash, CertificateInstalled
from station.core.certificates import known_facts
from station.core.certificates.facts import CertificateFacts, Unreadable

RSA_KEY_BITS_MIN: Final = 2048  # bits, DSA too. A00.FR.502
EC_KEY_BITS_MIN: Final = 224  # bits. A00.FR.503
WEAK_HASHES: Final = frozenset({"md5", "sha1"})  # A00.FR.504
SERIAL_DIGITS_MAX: Final = 40  # hex digits. CertificateHashDataType
PEM_BLOCK: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII
)  # RFC 7468


class CertificateUnusable(Exception):
    """A certificate that cannot be used. The message is one line for people."""


class ExpectedLeaf(msgspec.Struct, frozen=True):
    """The key pair and the subject of a CSR."""

    public_key_sha256: str  # of the SubjectPublicKeyInfo, hex
    common_name: str  # contained in the commonName. A00.FR.405, A00.FR.511
    private_key_ref: str  # reference of the private key


def pem_blocks(text: str) -> tuple[str, ...]:
    """The certificates in a PEM text, in order, without the text between them."""
    return tuple(f"{block[0]}\n" for block in PEM_BLOCK.finditer(text))


def parse_root(
    use: str, pem: str, trusted: Sequence[CertificateInstalled], now: datetime | None
) -> CertificateInstalled:
    """Check a root certificate, and describe it for the state.

    It must be signed by itself or by one of `trusted`: the hash of its issuer's key identifies it
    in every message and cannot be computed otherwise.

    Args:
        pem: one certificate.
        now: the station's time; None if it is not known yet (A00.FR.308 is then checked in the
            handshake).

    Raises:
        CertificateUnusable: not a certificate, not of a CA, too weak, not valid now, or not signed.
    """
    certificate = _load_single(pem)
    _check_ca(certificate)
    _check_strength(certificate)
    if now is not None:
        _check_validity(certificate, now)
    return _build_installed(use, pem, (certificate,), _require_issuer(certificate, trusted))


def parse_successor(
    use: str, pem: str, replaced: CertificateInstalled, now: datetime
) -> CertificateInstalled:
    """Check a root certificate that the root it replaces has signed. M05.FR.10.

    Its subject and issuer may be the same name, as when a CA renews its key.

    Raises:
        CertificateUnusable: not a certificate, not of a CA, too weak, not valid now, or not signed
            by `replaced`.
    """
    certificate, root = _load_single(pem), _load_block(pem_blocks(replaced.pem)[0])
    _check_ca(certificate)
    _check_strength(certificate)
    _check_validity(certificate, now)
    _check_signature(certificate, root)
    return _build_installed(use, pem, (certificate,), root)


def parse_own_chain(
    use: str, pem: str, trusted: Sequence[CertificateInstalled], key: str
) -> CertificateInstalled:
    """Check a certificate of the station with its sub-CAs, leaf first, and describe it.

    Args:
        trusted: may have the issuer of the last one; a station need not have it.
        key: reference of its private key.

    Raises:
        CertificateUnusable: there is no certificate, or one is not signed by the next.
    """
    chain = tuple(_load_block(block) for block in pem_blocks(pem))
    if not chain:
        raise CertificateUnusable("holds no certificate in PEM")
    for child, parent in pairwise(chain):
        _check_signature(child, parent)
    return _build_installed(use, pem, chain, _find_issuer(chain[-1], trusted), key)


def parse_signed_chain(
    use: str,
    pem: str,
    trusted: Sequence[CertificateInstalled],
    now: datetime,
    expected: ExpectedLeaf,
) -> CertificateInstalled:
    """Check a chain of CertificateSigned, leaf first, and describe it. A02.FR.06, A03.FR.06.

    Every certificate of it is valid now and strong enough, each is signed by the next, and the last
    by one of `trusted`. A root at its end is accepted only if it is one of `trusted`.

    Args:
        trusted: the root certificates of the hierarchy that the certificate must belong to.
        now: the station's time.
        expected: what the leaf must contain.

    Raises:
        CertificateUnusable: one of these checks failed.
    """
    chain = tuple(_load_block(block) for block in pem_blocks(pem))
    if not chain:
        raise CertificateUnusable("holds no certificate in PEM")
    roots = tuple(_load_block(pem_blocks(root.pem)[0]) for root in trusted)
    if len(chain) > 1 and chain[-1].sha256 in {root.sha256 for root in roots}:
        chain = chain[:-1]
    _check_leaf(chain[0], expected)
    for certificate in chain:
        _check_strength(certificate)
        _check_validity(certificate, now)
        _check_critical_extensions(certificate)
    for depth, authority in enumerate(chain[1:]):
        _check_issuing_ca(authority, depth)
    for child, parent in pairwise(chain):
        _check_signature(child, parent)
    root = _require_root(chain[-1], roots, now)
    kept = "".join(pem_blocks(pem)[: len(chain)])
    return _build_installed(use, kept, chain, root, expected.private_key_ref)


def first_certificate_sha256(pem: str) -> str | None:
    """The SHA-256 of the first certificate of a PEM text; None: it cannot be read."""
    blocks = pem_blocks(pem)
    try:
        return _load_block(blocks[0]).sha256 if blocks else None
    except CertificateUnusable:
        return None


def is_valid(certificate: CertificateInstalled, now: datetime) -> bool:
    """Whether the time is in the validity period."""
    not_before, not_after = (
        datetime.fromisoformat(text) for text in (certificate.not_before, certificate.not_after)
    )
    return not_before <= now <= not_after


# --- Load and check--------------------------------------------------------------------------------


def _load_single(pem: str) -> CertificateFacts:
    """The only certificate of a text: a second one must not go unnoticed. Erratum 2.7 (2025-01)."""
    blocks = pem_blocks(pem)
    if len(blocks) != 1:
        raise CertificateUnusable(f"holds {len(blocks)} certificates in PEM, not one")
    return _load_block(blocks[0])


def _load_block(block: str) -> CertificateFacts:
    contents = known_facts.read_block(block)
    if isinstance(contents, Unreadable):
        raise CertificateUnusable(f"cannot be read: {contents.error}")
    return contents


def _check_ca(certificate: CertificateFacts) -> None:
    """Whether it says that it is of a CA.

    A root of version 1 cannot say so. OpenSSL trusts it all the same unless VERIFY_X509_STRICT is
    set, which is the default of Python 3.13: it is refused at the installation, and not by the
    handshake that would need it.
    """
    if certificate.is_ca is None:
        reason = "it has no basicConstraints"
        if certificate.is_version_1:
            reason = "X.509 version 1 has no basicConstraints"
        raise CertificateUnusable(f"is not of a CA: {reason}")
    if not certificate.is_ca:
        raise CertificateUnusable("is not of a CA")


def _check_issuing_ca(certificate: CertificateFacts, depth: int) -> None:
    """A CA that may sign certificates, with `depth` CAs below it in the chain. RFC 5280 §4.2.1."""
    _check_ca(certificate)
    path_length = certificate.path_length
    if path_length is not None and path_length < depth:
        raise CertificateUnusable(f"has a CA that allows {path_length} CAs below it, not {depth}")
    if certificate.key_cert_sign is False:
        raise CertificateUnusable("has a CA that may not sign certificates")


def _check_leaf(certificate: CertificateFacts, expected: ExpectedLeaf) -> None:
    """The key of the CSR, the subject, and a use other than that of a CA. A00.FR.509, A00.FR.511.

    The organization may be another than in the CSR: the CA writes the name it has on record.
    """
    if certificate.public_key_sha256 != expected.public_key_sha256:
        raise CertificateUnusable("is not for the key pair of the newest CSR")
    if not any(expected.common_name in name for name in certificate.common_names):
        raise CertificateUnusable(f"has no commonName with {expected.common_name}")
    if not certificate.has_organization:
        raise CertificateUnusable("has no organizationName")
    if certificate.is_ca:
        raise CertificateUnusable("is of a CA")
    if certificate.digital_signature is False:  # A00.FR.512 recommends the extension
        raise CertificateUnusable("does not allow digitalSignature, which TLS needs")


def _check_critical_extensions(certificate: CertificateFacts) -> None:
    """RFC 5280 §4.2: a critical extension that is not understood refuses the certificate."""
    for oid in certificate.unknown_critical_extensions:
        raise CertificateUnusable(f"has an unknown critical extension {oid}")


def _require_root(
    certificate: CertificateFacts, roots: Sequence[CertificateFacts], now: datetime
) -> CertificateFacts:
    """The root that signed a certificate and is valid now."""
    for root in roots:
        try:
            _check_signature(certificate, root)
            _check_validity(root, now)
        except CertificateUnusable:
            continue
        return root
    raise CertificateUnusable("is not signed by an installed root that is valid now")


def _check_strength(certificate: CertificateFacts) -> None:
    """Key sizes and signature hash. A00.FR.501 to 504."""
    bits = certificate.key_bits
    if certificate.key_kind in ("RSA", "DSA") and bits < RSA_KEY_BITS_MIN:
        kind = "an RSA" if certificate.key_kind == "RSA" else "a DSA"
        raise CertificateUnusable(f"has {kind} key of {bits} bits; {RSA_KEY_BITS_MIN} is the least")
    if certificate.key_kind == "EC" and bits < EC_KEY_BITS_MIN:
        raise CertificateUnusable(f"has an EC key of {bits} bits; {EC_KEY_BITS_MIN} is the least")
    if certificate.signature_problem:
        raise CertificateUnusable("is signed with an unknown algorithm")
    if certificate.signature_hash in WEAK_HASHES:
        raise CertificateUnusable(f"is signed with {certificate.signature_hash}")


def _check_validity(certificate: CertificateFacts, now: datetime) -> None:
    if now < certificate.not_before:
        raise CertificateUnusable(f"is valid from {_format_rfc3339(certificate.not_before)} on")
    if now > certificate.not_after:
        raise CertificateUnusable(f"was valid until {_format_rfc3339(certificate.not_after)}")


def _require_issuer(
    certificate: CertificateFacts, trusted: Sequence[CertificateInstalled]
) -> CertificateFacts:
    """The certificate that signed it: itself or an installed root."""
    issuer = _find_issuer(certificate, trusted)
    if issuer is None:
        raise CertificateUnusable("neither signs itself nor is signed by an installed root")
    return issuer


def _find_issuer(
    certificate: CertificateFacts, trusted: Sequence[CertificateInstalled]
) -> CertificateFacts | None:
    """Itself, or the first of the trusted that signed it.

    Raises:
        CertificateUnusable: it names itself as its issuer and is not signed by itself.
    """
    if certificate.is_self_issued:
        _check_signature(certificate, certificate)
        return certificate
    for root in trusted:
        candidate = _load_block(pem_blocks(root.pem)[0])
        try:
            _check_signature(certificate, candidate)
        except CertificateUnusable:
            continue
        return candidate
    return None


def _check_signature(child: CertificateFacts, parent: CertificateFacts) -> None:
    if not known_facts.is_signed_by(child, parent):
        raise CertificateUnusable(f"is not signed by {parent.subject[:100]}")


# --- Describe ------------------------------------------------------------------------------------


def _build_installed(
    use: str,
    pem: str,
    chain: Sequence[CertificateFacts],
    last_issuer: CertificateFacts | None,
    key: str = "",
) -> CertificateInstalled:
    first = chain[0]
    issuers = [*chain[1:], last_issuer]
    hashes = [
        _hash_certificate(certificate, issuer)
        for certificate, issuer in zip(chain, issuers, strict=True)
    ]
    return CertificateInstalled(
        use=use,
        pem="".join(pem_blocks(pem)),
        sha256=first.sha256,
        hash_data=hashes[0],
        child_hash_data=tuple(child for child in hashes[1:] if child.issuer_key_hash),
        subject=first.subject,
        issuer=first.issuer,
        not_before=_format_rfc3339(first.not_before),
        not_after=_format_rfc3339(first.not_after),
        private_key_ref=key,
    )


def _hash_certificate(
    certificate: CertificateFacts, issuer: CertificateFacts | None
) -> CertificateHash:
    """The CertificateHashDataType of a certificate, as in an OCSP request. RFC 6960 §4.1.1.

    Without the issuer the hash of the issuer's key is empty.
    """
    serial_number = certificate.serial_number
    if len(serial_number) > SERIAL_DIGITS_MAX:
        raise CertificateUnusable(
            f"has a serial number of {len(serial_number)} hex digits, not {SERIAL_DIGITS_MAX}"
        )
    return CertificateHash(
        issuer_name_hash=certificate.issuer_name_hash,
        issuer_key_hash=issuer.own_key_hash if issuer else "",
        serial_number=serial_number,
    )


def _format_rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
