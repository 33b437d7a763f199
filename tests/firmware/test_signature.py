"""Only firmware signed by the manufacturer is accepted. L01."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from station.firmware.signature import (
    SignatureRefused,
    SigningCertificateRefused,
    check_signature,
    hash_file,
    load_signing_certificate,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
IMAGE = b"firmware" * 20_000
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_KEY = rsa.generate_private_key(65537, 2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class CertifiedKey:
    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def x509_name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def make_certificate(
    name: str,
    key: Key,
    issuer: CertifiedKey | None = None,
    *,
    ca: bool | None = False,
    usage: str | None = "digital_signature",
    days: tuple[int, int] = (-30, 30),
    critical: x509.ExtensionType | None = None,
    hashed: hashes.HashAlgorithm | None = None,
) -> CertifiedKey:
    """A certificate, self-signed without an issuer."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509_name(name))
        .issuer_name(issuer.certificate.subject if issuer else x509_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if usage is not None:
        builder = builder.add_extension(key_usage_of(usage), critical=True)
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    signer = issuer.key if issuer else key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashed or hashes.SHA256()
    return CertifiedKey(key, builder.sign(signer, algorithm))  # type: ignore[arg-type]


USAGES = """digital_signature content_commitment key_encipherment data_encipherment key_agreement
    key_cert_sign crl_sign encipher_only decipher_only"""


def key_usage_of(only: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name == only for name in USAGES.split()})


def encode_pem(raw: bytes) -> str:
    text = base64.b64encode(raw).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def make_root(key: Key, name: str = "root") -> CertifiedKey:
    return make_certificate(name, key, ca=True, usage="key_cert_sign", days=(-300, 300))


ROOT = make_root(CURVE_KEY)


@pytest.mark.parametrize("root_key", [RSA_KEY, CURVE_KEY])
@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_the_manufacturers_certificate_is_accepted_l01_fr_21(root_key: Key, key: Key) -> None:
    root = make_root(root_key)
    leaf = make_certificate("signer", key, root)
    other = make_root(ec.generate_private_key(ec.SECP256R1()), "another")
    assert load_signing_certificate(leaf.pem, [other.pem, root.pem], NOW) == leaf.certificate


@pytest.mark.parametrize("usage", ["digital_signature", None])
@pytest.mark.parametrize("ca", [False, None])
def test_extensions_may_be_absent_a00_fr_512(usage: str | None, ca: bool | None) -> None:
    leaf = make_certificate("signer", RSA_KEY, ROOT, usage=usage, ca=ca)
    assert load_signing_certificate(leaf.pem, [ROOT.pem], NOW)


def test_certificates_sent_with_the_signing_certificate_are_not_trusted() -> None:
    unknown = make_root(RSA_KEY, "unknown")
    leaf = make_certificate("signer", RSA_KEY, unknown)
    with pytest.raises(SigningCertificateRefused, match="not issued by"):
        load_signing_certificate(leaf.pem + unknown.pem, [ROOT.pem], NOW)


def test_a_root_of_the_same_name_is_not_the_root() -> None:
    leaf = make_certificate("signer", RSA_KEY, make_root(RSA_KEY))
    with pytest.raises(SigningCertificateRefused, match="not issued by"):
        load_signing_certificate(leaf.pem, [ROOT.pem], NOW)


def test_an_intermediate_is_not_accepted_l01() -> None:
    middle = make_certificate("middle", RSA_KEY, ROOT, ca=True, usage="key_cert_sign")
    leaf = make_certificate("signer", CURVE_KEY, middle)
    with pytest.raises(SigningCertificateRefused):
        load_signing_certificate(leaf.pem + middle.pem, [ROOT.pem], NOW)


def test_without_a_root_nothing_is_accepted() -> None:
    leaf = make_certificate("signer", RSA_KEY, ROOT)
    with pytest.raises(SigningCertificateRefused, match="no ManufacturerRootCertificate"):
        load_signing_certificate(leaf.pem, [], NOW)


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
        load_signing_certificate(leaf.pem, [ROOT.pem], NOW)


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
        load_signing_certificate(leaf.pem, [root.pem], NOW)


@pytest.mark.parametrize("days", [-30, 30])
def test_the_first_and_the_last_second_are_valid(days: int) -> None:
    leaf = make_certificate("signer", RSA_KEY, ROOT)
    assert load_signing_certificate(leaf.pem, [ROOT.pem], NOW + timedelta(days=days))


@given(st.text(max_size=200) | st.binary(max_size=200).map(encode_pem))
def test_any_other_text_is_refused_as_certificate(pem: str) -> None:
    with pytest.raises(SigningCertificateRefused) as refused:
        load_signing_certificate(pem, [ROOT.pem], NOW)
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
            loaded = load_signing_certificate(encode_pem(bytes(changed)), [ROOT.pem], NOW)
        except SigningCertificateRefused:
            refused += 1
        else:  # the number of unused bits in the signature is not signed
            assert loaded.tbs_certificate_bytes == LEAF.certificate.tbs_certificate_bytes
    assert refused >= len(raw) - 1


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
    certificate = make_certificate("signer", key, ROOT).certificate
    check_signature(certificate, hash_file(io.BytesIO(IMAGE)), sign_image(key, salt=salt))


@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_another_file_is_refused_l01_fr_03(key: Key) -> None:
    certificate = make_certificate("signer", key, ROOT).certificate
    for other in (IMAGE[:-1], IMAGE + b"\x00", b"", IMAGE[:70_000] + b"!" + IMAGE[70_001:]):
        with pytest.raises(SignatureRefused, match="does not match"):
            check_signature(certificate, hash_file(io.BytesIO(other)), sign_image(key))


@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_another_hash_or_another_key_is_refused_l01_fr_03(key: Key) -> None:
    digest = hash_file(io.BytesIO(IMAGE))
    certificate = make_certificate("signer", key, ROOT).certificate
    other = rsa.generate_private_key(65537, 2048) if key is RSA_KEY else ROOT_OTHER_KEY
    for signature in (sign_image(key, hashed=hashes.SHA512()), sign_image(other)):
        with pytest.raises(SignatureRefused):
            check_signature(certificate, digest, signature)


ROOT_OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def test_the_older_rsa_padding_is_refused_l01_fr_04() -> None:
    raw = RSA_KEY.sign(IMAGE, padding.PKCS1v15(), hashes.SHA256())
    certificate = make_certificate("signer", RSA_KEY, ROOT).certificate
    with pytest.raises(SignatureRefused):
        check_signature(certificate, hash_file(io.BytesIO(IMAGE)), base64.b64encode(raw).decode())


@given(st.text(max_size=100) | st.binary(max_size=300).map(lambda b: base64.b64encode(b).decode()))
def test_any_other_text_is_refused_as_signature(signature: str) -> None:
    with pytest.raises(SignatureRefused):
        check_signature(LEAF.certificate, bytes(32), signature)
