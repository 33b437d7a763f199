"""Block A: passwords and TLS."""

from __future__ import annotations

import ssl
from datetime import timedelta

from tests.conformance.octt import states
from tests.conformance.octt.cases.b_provisioning import migrate_to, network_profile, set_variable
from tests.conformance.octt.certificates import (
    DAY,
    SUITES,
    CertifiedKey,
    make_root,
    make_server_certificate,
    old_tls_context,
    tls_context,
)
from tests.conformance.octt.fresh import needs_fresh_station, without_tls
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import check_fields, one_of, require
from tests.e2e.harness import IDENTITY, PASSWORD

COMM = "OCPPCommCtrlr"
NEW_PASSWORD = "another-horse-battery-staple"
TOO_SHORT = "fifteen-letters"
RECONNECT_S = 30.0
RETRY_WAIT_S = 4.0  # the bench retries after 1 s and doubles once


def tc_a_01_cs(t: Tester) -> None:
    """The bench's CSMS accepts only the header Basic <identity>:<password>."""
    states.reset_and_boot(t)
    _check_password(t, PASSWORD)


def _check_password(t: Tester, password: str) -> None:
    handshake = t.csms.handshakes[-1]
    require("step 1", handshake.accepted, "the Authorization header must carry the password")
    require(
        "step 1", handshake.user == handshake.identity == IDENTITY, f"the user is {handshake.user}"
    )
    require("step 1", 16 <= len(password) <= 40, "the password has 16 to 40 characters")


def _wait_for_reconnect(t: Tester, after: int) -> None:
    """The station reconnects, by itself or because the CSMS closes the connection."""
    try:
        t.csms.record.wait_until(lambda: len(t.csms.handshakes) > after, 5, "new connection")
    except TimeoutError:
        t.csms.close_connection()
    t.wait_until(lambda: len(t.csms.handshakes) > after, "step 3", "new connection")
    t.csms.wait_connected(RECONNECT_S)


@needs_fresh_station
def tc_a_09_cs(t: Tester) -> None:
    before = len(t.csms.handshakes)
    assert t.csms.passwords is not None  # set by the bench
    t.csms.passwords[IDENTITY] = NEW_PASSWORD
    result = set_variable(t, "step 1", "BasicAuthPassword", NEW_PASSWORD, "SecurityCtrlr")
    check_fields("step 2", result, {"attributeStatus": one_of("Accepted", "RebootRequired")})
    if result["attributeStatus"] == "RebootRequired":
        states.reset_and_boot(t)
    else:
        _wait_for_reconnect(t, before)
    require("step 4", t.csms.handshakes[-1].accepted, "the new password must be used")


@needs_fresh_station
def tc_a_10_cs(t: Tester) -> None:
    before = len(t.csms.handshakes)
    result = set_variable(t, "step 1", "BasicAuthPassword", TOO_SHORT, "SecurityCtrlr")
    check_fields("step 2", result, {"attributeStatus": "Rejected"})
    t.csms.close_connection()
    t.csms.wait_disconnected(RECONNECT_S)
    t.csms.wait_connected(RECONNECT_S)
    require("step 3", len(t.csms.handshakes) > before, "the station must connect again")
    require("step 4", t.csms.handshakes[-1].accepted, "the old password must be used")
    states.reset_and_boot(t)


def tc_a_04_cs(t: Tester) -> None:
    for name, suite in SUITES.items():
        if name not in t.profile.cipher_suites:
            continue
        states.reset_station(t)
        _show_certificate(t, tls_context(t.bench.authorities.csms, suites=(suite,)))
        t.expect_boot_notification(f"step 7 with {name}")
        t.expect_statuses("step 9")
    _show_certificate(t, tls_context(t.bench.authorities.csms))
    t.csms.wait_connected(RECONNECT_S)


@needs_fresh_station
def tc_a_05_cs(t: Tester) -> None:
    t.configure_variable(COMM, "NetworkProfileConnectionAttempts", 3)
    t.configure_variable(
        COMM, "NetworkConfigurationPriority", t.read_value(COMM, "ActiveNetworkProfile")
    )
    t.configure_variable("SecurityCtrlr", "AllowCSMSTLSWildcards", value=False)
    valid = t.bench.authorities.csms
    t.csms.abort_connection()
    t.csms.wait_disconnected(RECONNECT_S)
    t.csms.wait_connected(RECONNECT_S)
    for description, invalid in _invalid_certificates(t.bench.authorities.csms_root).items():
        before = len(t.csms.handshakes)
        t.discard_received()
        _show_certificate(t, tls_context(invalid))
        t.wait(RETRY_WAIT_S)
        require(
            "step 7", len(t.csms.handshakes) == before, f"{description}: no handshake may succeed"
        )
        _show_certificate(t, tls_context(valid))
        t.csms.wait_connected(RECONNECT_S)
        t.expect_security_event(f"step 10 after {description}", "InvalidCsmsCertificate")


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
def tc_a_06_cs(t: Tester) -> None:
    t.configure_variable(COMM, "NetworkProfileConnectionAttempts", 1)
    before = len(t.csms.handshakes)
    states.reset_station(t)
    _show_certificate(t, old_tls_context(t.bench.authorities.csms))
    t.wait(RETRY_WAIT_S)
    require("step 3", len(t.csms.handshakes) == before, "TLS 1.1 may not be accepted")
    _show_certificate(t, tls_context(t.bench.authorities.csms))
    t.expect_boot_notification("step 10")
    t.expect_statuses("step 12")
    t.expect_security_event("step 14", *states.STARTUP)


@without_tls
def tc_a_19_cs(t: Tester) -> None:
    """From profile 1 to 2, and not back. Errata 6.2.6, 6.2.7, 6.2.17, 6.2.18."""
    states.install_certificate(t, "CSMSRootCertificate", t.bench.authorities.csms_root)
    unsecured_csms = t.csms
    with t.bench.make_csms(t.bench.authorities.csms) as other:
        migrate_to(t, other.url)
        t.switch_to(other)
        states.reset_and_boot(t, reset=False)
        profile = t.read_value("SecurityCtrlr", "SecurityProfile")
        require("step 12", profile == "2", f"SecurityProfile must be 2, is {profile}")
        slots = t.read_value(COMM, "NetworkConfigurationPriority").split(",")
        require("step 14", slots == ["2"], f"no slot of a lower profile may be left, are {slots}")
        before = len(unsecured_csms.handshakes)
        other.refuse_with = t.OFFLINE_STATUS
        other.close_connection()
        t.wait(RETRY_WAIT_S)
        require(
            "step 16", len(unsecured_csms.handshakes) == before, "profile 1 may not be used again"
        )


def tc_a_22_cs(t: Tester) -> None:
    slot = 2 if t.read_value(COMM, "ActiveNetworkProfile") == "1" else 1
    request = network_profile(t.csms.url, slot, security_profile=1)
    t.send_call("step 1", "SetNetworkProfile", request, {"status": "Rejected"})


def _show_certificate(t: Tester, context: ssl.SSLContext) -> None:
    t.bench.csms.show_certificate(context)
