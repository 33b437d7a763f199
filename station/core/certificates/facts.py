"""Types: the contents of a certificate as the checks need them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec


class Unreadable(msgspec.Struct, frozen=True, tag="unreadable"):
    """A text in which the parser found no certificate.

    Attributes:
        error: the name of its exception.
        text: its message, cut.
    """

    error: str
    text: str


class CertificateFacts(msgspec.Struct, frozen=True, tag="certificate"):
    """The contents of one certificate.

    Attributes:
        pem: the certificate as it was received.
        sha256: of its DER, hex.
        public_key_sha256: of the SubjectPublicKeyInfo, hex.
        key_kind: "RSA", "DSA", "EC"; empty: any other.
        key_bits: of one of these; else 0.
        signature_hash: as `cryptography` names it; empty: Ed25519 and Ed448 have none.
        signature_problem: why the algorithm of the signature is unknown; empty: it is known.
        is_version_1: X.509 version 1, which has no extensions.
        is_ca: of basicConstraints; None: there is no such extension.
        path_length: of basicConstraints; None: without a limit.
        key_cert_sign, digital_signature: of keyUsage; None: there is no such extension.
        critical_extensions: the OIDs of all critical extensions, in order.
        unknown_critical_extensions: those of them that the parser does not know.
        subject, issuer: RFC 4514, cut.
        subject_sha256, issuer_sha256: of the DER of the names, hex.
        is_self_issued: subject and issuer are the same name.
        common_names: of the subject.
        has_organization: the subject has an organizationName.
        not_before, not_after: UTC.
        serial_number: hex without leading zeros.
        issuer_name_hash: of a CertificateHashDataType for this certificate. RFC 6960 §4.1.1.
        own_key_hash: the issuerKeyHash of a certificate that this one signed.
    """

    pem: str
    sha256: str
    public_key_sha256: str
    key_kind: str
    key_bits: int
    signature_hash: str
    signature_problem: str
    is_version_1: bool
    is_ca: bool | None
    path_length: int | None
    key_cert_sign: bool | None
    digital_signature: bool | None
    critical_extensions: tuple[str, ...]
    unknown_critical_extensions: tuple[str, ...]
    subject: str
    issuer: str
    subject_sha256: str
    issuer_sha256: str
    is_self_issued: bool
    common_names: tuple[str, ...]
    has_organization: bool
    not_before: datetime
    not_after: datetime
    serial_number: str
    issuer_name_hash: str
    own_key_hash: str


Contents = CertificateFacts | Unreadable


class Signature(msgspec.Struct, frozen=True):
    """Whether one certificate was signed with the key of another.

    Attributes:
        child, parent: SHA-256 of their DER, hex.
    """

    child: str
    parent: str
    is_valid: bool


class Examination(msgspec.Struct, frozen=True):
    """What the parser read.

    Attributes:
        blocks: certificates in PEM, each with its contents.
        texts: texts of which the first certificate counts, each with its contents.
        signatures: between certificates of which one names the other as its issuer.
    """

    blocks: tuple[tuple[str, Contents], ...] = ()
    texts: tuple[tuple[str, Contents], ...] = ()
    signatures: tuple[Signature, ...] = ()


def may_be_signed_by(child: CertificateFacts, parent: CertificateFacts) -> bool:
    """Whether the issuer that a certificate names is the subject of the other. RFC 5280 §6.1.3."""
    return child.issuer_sha256 == parent.subject_sha256


def possible_signatures(
    chain: Sequence[Contents], issuers: Sequence[Contents]
) -> Iterator[tuple[CertificateFacts, CertificateFacts]]:
    """The pairs of child and parent of which a decision may ask for the signature.

    Args:
        chain: each may be signed by itself, by the next one and by every issuer.
        issuers: other certificates.
    """
    for position, child in enumerate(chain):
        for parent in (child, *chain[position + 1 : position + 2], *issuers):
            if isinstance(child, Unreadable) or isinstance(parent, Unreadable):
                continue
            if may_be_signed_by(child, parent):
                yield child, parent
