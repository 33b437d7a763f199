"""Is this firmware what the manufacturer signed? (L01.FR.04, L01.FR.12, L01.FR.21)

The signature is over the whole file, by RSA-PSS or ECDSA with SHA-256; the certificate it comes
with is signed directly by an installed ManufacturerRootCertificate (no intermediate ones, L01).
Edition 3 says "ECSchnorr", for which there is no common library or format; an EC key means ECDSA.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from station.certificates import Unfit, issued_by

if TYPE_CHECKING:
    from cryptography import x509

CHUNK: Final = 1024 * 1024  # bytes in memory at a time


class Untrusted(Exception):
    """A signer or a signature that does not hold. One line for people."""


def check_signer(pem: str, roots: Sequence[str], now: datetime) -> None:
    """Accept a firmware signing certificate, or say why not. L01.FR.21.

    Args:
        pem: the certificate, alone.
        roots: the ManufacturerRootCertificates the station holds, PEM.

    Raises:
        Untrusted: it cannot be read, is out of its time, too weak, not for signing, or none of the
            roots signed it.
    """
    try:
        certificate = issued_by(pem, roots, now)
    except Unfit as complaint:
        raise Untrusted(f"the signing certificate {complaint}") from complaint
    if not _may_sign(certificate):
        raise Untrusted("the signing certificate is not for digital signatures")


def check_signature(file: Path, pem: str, signature: str) -> None:
    """Accept a firmware file, or say why not. Blocks. L01.FR.04.

    Args:
        pem: the certificate of the signer, accepted before.
        signature: base64 of what the signer made of the whole file.

    Raises:
        Untrusted: the signature is none, or of another file or another signer.
        OSError: the file cannot be read.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import load_pem_x509_certificate

    try:
        proof = base64.b64decode("".join(signature.split()), validate=True)
        key = load_pem_x509_certificate(pem.encode()).public_key()
    except (binascii.Error, ValueError) as error:
        raise Untrusted(f"the signature cannot be read: {error}") from error
    digest, hashed = _sha256(file), utils.Prehashed(SHA256())
    try:
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(SHA256()), padding.PSS.AUTO)
            key.verify(proof, digest, pss, hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(proof, digest, ec.ECDSA(hashed))
        else:
            raise Untrusted(f"a key of kind {type(key).__name__} signs no firmware")
    except InvalidSignature:
        raise Untrusted("the signature is not of this file by this signer") from None


def _sha256(file: Path) -> bytes:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.digest()


def _may_sign(certificate: x509.Certificate) -> bool:
    """RFC 5280 §4.2.1.3: a keyUsage, where there is one, says what a key is for."""
    from cryptography import x509

    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.digital_signature
