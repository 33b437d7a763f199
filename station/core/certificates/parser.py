"""Read certificates with `cryptography`.

The import takes 0.15 s of processor time and 11 MiB. Only `known_facts` and the program of
`station.runtime.crypto` import this module, in the function that needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from station.core.certificates.facts import (
    CertificateFacts,
    Contents,
    Examination,
    Signature,
    Unreadable,
    possible_signatures,
)

NAME_CHARS_MAX: Final = 500  # of a name in RFC 4514
PROBLEM_CHARS_MAX: Final = 300

Extension = TypeVar("Extension", bound=x509.ExtensionType)


def examine(blocks: Sequence[str], texts: Sequence[str], issuers: Sequence[str]) -> Examination:
    """Read certificates, and check who signed them.

    Args:
        blocks: one certificate in PEM each; a chain has the leaf first.
        texts: of each the first certificate counts.
        issuers: certificates in PEM that may have signed those of blocks and texts.
    """
    of_block = {block: parse_block(block) for block in (*blocks, *issuers)}
    of_text = {text: parse_first(text) for text in texts}
    chain = [*(of_block[block] for block in blocks), *of_text.values()]
    signatures: dict[tuple[str, str], Signature] = {}
    for child, parent in possible_signatures(chain, [of_block[block] for block in issuers]):
        pair = child.sha256, parent.sha256
        if pair not in signatures:
            signatures[pair] = Signature(*pair, is_signed_by(child.pem, parent.pem))
    return Examination(tuple(of_block.items()), tuple(of_text.items()), tuple(signatures.values()))


def parse_block(block: str) -> Contents:
    """The contents of one certificate in PEM."""
    return _read(lambda: x509.load_pem_x509_certificate(block.encode("ascii")), block)


def parse_first(text: str) -> Contents:
    """The contents of the first certificate of a text; each of them has to be one."""
    return _read(lambda: x509.load_pem_x509_certificates(text.encode())[0], None)


def is_signed_by(child_pem: str, parent_pem: str) -> bool:
    """Whether a certificate was signed with the key of another. Both are readable."""
    child = x509.load_pem_x509_certificate(child_pem.encode("ascii"))
    parent = x509.load_pem_x509_certificate(parent_pem.encode("ascii"))
    try:
        child.verify_directly_issued_by(parent)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return False
    return True


def _read(load: Callable[[], x509.Certificate], pem: str | None) -> Contents:
    """Load a certificate and read its contents; `pem`: None: make it from the certificate."""
    try:
        return _read_contents(load(), pem)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return Unreadable(type(error).__name__, str(error)[:PROBLEM_CHARS_MAX])


def _read_contents(certificate: x509.Certificate, pem: str | None) -> CertificateFacts:
    extensions = certificate.extensions
    key = certificate.public_key()
    subject, issuer = certificate.subject, certificate.issuer
    critical = [extension for extension in extensions if extension.critical]
    key_info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key_kind, key_bits = _describe_key(key)
    signature_hash, signature_problem = _find_signature_hash(certificate)
    basic = _find_extension(extensions, x509.BasicConstraints)
    usage = _find_extension(extensions, x509.KeyUsage)
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, SHA256()).build()
    return CertificateFacts(
        pem=pem or certificate.public_bytes(Encoding.PEM).decode("ascii"),
        sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        public_key_sha256=hashlib.sha256(key_info).hexdigest(),
        key_kind=key_kind,
        key_bits=key_bits,
        signature_hash=signature_hash,
        signature_problem=signature_problem,
        is_version_1=certificate.version is x509.Version.v1,
        is_ca=basic.ca if basic else None,
        path_length=basic.path_length if basic else None,
        key_cert_sign=usage.key_cert_sign if usage else None,
        digital_signature=usage.digital_signature if usage else None,
        critical_extensions=tuple(extension.oid.dotted_string for extension in critical),
        unknown_critical_extensions=tuple(
            extension.oid.dotted_string
            for extension in critical
            if isinstance(extension.value, x509.UnrecognizedExtension)
        ),
        subject=subject.rfc4514_string()[:NAME_CHARS_MAX],
        issuer=issuer.rfc4514_string()[:NAME_CHARS_MAX],
        subject_sha256=hashlib.sha256(subject.public_bytes()).hexdigest(),
        issuer_sha256=hashlib.sha256(issuer.public_bytes()).hexdigest(),
        is_self_issued=subject == issuer,
        common_names=tuple(
            str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ),
        has_organization=bool(subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial_number=f"{certificate.serial_number:x}",
        issuer_name_hash=request.issuer_name_hash.hex(),
        own_key_hash=request.issuer_key_hash.hex(),
    )


def _describe_key(key: object) -> tuple[str, int]:
    match key:
        case rsa.RSAPublicKey():
            return "RSA", key.key_size
        case dsa.DSAPublicKey():
            return "DSA", key.key_size
        case ec.EllipticCurvePublicKey():
            return "EC", key.key_size
    return "", 0


def _find_signature_hash(certificate: x509.Certificate) -> tuple[str, str]:
    """Hash of the signature, and why it is unknown."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        return "", str(error)[:PROBLEM_CHARS_MAX] or "unknown algorithm"
    return (algorithm.name if algorithm else ""), ""


def _find_extension(extensions: x509.Extensions, kind: type[Extension]) -> Extension | None:
    """The extension of this type; None: there is none."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
