"""Certificates made by the compliance tool, their OCPP hash data, and TLS contexts.

All keys are ECDSA: the cipher suites of the certified product (C-41) require them.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "127.0.0.1"
DAY = timedelta(days=1)
SUITES = {  # name in the certificate: name in OpenSSL
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
}


@dataclass(frozen=True)
class CertifiedKey:
    """A certificate, its private key, and the issuer (None: self-signed)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuer: CertifiedKey | None = None

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def sign_data(self, data: bytes) -> str:
        """The signature over data, ECDSA with SHA-256, in base64."""
        signature = self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        return base64.b64encode(signature).decode()

    def hash_data(self) -> dict[str, str]:
        """CertificateHashDataType, with SHA-256. Part 2 §2.6."""
        issuer = self.issuer or self
        return {
            "hashAlgorithm": "SHA256",
            "issuerNameHash": _sha256_hex(self.certificate.issuer.public_bytes()),
            "issuerKeyHash": _sha256_hex(_key_bits(issuer.certificate)),
            "serialNumber": f"{self.certificate.serial_number:x}",
        }


def same_hash_data(first: dict[str, str], second: dict[str, str]) -> bool:
    """Whether both hash data identify one certificate; case and leading zeros are ignored."""
    keys = ("hashAlgorithm", "issuerNameHash", "issuerKeyHash")
    return all(first[key].casefold() == second[key].casefold() for key in keys) and int(
        first["serialNumber"], 16
    ) == int(second["serialNumber"], 16)


def make_root(name: str, *, signed_by: CertifiedKey | None = None) -> CertifiedKey:
    """A certificate authority: self-signed, or signed by `signed_by`."""
    return _issue_certificate(name, signed_by, authority=True)


def make_expired_root(name: str) -> CertifiedKey:
    """A root that is no longer valid."""
    return _issue_certificate(name, None, authority=True, begin=-800 * DAY, end=-DAY)


def make_server_certificate(
    authority: CertifiedKey,
    *,
    name: str = HOST,
    begin: timedelta = -DAY,
    end: timedelta = 365 * DAY,
    host: str | None = HOST,
) -> CertifiedKey:
    """A server's certificate for a common name and, unless None, the address `host`."""
    return _issue_certificate(name, authority, begin=begin, end=end, host=host)


def make_station_certificate(authority: CertifiedKey, serial_number: str) -> CertifiedKey:
    """A ChargingStationCertificate with a key pair made here, as at the factory."""
    return _issue_certificate(serial_number, authority)


def sign_csr(
    authority: CertifiedKey, csr_pem: str, *, begin: timedelta = -DAY, end: timedelta = 365 * DAY
) -> CertifiedKey:
    """The certificate for a CSR of the station; its `key` is that of the authority."""
    csr = x509.load_pem_x509_csr(csr_pem.encode())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(False), critical=True)
    )
    return CertifiedKey(builder.sign(authority.key, hashes.SHA256()), authority.key, authority)


def make_signing_certificate(
    authority: CertifiedKey, name: str = "Firmware signing"
) -> CertifiedKey:
    """A certificate for signing firmware."""
    return _issue_certificate(name, authority)


def tls_context(
    identity: CertifiedKey,
    *,
    suites: tuple[str, ...] = tuple(SUITES.values()),
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    clients: CertifiedKey | None = None,
) -> ssl.SSLContext:
    """The CSMS's TLS context. Not TLS 1.3, which does not have these cipher suites.

    Args:
        clients: root of the certificates of stations; None: none is required.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # one case tests old versions
        context.minimum_version = version
        context.maximum_version = version
    context.set_ciphers(":".join(suites))
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(identity.key_pem + identity.pem)
        file.flush()
        context.load_cert_chain(file.name)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem)
    return context


def old_tls_context(identity: CertifiedKey) -> ssl.SSLContext:
    """TLS 1.1, which no station may accept. A00.FR.314."""
    return tls_context(identity, suites=("ALL:@SECLEVEL=0",), version=ssl.TLSVersion.TLSv1_1)


def _issue_certificate(
    name: str,
    issuer: CertifiedKey | None,
    *,
    authority: bool = False,
    begin: timedelta = -DAY,
    end: timedelta = 3650 * DAY,
    host: str | None = None,
) -> CertifiedKey:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _x509_name(name)
    signer = issuer.key if issuer else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_key_usage(authority), critical=True)
    )
    if host is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(host))])
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(names, critical=False).add_extension(use, critical=False)
    return CertifiedKey(builder.sign(signer, hashes.SHA256()), key, issuer)


def _x509_name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test System"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _sha256_hex(data: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize().hex()


def _key_bits(certificate: x509.Certificate) -> bytes:
    """The public key's bit string without tag and length, as RFC 6960 hashes it."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
