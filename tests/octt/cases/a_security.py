"""Block A: passwords and TLS."""

from __future__ import annotations

import ssl
from datetime import timedelta

from tests.e2e.harness import IDENTITY, PASSWORD
from tests.octt import states
from tests.octt.cases.b_provisioning import migrate, network_profile, set_variable
from tests.octt.certificates import DAY, SUITES, Identity, root, server, tls, tls_too_old
from tests.octt.fresh import fresh, unsecured
from tests.octt.tester import Tester
from tests.octt.verify import must, one_of, verify

COMM = "OCPPCommCtrlr"
NEW_PASSWORD = "another-horse-battery-staple"
TOO_SHORT = "fifteen-letters"
RECONNECT_S = 30.0
ATTEMPTS_S = 4.0  # the bench retries after 1 s and doubles once


def tc_a_01_cs(t: Tester) -> None:
    """The CSMS of the bench admits nobody whose header is not Basic <identity>:<password>."""
    states.booted(t)
    _check_password(t, PASSWORD)


def _check_password(t: Tester, password: str) -> None:
    shake = t.csms.handshakes[-1]
    must("step 1", shake.admitted, "the Authorization header must carry the password")
    must("step 1", shake.user == shake.identity == IDENTITY, f"the user is {shake.user}")
    must("step 1", 16 <= len(password) <= 40, "the password has 16 to 40 characters")


def _reconnects(t: Tester, after: int) -> None:
    """The station connects again, by itself or because the connection is taken away."""
    try:
        t.csms.record.wait(lambda: len(t.csms.handshakes) > after, 5, "new connection")
    except TimeoutError:
        t.csms.close()
    t.until(lambda: len(t.csms.handshakes) > after, "step 3", "new connection")
    t.csms.wait_connected(RECONNECT_S)


@fresh
def tc_a_09_cs(t: Tester) -> None:
    before = len(t.csms.handshakes)
    assert t.csms.passwords is not None  # of the bench
    t.csms.passwords[IDENTITY] = NEW_PASSWORD
    result = set_variable(t, "step 1", "BasicAuthPassword", NEW_PASSWORD, "SecurityCtrlr")
    verify("step 2", result, {"attributeStatus": one_of("Accepted", "RebootRequired")})
    if result["attributeStatus"] == "RebootRequired":
        states.booted(t)
    else:
        _reconnects(t, before)
    must("step 4", t.csms.handshakes[-1].admitted, "the new password must be used")


@fresh
def tc_a_10_cs(t: Tester) -> None:
    before = len(t.csms.handshakes)
    result = set_variable(t, "step 1", "BasicAuthPassword", TOO_SHORT, "SecurityCtrlr")
    verify("step 2", result, {"attributeStatus": "Rejected"})
    t.csms.close()
    t.csms.wait_disconnected(RECONNECT_S)
    t.csms.wait_connected(RECONNECT_S)
    must("step 3", len(t.csms.handshakes) > before, "the station must connect again")
    must("step 4", t.csms.handshakes[-1].admitted, "the old password must be used")
    states.booted(t)


def tc_a_04_cs(t: Tester) -> None:
    for name, suite in SUITES.items():
        if name not in t.profile.cipher_suites:
            continue
        states.booting(t)
        _show(t, tls(t.bench.authorities.csms, suites=(suite,)))
        t.boot_notification(f"step 7 with {name}")
        t.statuses("step 9")
    _show(t, tls(t.bench.authorities.csms))
    t.csms.wait_connected(RECONNECT_S)


@fresh
def tc_a_05_cs(t: Tester) -> None:
    t.configure(COMM, "NetworkProfileConnectionAttempts", 3)
    t.configure(COMM, "NetworkConfigurationPriority", t.value(COMM, "ActiveNetworkProfile"))
    t.configure("SecurityCtrlr", "AllowCSMSTLSWildcards", value=False)
    good = t.bench.authorities.csms
    t.csms.abort()
    t.csms.wait_disconnected(RECONNECT_S)
    t.csms.wait_connected(RECONNECT_S)
    for words, bad in _invalid_certificates(t.bench.authorities.csms_root).items():
        before = len(t.csms.handshakes)
        t.forget()
        _show(t, tls(bad))
        t.wait(ATTEMPTS_S)
        must("step 7", len(t.csms.handshakes) == before, f"{words}: no handshake may succeed")
        _show(t, tls(good))
        t.csms.wait_connected(RECONNECT_S)
        t.security_event(f"step 10 after {words}", "InvalidCsmsCertificate")


def _invalid_certificates(trusted: Identity) -> dict[str, Identity]:
    """Errata 6.2.3."""
    return {
        "expired": server(trusted, begin=-30 * DAY, end=-DAY),
        "not valid yet": server(trusted, begin=30 * DAY, end=timedelta(days=60)),
        "of another root": server(root("Somebody else's root")),
        "of another host": server(trusted, name="192.0.2.1", host="192.0.2.1"),
        "with a wildcard": server(trusted, name="*.0.0.1", host=None),
    }


@fresh
def tc_a_06_cs(t: Tester) -> None:
    t.configure(COMM, "NetworkProfileConnectionAttempts", 1)
    before = len(t.csms.handshakes)
    states.booting(t)
    _show(t, tls_too_old(t.bench.authorities.csms))
    t.wait(ATTEMPTS_S)
    must("step 3", len(t.csms.handshakes) == before, "TLS 1.1 may not be accepted")
    _show(t, tls(t.bench.authorities.csms))
    t.boot_notification("step 10")
    t.statuses("step 12")
    t.security_event("step 14", *states.STARTUP)


@unsecured
def tc_a_19_cs(t: Tester) -> None:
    """From profile 1 to 2, and not back. Errata 6.2.6, 6.2.7, 6.2.17, 6.2.18."""
    states.certificate_installed(t, "CSMSRootCertificate", t.bench.authorities.csms_root)
    unsecured_csms = t.csms
    with t.bench.another_csms(t.bench.authorities.csms) as other:
        migrate(t, other.url)
        t.switch_to(other)
        states.booted(t, reset=False)
        profile = t.value("SecurityCtrlr", "SecurityProfile")
        must("step 12", profile == "2", f"SecurityProfile must be 2, is {profile}")
        slots = t.value(COMM, "NetworkConfigurationPriority").split(",")
        must("step 14", slots == ["2"], f"no slot of a lower profile may be left, are {slots}")
        before = len(unsecured_csms.handshakes)
        other.refusing = t.OFFLINE_STATUS
        other.close()
        t.wait(ATTEMPTS_S)
        must("step 16", len(unsecured_csms.handshakes) == before, "profile 1 may not be used again")


def tc_a_22_cs(t: Tester) -> None:
    slot = 2 if t.value(COMM, "ActiveNetworkProfile") == "1" else 1
    request = network_profile(t.csms.url, slot, security_profile=1)
    t.call("step 1", "SetNetworkProfile", request, {"status": "Rejected"})


def _show(t: Tester, context: ssl.SSLContext) -> None:
    t.bench.csms.show(context)
