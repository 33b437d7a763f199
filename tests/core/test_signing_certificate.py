"""Only the manufacturer's certificates sign firmware. L01."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from station.core.signing_certificate import (
    SigningCertificateRefused,
    check_signing_certificate,
)
from tests.support.signers import (
    CURVE_KEY,
    NOW,
    RSA_KEY,
    CertifiedKey,
    Key,
    encode_pem,
    make_certificate,
    make_root,
)

ROOT = make_root(CURVE_KEY)


@pytest.mark.parametrize("root_key", [RSA_KEY, CURVE_KEY])
@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_the_manufacturers_certificate_is_accepted_l01_fr_21(root_key: Key, key: Key) -> None:
    root = make_root(root_key)
    leaf = make_certificate("signer", key, root)
    other = make_root(ec.generate_private_key(ec.SECP256R1()), "another")
    accepted = check_signing_certificate(leaf.pem, [other.pem, root.pem], NOW)
    assert accepted.pem == leaf.pem


@pytest.mark.parametrize("usage", ["digital_signature", None])
@pytest.mark.parametrize("ca", [False, None])
def test_extensions_may_be_absent_a00_fr_512(usage: str | None, ca: bool | None) -> None:
    leaf = make_certificate("signer", RSA_KEY, ROOT, usage=usage, ca=ca)
    assert check_signing_certificate(leaf.pem, [ROOT.pem], NOW)


def test_certificates_sent_with_the_signing_certificate_are_not_trusted() -> None:
    unknown = make_root(RSA_KEY, "unknown")
    leaf = make_certificate("signer", RSA_KEY, unknown)
    with pytest.raises(SigningCertificateRefused, match="not issued by"):
        check_signing_certificate(leaf.pem + unknown.pem, [ROOT.pem], NOW)


def test_a_root_of_the_same_name_is_not_the_root() -> None:
    leaf = make_certificate("signer", RSA_KEY, make_root(RSA_KEY))
    with pytest.raises(SigningCertificateRefused, match="not issued by"):
        check_signing_certificate(leaf.pem, [ROOT.pem], NOW)


def test_an_intermediate_is_not_accepted_l01() -> None:
    middle = make_certificate("middle", RSA_KEY, ROOT, ca=True, usage="key_cert_sign")
    leaf = make_certificate("signer", CURVE_KEY, middle)
    with pytest.raises(SigningCertificateRefused):
        check_signing_certificate(leaf.pem + middle.pem, [ROOT.pem], NOW)


def test_without_a_root_nothing_is_accepted() -> None:
    leaf = make_certificate("signer", RSA_KEY, ROOT)
    with pytest.raises(SigningCertificateRefused, match="no ManufacturerRootCertificate"):
        check_signing_certificate(leaf.pem, [], NOW)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (make_certificate("old", RSA_KEY, ROOT, days=(-30, -1)), "valid from"),
        (make_certificate("early", RSA_KEY, ROOT, days=(1, 30)), "valid from"),
        (make_certificate("authority", RSA_KEY, ROOT, ca=True), "a CA certificate"),
        (
            make_certificate("encrypts", RSA_KEY, ROOT, usage="key_encipherment"),
            "excludes signatures",
        ),
        (make_certificate("short", rsa.generate_private_key(65537, 1024), ROOT), "1024 bits"),
        (make_certificate("small", ec.generate_private_key(ec.SECP192R1()), ROOT), "192 bits"),
        (make_certificate("edwards", ed25519.Ed25519PrivateKey.generate(), ROOT), "0 bits"),
        (make_certificate("hash", RSA_KEY, ROOT, hashed=hashes.SHA224()), "sha224"),
        (
            make_certificate("odd", RSA_KEY, ROOT, critical=x509.UnrecognizedExtension(
                x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"
            )),
            "unknown critical extension 1.2.3.4",
        ),
        (ROOT, "a CA certificate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_certificate_that_may_not_sign_firmware_is_refused_l01_fr_22(
    leaf: CertifiedKey, message: str
) -> None:
    with pytest.raises(SigningCertificateRefused, match=message):
        check_signing_certificate(leaf.pem, [ROOT.pem], NOW)


@pytest.mark.parametrize(
    "root",
    [
        make_certificate("root", CURVE_KEY, ca=False, usage="key_cert_sign"),
        make_certificate("root", CURVE_KEY, ca=None, usage="key_cert_sign"),
        make_certificate("root", CURVE_KEY, ca=True, usage="crl_sign"),
        make_certificate("root", CURVE_KEY, ca=True, usage="key_cert_sign", days=(-30, -1)),
    ],
)
def test_a_root_that_is_not_an_authority_is_not_trusted(root: CertifiedKey) -> None:
    leaf = make_certificate("signer", RSA_KEY, root)
    with pytest.raises(SigningCertificateRefused):
        check_signing_certificate(leaf.pem, [root.pem], NOW)


@pytest.mark.parametrize("days", [-30, 30])
def test_the_first_and_the_last_second_are_valid(days: int) -> None:
    leaf = make_certificate("signer", RSA_KEY, ROOT)
    assert check_signing_certificate(leaf.pem, [ROOT.pem], NOW + timedelta(days=days))


@given(st.text(max_size=200) | st.binary(max_size=200).map(encode_pem))
def test_any_other_text_is_refused_as_certificate(pem: str) -> None:
    with pytest.raises(SigningCertificateRefused) as refused:
        check_signing_certificate(pem, [ROOT.pem], NOW)
    assert str(refused.value).isprintable()


LEAF = make_certificate("signer", CURVE_KEY, ROOT)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("flipped", [0x01, 0x80, 0xFF])
def test_any_change_of_a_certificate_is_refused(flipped: int) -> None:
    raw = LEAF.certificate.public_bytes(serialization.Encoding.DER)
    refused = 0
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= flipped
        try:
            loaded = check_signing_certificate(encode_pem(bytes(changed)), [ROOT.pem], NOW)
        except SigningCertificateRefused:
            refused += 1
        else:  # the number of unused bits in the signature is not signed
            accepted = x509.load_pem_x509_certificate(loaded.pem.encode())
            assert accepted.tbs_certificate_bytes == LEAF.certificate.tbs_certificate_bytes
    assert refused >= len(raw) - 1
