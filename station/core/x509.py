"""Parse, check and describe X.509 certificates. A00.FR.501 to 511, A02.FR.06, M05.

`cryptography` is imported in the functions that use it: the import takes a fifth of a cold start,
and most runs of the program parse no certificate.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from journal.projections.certificates import CertificateHash, CertificateInstalled

if TYPE_CHECKING:
    from cryptography import x509

Extension = TypeVar("Extension", bound="x509.ExtensionType")

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
    if len(chain) > 1 and chain[-1] in roots:
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
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificate = _load_block(next(iter(pem_blocks(pem)), ""))
    except CertificateUnusable:
        return None
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def is_valid(certificate: CertificateInstalled, now: datetime) -> bool:
    """Whether the time is in the validity period."""
    not_before, not_after = (
        datetime.fromisoformat(text) for text in (certificate.not_before, certificate.not_after)
    )
    return not_before <= now <= not_after


# --- Load and check--------------------------------------------------------------------------------


def _load_single(pem: str) -> x509.Certificate:
    """The only certificate of a text: a second one must not go unnoticed. Erratum 2.7 (2025-01)."""
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
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise CertificateUnusable(f"cannot be read: {type(error).__name__}") from error
    return certificate


def _check_ca(certificate: x509.Certificate) -> None:
    """Whether it says that it is of a CA.

    A root of version 1 cannot say so. OpenSSL trusts it all the same unless VERIFY_X509_STRICT is
    set, which is the default of Python 3.13: it is refused at the installation, and not by the
    handshake that would need it.
    """
    from cryptography import x509

    basic = _find_extension(certificate, x509.BasicConstraints)
    if basic is None:
        reason = "it has no basicConstraints"
        if certificate.version is x509.Version.v1:
            reason = "X.509 version 1 has no basicConstraints"
        raise CertificateUnusable(f"is not of a CA: {reason}")
    if not basic.ca:
        raise CertificateUnusable("is not of a CA")


def _check_issuing_ca(certificate: x509.Certificate, depth: int) -> None:
    """A CA that may sign certificates, with `depth` CAs below it in the chain. RFC 5280 §4.2.1."""
    from cryptography import x509

    _check_ca(certificate)
    basic = _find_extension(certificate, x509.BasicConstraints)
    path_length = basic.path_length if basic is not None else None
    if path_length is not None and path_length < depth:
        raise CertificateUnusable(f"has a CA that allows {path_length} CAs below it, not {depth}")
    usage = _find_extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise CertificateUnusable("has a CA that may not sign certificates")


def _check_leaf(certificate: x509.Certificate, expected: ExpectedLeaf) -> None:
    """The key of the CSR, the subject, and a use other than that of a CA. A00.FR.509, A00.FR.511.

    The organization may be another than in the CSR: the CA writes the name it has on record.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509.oid import NameOID

    key_info = certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    if hashlib.sha256(key_info).hexdigest() != expected.public_key_sha256:
        raise CertificateUnusable("is not for the key pair of the newest CSR")
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not any(expected.common_name in str(name.value) for name in names):
        raise CertificateUnusable(f"has no commonName with {expected.common_name}")
    if not certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME):
        raise CertificateUnusable("has no organizationName")
    basic = _find_extension(certificate, x509.BasicConstraints)  # absent: not of a CA
    if basic is not None and basic.ca:
        raise CertificateUnusable("is of a CA")
    usage = _find_extension(certificate, x509.KeyUsage)  # absent: every use
    if usage is not None and not usage.digital_signature:  # A00.FR.512 recommends the extension
        raise CertificateUnusable("does not allow digitalSignature, which TLS needs")


def _find_extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """The extension of this type; None: the certificate has none."""
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_critical_extensions(certificate: x509.Certificate) -> None:
    """RFC 5280 §4.2: a critical extension that is not understood refuses the certificate."""
    from cryptography import x509

    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise CertificateUnusable(
                f"has an unknown critical extension {extension.oid.dotted_string}"
            )


def _require_root(
    certificate: x509.Certificate, roots: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate:
    """The root that signed a certificate and is valid now."""
    for root in roots:
        try:
            _check_signature(certificate, root)
            _check_validity(root, now)
        except CertificateUnusable:
            continue
        return root
    raise CertificateUnusable("is not signed by an installed root that is valid now")


def _check_strength(certificate: x509.Certificate) -> None:
    """Key sizes and signature hash. A00.FR.501 to 504."""
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
        raise CertificateUnusable("is signed with an unknown algorithm") from None
    return algorithm.name if algorithm else ""  # Ed25519 and Ed448 have none


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
    """The certificate that signed it: itself or an installed root."""
    issuer = _find_issuer(certificate, trusted)
    if issuer is None:
        raise CertificateUnusable("neither signs itself nor is signed by an installed root")
    return issuer


def _find_issuer(
    certificate: x509.Certificate, trusted: Sequence[CertificateInstalled]
) -> x509.Certificate | None:
    """Itself, or the first of the trusted that signed it.

    Raises:
        CertificateUnusable: it names itself as its issuer and is not signed by itself.
    """
    if certificate.subject == certificate.issuer:
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


def _check_signature(child: x509.Certificate, parent: x509.Certificate) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        child.verify_directly_issued_by(parent)
    except (InvalidSignature, TypeError, ValueError):
        raise CertificateUnusable(
            f"is not signed by {parent.subject.rfc4514_string()[:100]}"
        ) from None


# --- Describe ------------------------------------------------------------------------------------


def _build_installed(
    use: str,
    pem: str,
    chain: Sequence[x509.Certificate],
    last_issuer: x509.Certificate | None,
    key: str = "",
) -> CertificateInstalled:
    from cryptography.hazmat.primitives.serialization import Encoding

    first = chain[0]
    issuers = [*chain[1:], last_issuer]
    hashes = [
        _hash_certificate(certificate, issuer)
        for certificate, issuer in zip(chain, issuers, strict=True)
    ]
    return CertificateInstalled(
        use=use,
        pem="".join(pem_blocks(pem)),
        sha256=hashlib.sha256(first.public_bytes(Encoding.DER)).hexdigest(),
        hash_data=hashes[0],
        child_hash_data=tuple(child for child in hashes[1:] if child.issuer_key_hash),
        subject=first.subject.rfc4514_string()[:500],
        issuer=first.issuer.rfc4514_string()[:500],
        not_before=_format_rfc3339(first.not_valid_before_utc),
        not_after=_format_rfc3339(first.not_valid_after_utc),
        private_key_ref=key,
    )


def _hash_certificate(
    certificate: x509.Certificate, issuer: x509.Certificate | None
) -> CertificateHash:
    """The CertificateHashDataType of a certificate, as in an OCSP request. RFC 6960 §4.1.1.

    Without the issuer the hash of the issuer's key is empty.
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
