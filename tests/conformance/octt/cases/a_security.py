"""Block A: passwords and TLS."""

from __future__ import annotations

import ssl
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conformance.octt import states
from tests.conformance.octt.cases.b_provisioning import migrate_to, network_profile, set_variable
from tests.conformance.octt.certificates import (
    DAY,
    SUITES,
    CertifiedKey,
    make_root,
    make_server_certificate,
    old_tls_context,
    sign_csr,
    tls_context,
)
from tests.conformance.octt.fresh import (
    needs_fresh_station,
    with_client_certificate,
    without_tls,
)
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import check_fields, one_of, require
from tests.e2e.harness import IDENTITY, PASSWORD

COMM = "OCPPCommCtrlr"
NEW_PASSWORD = "another-horse-battery-staple"
TOO_SHORT = "fifteen-letters"
RECONNECT_S = 30.0
SIGNING_WAIT_S = 3  # CertSigningWaitMinimum
RETRY_WAIT_S = 4.0  # the bench retries after 1 s and doubles once


def tc_a_01_cs(tester: Tester) -> None:
    """The bench's CSMS accepts only the header Basic <identity>:<password>."""
    states.reset_and_boot(tester)
    _check_password(tester, PASSWORD)


def _check_password(tester: Tester, password: str) -> None:
    handshake = tester.csms.handshakes[-1]
    require("step 1", handshake.accepted, "the Authorization header must carry the password")
    require(
        "step 1", handshake.user == handshake.identity == IDENTITY, f"the user is {handshake.user}"
    )
    require("step 1", 16 <= len(password) <= 40, "the password has 16 to 40 characters")


def _wait_for_reconnect(tester: Tester, after: int) -> None:
    """The station reconnects, by itself or because the CSMS closes the connection."""
    try:
        tester.csms.record.wait_until(
            lambda: len(tester.csms.handshakes) > after, 5, "new connection"
        )
    except TimeoutError:
        tester.csms.close_connection()
    tester.wait_until(lambda: len(tester.csms.handshakes) > after, "step 3", "new connection")
    tester.csms.wait_connected(RECONNECT_S)


@needs_fresh_station
def tc_a_09_cs(tester: Tester) -> None:
    before = len(tester.csms.handshakes)
    assert tester.csms.passwords is not None  # set by the bench
    tester.csms.passwords[IDENTITY] = NEW_PASSWORD
    result = set_variable(tester, "step 1", "BasicAuthPassword", NEW_PASSWORD, "SecurityCtrlr")
    check_fields("step 2", result, {"attributeStatus": one_of("Accepted", "RebootRequired")})
    if result["attributeStatus"] == "RebootRequired":
        states.reset_and_boot(tester)
    else:
        _wait_for_reconnect(tester, before)
    require("step 4", tester.csms.handshakes[-1].accepted, "the new password must be used")


@needs_fresh_station
def tc_a_10_cs(tester: Tester) -> None:
    before = len(tester.csms.handshakes)
    result = set_variable(tester, "step 1", "BasicAuthPassword", TOO_SHORT, "SecurityCtrlr")
    check_fields("step 2", result, {"attributeStatus": "Rejected"})
    tester.csms.close_connection()
    tester.csms.wait_disconnected(RECONNECT_S)
    tester.csms.wait_connected(RECONNECT_S)
    require("step 3", len(tester.csms.handshakes) > before, "the station must connect again")
    require("step 4", tester.csms.handshakes[-1].accepted, "the old password must be used")
    states.reset_and_boot(tester)


def tc_a_04_cs(tester: Tester) -> None:
    for name, suite in SUITES.items():
        if name not in tester.profile.cipher_suites:
            continue
        states.reset_station(tester)
        _show_certificate(tester, tls_context(tester.bench.authorities.csms, suites=(suite,)))
        tester.expect_boot_notification(f"step 7 with {name}")
        tester.expect_statuses("step 9")
    _show_certificate(tester, tls_context(tester.bench.authorities.csms))
    tester.csms.wait_connected(RECONNECT_S)


@needs_fresh_station
def tc_a_05_cs(tester: Tester) -> None:
    tester.configure_variable(COMM, "NetworkProfileConnectionAttempts", 3)
    tester.configure_variable(
        COMM, "NetworkConfigurationPriority", tester.read_value(COMM, "ActiveNetworkProfile")
    )
    tester.configure_variable("SecurityCtrlr", "AllowCSMSTLSWildcards", value=False)
    valid = tester.bench.authorities.csms
    tester.csms.abort_connection()
    tester.csms.wait_disconnected(RECONNECT_S)
    tester.csms.wait_connected(RECONNECT_S)
    for description, invalid in _invalid_certificates(tester.bench.authorities.csms_root).items():
        before = len(tester.csms.handshakes)
        tester.discard_received()
        _show_certificate(tester, tls_context(invalid))
        tester.wait(RETRY_WAIT_S)
        require(
            "step 7",
            len(tester.csms.handshakes) == before,
            f"{description}: no handshake may succeed",
        )
        _show_certificate(tester, tls_context(valid))
        tester.csms.wait_connected(RECONNECT_S)
        tester.expect_security_event(f"step 10 after {description}", "InvalidCsmsCertificate")


def _invalid_certificates(trusted: CertifiedKey) -> dict[str, CertifiedKey]:
    """Errata 6.2.3."""
    return {
        "expired": make_server_certificate(trusted, begin=-30 * DAY, end=-DAY),
        "not valid yet": make_server_certificate(trusted, begin=30 * DAY, end=timedelta(days=60)),
        "of another root": make_server_certificate(make_root("Unknown root")),
        "of another host": make_server_certificate(trusted, name="192.0.2.1", host="192.0.2.1"),
        "with a wildcard": make_server_certificate(trusted, name="*.0.0.1", host=None),
    }


@needs_fresh_station
def tc_a_06_cs(tester: Tester) -> None:
    tester.configure_variable(COMM, "NetworkProfileConnectionAttempts", 1)
    before = len(tester.csms.handshakes)
    states.reset_station(tester)
    _show_certificate(tester, old_tls_context(tester.bench.authorities.csms))
    tester.wait(RETRY_WAIT_S)
    require("step 3", len(tester.csms.handshakes) == before, "TLS 1.1 may not be accepted")
    _show_certificate(tester, tls_context(tester.bench.authorities.csms))
    tester.expect_boot_notification("step 10")
    tester.expect_statuses("step 12")
    tester.expect_security_event("step 14", *states.STARTUP)


@without_tls
def tc_a_19_cs(tester: Tester) -> None:
    """From profile 1 to 2, and not back. Errata 6.2.6, 6.2.7, 6.2.17, 6.2.18."""
    states.install_certificate(tester, "CSMSRootCertificate", tester.bench.authorities.csms_root)
    unsecured_csms = tester.csms
    with tester.bench.make_csms(tester.bench.authorities.csms) as other:
        migrate_to(tester, other.url)
        tester.switch_to(other)
        states.reset_and_boot(tester, reset=False)
        profile = tester.read_value("SecurityCtrlr", "SecurityProfile")
        require("step 12", profile == "2", f"SecurityProfile must be 2, is {profile}")
        slots = tester.read_value(COMM, "NetworkConfigurationPriority").split(",")
        require("step 14", slots == ["2"], f"no slot of a lower profile may be left, are {slots}")
        before = len(unsecured_csms.handshakes)
        other.refuse_with = tester.OFFLINE_STATUS
        other.close_connection()
        tester.wait(RETRY_WAIT_S)
        require(
            "step 16", len(unsecured_csms.handshakes) == before, "profile 1 may not be used again"
        )


# --- Advanced Security ---------------------------------------------------------------------------


@with_client_certificate
def tc_a_07_cs(tester: Tester) -> None:
    for name, suite in SUITES.items():
        states.reset_station(tester)
        identity = tester.bench.authorities.csms
        _show_certificate(tester, tester.bench.csms_context(identity, suites=(suite,)))
        tester.expect_boot_notification(f"step 7 with {name}")
        tester.expect_statuses("step 9")
        _check_station_certificate(f"step 3 with {name}", tester)


def _check_station_certificate(step: str, tester: Tester) -> None:
    certificate = x509.load_der_x509_certificate(tester.csms.handshakes[-1].client_certificate)
    key = certificate.public_key()
    least = 224 if isinstance(key, ec.EllipticCurvePublicKey) else 2048
    require(step, getattr(key, "key_size", 0) >= least, f"the key must have {least} bits")
    require(step, certificate.serial_number > 0, "the certificate must have a serial number")
    [name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    serial_number = tester.read_value("ChargingStation", "SerialNumber")
    require(step, name.value == serial_number, f"commonName must be {serial_number}")


@with_client_certificate
def tc_a_11_cs(tester: Tester) -> None:
    states.renew_station_certificate(tester)


@with_client_certificate
def tc_a_14_cs(tester: Tester) -> None:
    csr = states.request_csr(tester)
    for description, certificate in {
        "of another root": sign_csr(make_root("Unknown root"), csr),
        "expired": sign_csr(tester.bench.authorities.csms_root, csr, begin=-30 * DAY, end=-DAY),
        "not valid yet": sign_csr(tester.bench.authorities.csms_root, csr, begin=DAY),
        "for another key": tester.bench.authorities.csms,
    }.items():
        step = f"step 5, {description}"
        states.send_certificate(tester, step, certificate.pem, "Rejected")
        tester.expect_security_event("step 7", "InvalidChargingStationCertificate")


@with_client_certificate
def tc_a_15_cs(tester: Tester) -> None:
    tester.csms.responses.overrides["SignCertificate"] = lambda request: {"status": "Rejected"}
    request = {"requestedMessage": "SignChargingStationCertificate"}
    tester.send_call("step 1", "TriggerMessage", request, {"status": "Accepted"})
    tester.expect_triggered_call("step 3", "SignCertificate", {})
    tester.expect_no_call("after step 4", "SignCertificate")


@with_client_certificate
def tc_a_23_cs(tester: Tester) -> None:
    """The CSMS answers each SignCertificateRequest late with a certificate. Erratum 6.2.5."""
    tester.configure_variable("SecurityCtrlr", "CertSigningWaitMinimum", SIGNING_WAIT_S)
    tester.configure_variable("SecurityCtrlr", "CertSigningRepeatTimes", 1)
    csrs = [states.request_csr(tester)]
    for wait_s in (SIGNING_WAIT_S, 2 * SIGNING_WAIT_S):
        tester.expect_no_call("step 5", "SignCertificate", wait_s=wait_s - 0.5)
        sent = tester.expect_call(
            "step 6", "SignCertificate", timeout_s=tester.settings.deviation_s
        )
        states.check_csr("step 6", sent["csr"])
        csrs.append(sent["csr"])
    tester.expect_no_call("after step 10", "SignCertificate", wait_s=4 * SIGNING_WAIT_S + 1)
    statuses = []
    for csr in csrs:
        certificate = sign_csr(tester.bench.authorities.csms_root, csr)
        response = states.send_certificate(
            tester, "step 11", certificate.pem, one_of("Accepted", "Rejected")
        )
        statuses.append(response["status"])
        tester.wait(RETRY_WAIT_S)  # the station may reconnect
        tester.csms.wait_connected(RECONNECT_S)
    require("step 16", "Accepted" in statuses, "at least one certificate must be accepted")


def tc_a_22_cs(tester: Tester) -> None:
    slot = 2 if tester.read_value(COMM, "ActiveNetworkProfile") == "1" else 1
    request = network_profile(tester.csms.url, slot, security_profile=1)
    tester.send_call("step 1", "SetNetworkProfile", request, {"status": "Rejected"})


def _show_certificate(tester: Tester, context: ssl.SSLContext) -> None:
    tester.bench.csms.show_certificate(context)
