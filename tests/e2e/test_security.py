"""Passwords, network profiles, root certificates and TLS of a real station. A01, A05, B09, B10."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.harness import IDENTITY, PASSWORD, StationProcess, Variable, wait_until
from tests.e2e.steps import (
    FAST_RETRIES,
    STEP_TIMEOUT_S,
    check_journal,
    check_without_cryptography,
    wait_booted,
)
from tests.support.csms import Csms

NEW_PASSWORD = "another-battery-of-correct-horses"
CIPHER_SUITES = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
HOST = "127.0.0.1"
TWO_ATTEMPTS = (  # one attempt for each slot, a second apart
    *(entry for entry in FAST_RETRIES if not entry.variable.startswith("RetryBackOff")),
    Variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "1"),
    Variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0"),
    Variable("OCPPCommCtrlr", "RetryBackOffRepeatTimes", "0"),
    Variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "2"),
)

StationMaker = Callable[..., StationProcess]


def set_variable(csms: Csms, name: str, value: str, component: str = "OCPPCommCtrlr") -> str:
    """Set a variable; returns the attributeStatus."""
    item = {"component": {"name": component}, "variable": {"name": name}, "attributeValue": value}
    reply = csms.call("SetVariables", {"setVariableData": [item]})
    return str(reply["setVariableResult"][0]["attributeStatus"])


def get_variable(csms: Csms, name: str, component: str = "OCPPCommCtrlr") -> str:
    item = {"component": {"name": component}, "variable": {"name": name}}
    reply = csms.call("GetVariables", {"getVariableData": [item]})
    return str(reply["getVariableResult"][0]["attributeValue"])


def set_profile(csms: Csms, slot: int, url: str, security_profile: int) -> str:
    data = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": url,
        "messageTimeout": 10,
        "securityProfile": security_profile,
        "ocppInterface": "Wired0",
    }
    reply = csms.call("SetNetworkProfile", {"configurationSlot": slot, "connectionData": data})
    return str(reply["status"])


def security_events(csms: Csms, after: int = 0) -> list[str]:
    return [frame.payload["type"] for frame in csms.calls_for("SecurityEventNotification", after)]


# --- A01 -----------------------------------------------------------------------------------------


def test_a_new_password_is_used_at_once_and_kept_over_a_restart_a01(
    station: StationProcess, csms: Csms
) -> None:
    assert csms.passwords is not None
    csms.passwords[IDENTITY] = NEW_PASSWORD
    before = len(csms.handshakes)
    assert set_variable(csms, "BasicAuthPassword", NEW_PASSWORD, "SecurityCtrlr") == "Accepted"
    wait_until(lambda: len(csms.handshakes) > before, STEP_TIMEOUT_S, "another handshake")
    wait_until(lambda: csms.is_connected, STEP_TIMEOUT_S, "connection with the new password")
    after = csms.next_frame_number()
    assert station.terminate() == 0
    station.restart()
    wait_booted(station, csms, after)
    assert "FailedToAuthenticateAtCsms" not in str(station.read_entries("LinkFailed"))
    check_no_secret(station, NEW_PASSWORD)
    check_journal(station)


def check_no_secret(station: StationProcess, *secrets: str) -> None:
    """Assert that secrets are only in their directory, readable by its owner. P9, A01.FR.12."""
    directory = station.data / "secrets"
    assert not directory.exists() or directory.stat().st_mode & 0o777 == 0o700
    for path in [station.log_path, *station.data.rglob("*")]:
        if path.is_file() and path.parent.name != "secrets":
            content = path.read_bytes()
            for secret in secrets:
                assert secret.encode() not in content, path


def test_a_refused_password_changes_nothing_a01(station: StationProcess, csms: Csms) -> None:
    before = len(csms.handshakes)
    assert set_variable(csms, "BasicAuthPassword", "short", "SecurityCtrlr") == "Rejected"
    csms.abort_connection()
    wait_until(lambda: len(csms.handshakes) > before, STEP_TIMEOUT_S, "another handshake")
    wait_until(lambda: csms.is_connected, STEP_TIMEOUT_S, "connection with the old password")
    assert PASSWORD not in station.read_log()


# --- B09, B10 ------------------------------------------------------------------------------------


@pytest.fixture
def two_csms(short_directory: Path) -> Iterator[tuple[Csms, Csms, StationProcess]]:
    """Two CSMSs without TLS; the station is connected to the first."""
    passwords = {IDENTITY: PASSWORD}
    with Csms(passwords=passwords) as first, Csms(passwords=passwords) as second:
        station = StationProcess(short_directory, first.url, variables=TWO_ATTEMPTS)
        try:
            station.start()
            wait_booted(station, first)
            yield first, second, station
        finally:
            station.close()
        assert first.problems == second.problems == []


def migrate_to(csms: Csms, url: str, security_profile: int = 1) -> None:
    assert set_profile(csms, 2, url, security_profile) == "Accepted"
    assert set_variable(csms, "NetworkConfigurationPriority", "2,1") == "RebootRequired"
    assert csms.call("Reset", {"type": "OnIdle"})["status"] == "Accepted"


def test_the_station_migrates_to_another_csms_b10_fr_04(
    two_csms: tuple[Csms, Csms, StationProcess],
) -> None:
    first, second, station = two_csms
    after = first.next_frame_number()
    migrate_to(first, second.url)
    boot = second.wait_for_call("BootNotification", timeout_s=STEP_TIMEOUT_S)
    assert boot.payload["reason"] in ("RemoteReset", "ScheduledReset")
    assert get_variable(second, "ActiveNetworkProfile") == "2"
    assert not first.is_connected
    assert first.calls_for("BootNotification", after) == []
    check_journal(station)


def test_an_unreachable_csms_leads_back_to_the_former_b10_fr_03(
    two_csms: tuple[Csms, Csms, StationProcess],
) -> None:
    first, second, station = two_csms
    second.stop_listening()
    after = first.next_frame_number()
    migrate_to(first, second.url)
    first.wait_for_call("BootNotification", timeout_s=STEP_TIMEOUT_S, after=after)
    slots = [row.body["slot"] for row in station.read_entries("LinkFailed")]
    assert slots == [2, 2]
    assert get_variable(first, "ActiveNetworkProfile") == "1"


def test_a_change_of_slot_sends_a_boot_notification_b10_fr_10(
    two_csms: tuple[Csms, Csms, StationProcess],
) -> None:
    """The CSMS becomes unreachable while the station runs: it boots at the next one."""
    first, second, station = two_csms
    assert set_profile(first, 2, second.url, 1) == "Accepted"
    assert set_variable(first, "NetworkConfigurationPriority", "1,2") == "RebootRequired"
    after = first.next_frame_number()
    assert first.call("Reset", {"type": "OnIdle"})["status"] == "Accepted"
    first.wait_for_call("BootNotification", timeout_s=STEP_TIMEOUT_S, after=after)
    first.stop_listening()
    boot = second.wait_for_call("BootNotification", timeout_s=STEP_TIMEOUT_S)
    assert boot.payload["reason"] == "Unknown"
    assert len(station.read_entries("StationStarted")) == 2


# --- TLS -----------------------------------------------------------------------------------------


def tls_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHER_SUITES)
    authority.issue_cert(HOST, common_name=HOST).configure_cert(context)
    return context


@pytest.fixture
def make_certified_station(short_directory: Path) -> Iterator[StationMaker]:
    """A factory of stations with the certified profile that trust one authority."""
    with ExitStack() as stations:

        def make(csms: Csms, trusted: trustme.CA, **options: Any) -> StationProcess:
            ca_file = short_directory / "ca.pem"
            trusted.cert_pem.write_to_path(str(ca_file))
            station = StationProcess(
                short_directory,
                csms.url,
                variables=TWO_ATTEMPTS,
                profile="evs-flash-300",
                security_profile=2,
                ca_file=ca_file,
                **options,
            )
            stations.callback(station.close)
            station.start()
            return station

        yield make


def test_an_invalid_certificate_is_reported_after_it_was_replaced_a00_fr_310(
    make_certified_station: StationMaker,
) -> None:
    authority, untrusted = trustme.CA(), trustme.CA()
    context = tls_context(untrusted)
    with Csms(tls=context, passwords={IDENTITY: PASSWORD}) as csms:
        station = make_certified_station(csms, authority)
        wait_until(
            lambda: len(station.read_entries("LinkFailed")) >= 3, STEP_TIMEOUT_S, "three attempts"
        )
        assert csms.handshakes == []
        authority.issue_cert(HOST, common_name=HOST).configure_cert(context)
        wait_booted(station, csms)
        assert sorted(security_events(csms)) == ["InvalidCsmsCertificate", "StartupOfTheDevice"]
        assert csms.problems == []


def test_a_migration_to_a_csms_with_another_root_b10_fr_04_m05_fr_02(
    make_certified_station: StationMaker,
) -> None:
    old, new = trustme.CA(), trustme.CA()
    passwords = {IDENTITY: PASSWORD}
    with (
        Csms(tls=tls_context(old), passwords=passwords) as first,
        Csms(tls=tls_context(new), passwords=passwords) as second,
    ):
        station = make_certified_station(first, old)
        wait_booted(station, first)
        pem = new.cert_pem.bytes().decode()
        request = {"certificateType": "CSMSRootCertificate", "certificate": pem}
        assert first.call("InstallCertificate", request)["status"] == "Accepted"
        assert get_variable(first, "CertificateEntries", "SecurityCtrlr") == "2"
        check_files(station, 2)
        migrate_to(first, second.url, 2)
        wait_booted(station, second)
        listed = second.call("GetInstalledCertificateIds", {})["certificateHashDataChain"]
        assert len(listed) == 2
        gone = {"certificateHashData": listed[0]["certificateHashData"]}
        last = {"certificateHashData": listed[1]["certificateHashData"]}
        assert second.call("DeleteCertificate", gone)["status"] == "Accepted"
        assert second.call("DeleteCertificate", last)["status"] == "Failed"
        check_files(station, 1)
        check_without_cryptography(station)
        assert set_profile(second, 1, "ws://127.0.0.1/ocpp", 1) == "Rejected"  # A05
        check_no_secret(station, PASSWORD)
        check_journal(station)
        assert first.problems == second.problems == []


def check_files(station: StationProcess, count: int) -> None:
    """Assert that the exported files are that many roots, readable by the station only."""
    directory = station.data / "certificates" / "CSMSRootCertificate"
    wait_until(
        lambda: len(list(directory.glob("*.pem"))) == count, STEP_TIMEOUT_S, f"{count} files"
    )
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())


def test_after_an_upgrade_to_tls_there_is_no_downgrade_a05_fr_06(short_directory: Path) -> None:
    authority = trustme.CA()
    passwords = {IDENTITY: PASSWORD}
    with (
        Csms(passwords=passwords) as plain,
        Csms(tls=tls_context(authority), passwords=passwords) as secure,
    ):
        station = StationProcess(short_directory, plain.url, variables=TWO_ATTEMPTS)
        try:
            station.start()
            wait_booted(station, plain)
            assert set_profile(plain, 2, secure.url, 2) == "Accepted"
            assert set_variable(plain, "NetworkConfigurationPriority", "2,1") == "Rejected"
            request = {
                "certificateType": "CSMSRootCertificate",
                "certificate": authority.cert_pem.bytes().decode(),
            }
            assert plain.call("InstallCertificate", request)["status"] == "Accepted"
            migrate_to(plain, secure.url, 2)
            wait_booted(station, secure)
            assert get_variable(secure, "SecurityProfile", "SecurityCtrlr") == "2"
            assert get_variable(secure, "NetworkConfigurationPriority") == "2"
            after = secure.next_frame_number()
            station.terminate()
            station.restart()  # station.toml still has ws://, which is ignored now
            wait_booted(station, secure, after)
            assert not plain.is_connected
        finally:
            station.close()
        assert plain.problems == secure.problems == []
