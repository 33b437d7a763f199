"""Signature of a firmware image. L01.

The import of `cryptography` is slow and takes 11 MiB, so import this module only where it is used.
"""

from __future__ import annotations

import base64
import binascii

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils


class SignatureRefused(Exception):
    """The file does not match its signature: status InvalidSignature. One line."""


def check_signature(certificate_pem: str, digest: bytes, signature: str) -> None:
    """Check the signature over the entire file. L01.FR.04, L01.FR.12.

    With RSA keys it is RSA-PSS with a salt of any length. With elliptic curves it is ECDSA, as in
    A00.FR.505: no library that manufacturers use for signing has the EC-Schnorr of L01.FR.04.

    Args:
        certificate_pem: passed `check_signing_certificate`; of several certificates the first.
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
        match x509.load_pem_x509_certificate(certificate_pem.encode()).public_key():
            case rsa.RSAPublicKey() as key:
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
                key.verify(raw, digest, pss, algorithm)
            case ec.EllipticCurvePublicKey() as key:
                key.verify(raw, digest, ec.ECDSA(algorithm))
            case key:
                raise SignatureRefused(f"signatures of a {type(key).__name__} are not supported")
    except InvalidSignature:
        raise SignatureRefused("the signature does not match the file") from None
