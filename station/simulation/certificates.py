"""Certificates in a simulation: the station's secret store, and the CA that signs its CSRs.

Keys are derived from numbers and signatures are deterministic (RFC 6979), so that a seed gives the
same journal in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from journal.observations import CertificatePreset
from station.core.blocks.m_certificates import CSMS_ROOT, STATION_CERTIFICATE
from station.runtime.secrets.key_pairs import KeyPair, describe_key
from station.simulation.event_queue import START_TIME

SERIAL_NUMBER: Final = "SIM-0001"  # commonName of the station's certificates
ORGANIZATION: Final = "Simulation"
ROOT_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 90
ISSUED_BEFORE: Final = timedelta(days=1)  # a certificate is valid since then


class SecretsDouble:
    """The secret store of the station's disk; it outlives the program."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}  # by reference
        self._stored_count = 0

    def store_secret(self, secret: str) -> str:
        self._stored_count += 1
        reference = f"<secret {self._stored_count:032x}>"
        self.secrets[reference] = secret
        return reference

    def delete_secret(self, reference: str) -> None:
        self.secrets.pop(reference, None)

    def delete_unreferenced(self, in_use: Collection[str]) -> None:
        """As the station does at its start."""
        for reference in self.secrets.keys() - set(in_use):
            del self.secrets[reference]


class CertificateWorld:
    """Everything about certificates outside the program.

    Attributes:
        secrets: private keys of the station.
        refused: public keys, as in `KeyPair`, whose certificates the CSMS does not accept.
        signed: public keys that the CA has signed, oldest first.
    """

    def __init__(self) -> None:
        self.secrets = SecretsDouble()
        self.refused: set[str] = set()
        self.signed: list[str] = []
        self._keys_count = 0
        self._serial_numbers = 1
        self._ca_key = _derive_key("ca")
        self._ca_name = _name("Simulated CSMS root")
        self._root = self._sign_root()

    def create_key_pair(self, key_type: str, common_name: str, organization: str) -> KeyPair:
        """As `station.runtime.secrets.key_pairs.create_key_pair`, always ECDSA-P256."""
        self._keys_count += 1
        key = _derive_key(f"station {self._keys_count}")
        return describe_key(key, common_name, organization, deterministic=True)

    def presets(self) -> list[CertificatePreset]:
        """The root and the certificate that the station is delivered with."""
        pair = self.create_key_pair("ECDSA-P256", SERIAL_NUMBER, ORGANIZATION)
        certificate = self.sign_csr(pair.csr, START_TIME)
        reference = self.secrets.store_secret(pair.private_key)
        root = self._root.public_bytes(Encoding.PEM).decode()
        return [
            CertificatePreset(CSMS_ROOT, root),
            CertificatePreset(STATION_CERTIFICATE, certificate, reference),
        ]

    def sign_csr(self, csr: str, valid_from: datetime) -> str:
        """The certificate for a CSR, PEM; valid since `ISSUED_BEFORE` that time."""
        request = x509.load_pem_x509_csr(csr.encode())
        public_key = request.public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        builder = (
            self._builder(request.subject, public_key, valid_from, CERTIFICATE_DAYS)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_key_usage(key_cert_sign=False), critical=True)
        )
        certificate = self._finish(builder)
        self.signed.append(_public_key_sha256(certificate))
        return certificate.public_bytes(Encoding.PEM).decode()

    def accepts(self, certificate_pem: str) -> bool:
        """Whether the CSMS accepts a connection with this certificate of the station."""
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        return _public_key_sha256(certificate) not in self.refused

    def refuse_newest(self) -> Callable[[], None]:
        """Refuse the newest certificate, as a CSMS that does not know it yet; returns the end."""
        newest = self.signed[-1]
        self.refused.add(newest)
        return lambda: self.refused.discard(newest)

    def _sign_root(self) -> x509.Certificate:
        builder = (
            self._builder(self._ca_name, self._ca_key.public_key(), START_TIME, ROOT_DAYS)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(_key_usage(key_cert_sign=True), critical=True)
        )
        return self._finish(builder)

    def _builder(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        valid_from: datetime,
        days: int,
    ) -> x509.CertificateBuilder:
        self._serial_numbers += 1
        begins_at = valid_from.replace(microsecond=0) - ISSUED_BEFORE
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._ca_name)
            .public_key(public_key)
            .serial_number(self._serial_numbers)
            .not_valid_before(begins_at)
            .not_valid_after(begins_at + timedelta(days=days))
        )

    def _finish(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._ca_key, SHA256(), ecdsa_deterministic=True)


def _derive_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Always the same key for a name; half of the digest's range is below the group's order."""
    number = int.from_bytes(sha256(f"simulated key of {name}".encode()).digest()) >> 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not key_cert_sign,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _public_key_sha256(certificate: x509.Certificate) -> str:
    public_key = certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(public_key).hexdigest()
