"""A firmware image must have the signature of its signing certificate. L01."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from station.firmware.signature import SignatureRefused, check_signature
from tests.support.signers import CURVE_KEY, RSA_KEY, Key, make_certificate, make_root

IMAGE = b"firmware" * 20_000
DIGEST = sha256(IMAGE).digest()
ROOT = make_root(CURVE_KEY)
LEAF = make_certificate("signer", CURVE_KEY, ROOT)


def sign_image(key: Key, *, salt: int = 32, hashed: hashes.HashAlgorithm | None = None) -> str:
    hashed = hashed or hashes.SHA256()
    match key:
        case rsa.RSAPrivateKey():
            raw = key.sign(IMAGE, padding.PSS(padding.MGF1(hashed), salt), hashed)
        case ec.EllipticCurvePrivateKey():
            raw = key.sign(IMAGE, ec.ECDSA(hashed))
        case _:
            raise AssertionError(key)
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("key", "salt"), [(RSA_KEY, 32), (RSA_KEY, 0), (RSA_KEY, 222), (CURVE_KEY, 0)]
)
def test_the_manufacturers_signature_is_accepted_l01_fr_04(key: Key, salt: int) -> None:
    certificate = make_certificate("signer", key, ROOT).pem
    check_signature(certificate, DIGEST, sign_image(key, salt=salt))


@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_another_file_is_refused_l01_fr_03(key: Key) -> None:
    certificate = make_certificate("signer", key, ROOT).pem
    for other in (IMAGE[:-1], IMAGE + b"\x00", b"", IMAGE[:70_000] + b"!" + IMAGE[70_001:]):
        with pytest.raises(SignatureRefused, match="does not match"):
            check_signature(certificate, sha256(other).digest(), sign_image(key))


@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_another_hash_or_another_key_is_refused_l01_fr_03(key: Key) -> None:
    certificate = make_certificate("signer", key, ROOT).pem
    other = rsa.generate_private_key(65537, 2048) if key is RSA_KEY else ROOT_OTHER_KEY
    for signature in (sign_image(key, hashed=hashes.SHA512()), sign_image(other)):
        with pytest.raises(SignatureRefused):
            check_signature(certificate, DIGEST, signature)


ROOT_OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def test_the_older_rsa_padding_is_refused_l01_fr_04() -> None:
    raw = RSA_KEY.sign(IMAGE, padding.PKCS1v15(), hashes.SHA256())
    certificate = make_certificate("signer", RSA_KEY, ROOT).pem
    with pytest.raises(SignatureRefused):
        check_signature(certificate, DIGEST, base64.b64encode(raw).decode())


@given(st.text(max_size=100) | st.binary(max_size=300).map(lambda b: base64.b64encode(b).decode()))
def test_any_other_text_is_refused_as_signature(signature: str) -> None:
    with pytest.raises(SignatureRefused):
        check_signature(LEAF.pem, bytes(32), signature)
