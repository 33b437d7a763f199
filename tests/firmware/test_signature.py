"""Is only the manufacturer's firmware taken for the manufacturer's?"""

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
    CertificateRefused,
    SignatureRefused,
    check_signature,
    digest_of,
    signing_certificate,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
IMAGE = b"firmware" * 20_000
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_KEY = rsa.generate_private_key(65537, 2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Signed:
    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def named(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def certified(
    name: str,
    key: Key,
    issuer: Signed | None = None,
    *,
    ca: bool | None = False,
    usage: str | None = "digital_signature",
    days: tuple[int, int] = (-30, 30),
    critical: x509.ExtensionType | None = None,
    hashed: hashes.HashAlgorithm | None = None,
) -> Signed:
    """A certificate, self-signed without an issuer."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(issuer.certificate.subject if issuer else named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if usage is not None:
        builder = builder.add_extension(usages(usage), critical=True)
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    signer = issuer.key if issuer else key
    ours = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashed or hashes.SHA256()
    return Signed(key, builder.sign(signer, ours))  # type: ignore[arg-type]


USAGES = """digital_signature content_commitment key_encipherment data_encipherment key_agreement
    key_cert_sign crl_sign encipher_only decipher_only"""


def usages(only: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name == only for name in USAGES.split()})


def in_pem(raw: bytes) -> str:
    text = base64.b64encode(raw).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def root_of(key: Key, name: str = "root") -> Signed:
    return certified(name, key, ca=True, usage="key_cert_sign", days=(-300, 300))


ROOT = root_of(CURVE_KEY)


@pytest.mark.parametrize("root_key", [RSA_KEY, CURVE_KEY])
@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_the_manufacturers_certificate_is_accepted_l01_fr_21(root_key: Key, key: Key) -> None:
    root = root_of(root_key)
    leaf = certified("signer", key, root)
    other = root_of(ec.generate_private_key(ec.SECP256R1()), "another")
    assert signing_certificate(leaf.pem, [other.pem, root.pem], NOW) == leaf.certificate


@pytest.mark.parametrize("usage", ["digital_signature", None])
@pytest.mark.parametrize("ca", [False, None])
def test_extensions_may_be_absent_a00_fr_512(usage: str | None, ca: bool | None) -> None:
    leaf = certified("signer", RSA_KEY, ROOT, usage=usage, ca=ca)
    assert signing_certificate(leaf.pem, [ROOT.pem], NOW)


def test_what_is_sent_along_with_the_certificate_does_not_count() -> None:
    stranger = root_of(RSA_KEY, "stranger")
    leaf = certified("signer", RSA_KEY, stranger)
    with pytest.raises(CertificateRefused, match="not issued by"):
        signing_certificate(leaf.pem + stranger.pem, [ROOT.pem], NOW)


def test_a_root_of_the_same_name_is_not_the_root() -> None:
    leaf = certified("signer", RSA_KEY, root_of(RSA_KEY))
    with pytest.raises(CertificateRefused, match="not issued by"):
        signing_certificate(leaf.pem, [ROOT.pem], NOW)


def test_an_intermediate_is_not_accepted_l01() -> None:
    middle = certified("middle", RSA_KEY, ROOT, ca=True, usage="key_cert_sign")
    leaf = certified("signer", CURVE_KEY, middle)
    with pytest.raises(CertificateRefused):
        signing_certificate(leaf.pem + middle.pem, [ROOT.pem], NOW)


def test_without_a_root_nothing_is_accepted() -> None:
    leaf = certified("signer", RSA_KEY, ROOT)
    with pytest.raises(CertificateRefused, match="no ManufacturerRootCertificate"):
        signing_certificate(leaf.pem, [], NOW)


@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        (certified("old", RSA_KEY, ROOT, days=(-30, -1)), "valid from"),
        (certified("early", RSA_KEY, ROOT, days=(1, 30)), "valid from"),
        (certified("authority", RSA_KEY, ROOT, ca=True), "an authority's"),
        (certified("encrypts", RSA_KEY, ROOT, usage="key_encipherment"), "may not sign"),
        (certified("short", rsa.generate_private_key(65537, 1024), ROOT), "1024 bits"),
        (certified("small", ec.generate_private_key(ec.SECP192R1()), ROOT), "192 bits"),
        (certified("edwards", ed25519.Ed25519PrivateKey.generate(), ROOT), "0 bits"),
        (certified("hash", RSA_KEY, ROOT, hashed=hashes.SHA224()), "sha224"),
        (
            certified("odd", RSA_KEY, ROOT, critical=x509.UnrecognizedExtension(
                x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"
            )),
            "unknown condition 1.2.3.4",
        ),
        (ROOT, "an authority's"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_certificate_that_may_not_sign_firmware_is_refused_l01_fr_22(
    leaf: Signed, why: str
) -> None:
    with pytest.raises(CertificateRefused, match=why):
        signing_certificate(leaf.pem, [ROOT.pem], NOW)


@pytest.mark.parametrize(
    "root",
    [
        certified("root", CURVE_KEY, ca=False, usage="key_cert_sign"),
        certified("root", CURVE_KEY, ca=None, usage="key_cert_sign"),
        certified("root", CURVE_KEY, ca=True, usage="crl_sign"),
        certified("root", CURVE_KEY, ca=True, usage="key_cert_sign", days=(-30, -1)),
    ],
)
def test_a_root_that_is_no_authority_vouches_for_nobody(root: Signed) -> None:
    leaf = certified("signer", RSA_KEY, root)
    with pytest.raises(CertificateRefused):
        signing_certificate(leaf.pem, [root.pem], NOW)


@pytest.mark.parametrize("days", [-30, 30])
def test_the_first_and_the_last_second_are_valid(days: int) -> None:
    leaf = certified("signer", RSA_KEY, ROOT)
    assert signing_certificate(leaf.pem, [ROOT.pem], NOW + timedelta(days=days))


@given(st.text(max_size=200) | st.binary(max_size=200).map(in_pem))
def test_whatever_comes_as_a_certificate_is_refused(pem: str) -> None:
    with pytest.raises(CertificateRefused) as refused:
        signing_certificate(pem, [ROOT.pem], NOW)
    assert str(refused.value).isprintable()


LEAF = certified("signer", CURVE_KEY, ROOT)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("flipped", [0x01, 0x80, 0xFF])
def test_nothing_in_a_certificate_can_be_changed(flipped: int) -> None:
    raw = LEAF.certificate.public_bytes(serialization.Encoding.DER)
    refused = 0
    for where in range(len(raw)):
        changed = bytearray(raw)
        changed[where] ^= flipped
        try:
            found = signing_certificate(in_pem(bytes(changed)), [ROOT.pem], NOW)
        except CertificateRefused:
            refused += 1
        else:  # how many bits of the signature's last byte are unused is not signed
            assert found.tbs_certificate_bytes == LEAF.certificate.tbs_certificate_bytes
    assert refused >= len(raw) - 1


def signed(key: Key, *, salt: int = 32, hashed: hashes.HashAlgorithm | None = None) -> str:
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
    certificate = certified("signer", key, ROOT).certificate
    check_signature(certificate, digest_of(io.BytesIO(IMAGE)), signed(key, salt=salt))


@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_another_file_is_refused_l01_fr_03(key: Key) -> None:
    certificate = certified("signer", key, ROOT).certificate
    for other in (IMAGE[:-1], IMAGE + b"\x00", b"", IMAGE[:70_000] + b"!" + IMAGE[70_001:]):
        with pytest.raises(SignatureRefused, match="does not match"):
            check_signature(certificate, digest_of(io.BytesIO(other)), signed(key))


@pytest.mark.parametrize("key", [RSA_KEY, CURVE_KEY])
def test_another_hash_or_another_key_is_refused_l01_fr_03(key: Key) -> None:
    digest = digest_of(io.BytesIO(IMAGE))
    certificate = certified("signer", key, ROOT).certificate
    other = rsa.generate_private_key(65537, 2048) if key is RSA_KEY else ROOT_OTHER_KEY
    for signature in (signed(key, hashed=hashes.SHA512()), signed(other)):
        with pytest.raises(SignatureRefused):
            check_signature(certificate, digest, signature)


ROOT_OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def test_the_older_rsa_padding_is_refused_l01_fr_04() -> None:
    raw = RSA_KEY.sign(IMAGE, padding.PKCS1v15(), hashes.SHA256())
    certificate = certified("signer", RSA_KEY, ROOT).certificate
    with pytest.raises(SignatureRefused):
        check_signature(certificate, digest_of(io.BytesIO(IMAGE)), base64.b64encode(raw).decode())


@given(st.text(max_size=100) | st.binary(max_size=300).map(lambda b: base64.b64encode(b).decode()))
def test_whatever_comes_as_a_signature_is_refused(signature: str) -> None:
    with pytest.raises(SignatureRefused):
        check_signature(LEAF.certificate, bytes(32), signature)
