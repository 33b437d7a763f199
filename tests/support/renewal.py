"""Renewal of the station's certificates in the test DSL: key pairs, and a CA that signs CSRs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from journal.events import Decision
from journal.observations import CertificatePreset, CsmsConfigured, KeyPairCreated, LinkOpened
from journal.projections.certificates import CertificateInstalled
from station.runtime.secrets.key_pairs import KeyPair, create_key_pair
from tests.support.authorities import CertifiedKey, make_authority
from tests.support.story import (
    BOOTED,
    IDLE,
    NOON,
    CsmsBehavior,
    Station,
    Step,
    accept_everything,
    called,
    given,
    variable_preset,
)

SERIAL_NUMBER = "EVS-2026-0042"
USE = "ChargingStationCertificate"
CSMS_ROOT = make_authority("CSMS root")
FACTORY_KEY = ec.generate_private_key(ec.SECP256R1())
URL = "wss://csms.example/ocpp"
SERIAL_NUMBER_SET = variable_preset("ChargingStation.SerialNumber", SERIAL_NUMBER)
ROOT_INSTALLED = CertificatePreset("CSMSRootCertificate", CSMS_ROOT.pem)
KEY_PAIR = create_key_pair("ECDSA-P256", SERIAL_NUMBER, "Test")  # for tests that need one only


def opened_link(sha256: str = "") -> LinkOpened:
    """A link with security profile 3."""
    return LinkOpened(1, URL, 3, sha256)


def sign_csr(
    csr: str,
    issuer: CertifiedKey = CSMS_ROOT,
    *,
    valid_from: datetime | None = None,
    days: float = 90,
    **changes: Any,
) -> str:
    """The certificate that a CA makes of a CSR, PEM.

    Args:
        valid_from: by default a day ago.
        changes: `name`, `is_ca`, `digital_signature`, `extension`, of a certificate that is wrong.
    """
    request = x509.load_pem_x509_csr(csr.encode())
    assert request.is_signature_valid
    begins_at = valid_from or NOON - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(changes.get("name", request.subject))
        .issuer_name(issuer.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + timedelta(days=days))
        .add_extension(x509.BasicConstraints(changes.get("is_ca", False), None), critical=True)
        .add_extension(_key_usage(changes.get("digital_signature", True)), critical=True)
    )
    if "extension" in changes:
        builder = builder.add_extension(changes["extension"], critical=True)
    certificate = builder.sign(issuer.key, hashes.SHA256())
    return CertifiedKey(certificate, issuer.key, issuer).pem


def _key_usage(digital_signature: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def create_ordered_key_pair(station: Station) -> list[Decision]:
    """The job creates the key pair that is ordered, as `KeyPairJob` does."""
    [request] = station.desired.key_pair_orders
    order = request.order
    pair = create_key_pair(order.key_type, order.common_name, order.organization)
    return station.when(key_pair_created(request.order_seq, pair))


def key_pair_created(order_seq: int, pair: KeyPair = KEY_PAIR) -> KeyPairCreated:
    return KeyPairCreated(order_seq, pair.csr, pair.public_key_sha256, f"<secret {order_seq:032x}>")


def certificate_signed(chain: str, use: str = USE) -> Step:
    return called("CertificateSigned", certificateChain=chain, certificateType=use)


def trigger_signing(message: str = "SignChargingStationCertificate") -> Step:
    return called("TriggerMessage", requestedMessage=message)


def factory_certificate(valid_from: datetime, days: float = 90) -> CertificatePreset:
    """The certificate that the station was delivered with."""
    pair = create_key_pair("ECDSA-P256", SERIAL_NUMBER, "Factory")
    pem = sign_csr(pair.csr, valid_from=valid_from, days=days)
    return CertificatePreset(USE, pem, f"<secret {0:032x}>")


def station_with_profile_3(
    *steps: Step,
    valid_from: datetime = NOON - timedelta(days=10),
    days: float = 365,
    presets: tuple[Step, ...] = (),
    profile_name: str = "development",
    csms: CsmsBehavior = accept_everything,
) -> Station:
    """Online with security profile 3 and the certificate of the factory, valid for `days`."""
    return given(
        SERIAL_NUMBER_SET,
        *presets,
        ROOT_INSTALLED,
        factory_certificate(valid_from, days),
        CsmsConfigured(URL, 3),
        BOOTED,
        IDLE,
        open_link_with_newest,
        *steps,
        profile_name=profile_name,
        csms=csms,
    )


def open_link_with_newest(station: Station) -> list[Decision]:
    """The link opens with the certificate that is tried first."""
    return station.when(opened_link(station.desired.link.client_certificates[0].sha256))


def open_link_with_oldest(station: Station) -> list[Decision]:
    """The link opens with the certificate that is tried last."""
    return station.when(opened_link(station.desired.link.client_certificates[-1].sha256))


def own_certificates(station: Station) -> tuple[CertificateInstalled, ...]:
    """The ChargingStationCertificates in the store, oldest first."""
    return station.state.certificates.for_uses(USE)
