"""Log uploads of a real station over every protocol, without secrets or idTokens. N01."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.harness import PASSWORD, StationProcess, wait_until
from tests.e2e.steps import (
    ALICE,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_journal,
    wait_booted,
    wait_charging,
    wait_delivered,
)
from tests.runtime.transfers.ftp_server import FtpServer
from tests.runtime.transfers.http_server import HttpServer
from tests.runtime.transfers.sftp_server import SftpServer
from tests.support.csms import Csms

Server = HttpServer | FtpServer | SftpServer


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def station(csms: Csms, short_directory: Path, authority: trustme.CA) -> Iterator[StationProcess]:
    """A station that trusts the file servers' authority, installed by the CSMS."""
    station = StationProcess(short_directory, csms.url)
    try:
        station.start()
        wait_booted(station, csms)
        root = authority.cert_pem.bytes().decode()
        request = {"certificateType": "CSMSRootCertificate", "certificate": root}
        assert csms.call("InstallCertificate", request) == {"status": "Accepted"}
        yield station
    finally:
        station.close()


@pytest.fixture
def certificate(authority: trustme.CA, short_directory: Path) -> Path:
    file = short_directory / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


@pytest.fixture(params=["http", "https", "ftp", "ftps", "sftp"])
def file_server(
    request: pytest.FixtureRequest, short_directory: Path, certificate: Path
) -> Iterator[Server]:
    """A file server for each protocol of the product."""
    root = short_directory / "files"
    root.mkdir()
    server = start_server(str(request.param), root, certificate)
    yield server
    server.close()


def start_server(kind: str, root: Path, certificate: Path) -> Server:
    match kind:
        case "https":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            return HttpServer(root, tls)
        case "ftp":
            return FtpServer(root)
        case "ftps":
            return FtpServer(root, certificate)
        case "sftp":
            return SftpServer(root)
        case _:
            return HttpServer(root)


@pytest.fixture
def http_server(short_directory: Path) -> Iterator[HttpServer]:
    root = short_directory / "files"
    root.mkdir()
    server = HttpServer(root)
    yield server
    server.close()


def get_log(
    csms: Csms, url: str, request_id: int = 1, log_type: str = "DiagnosticsLog", **more: Any
) -> dict[str, Any]:
    request = {"log": {"remoteLocation": url}, "logType": log_type, "requestId": request_id}
    return csms.call("GetLog", request | more)


def wait_status(csms: Csms, status: str, request_id: int = 1, after: int = 0) -> int:
    """Wait until the CSMS receives this status of this upload; returns the frame's number."""
    expected = {"status": status, "requestId": request_id}
    notified = csms.wait_for_call(
        "LogStatusNotification", lambda payload: payload == expected, STEP_TIMEOUT_S, after=after
    )
    return notified.number


def test_a_log_arrives_over_every_protocol_n01_fr_02(
    station: StationProcess, csms: Csms, file_server: Server
) -> None:
    reply = get_log(csms, file_server.url(""))
    assert reply["status"] == "Accepted"
    wait_status(csms, "Uploaded", after=wait_status(csms, "Uploading"))
    text = (file_server.root / reply["filename"]).read_text()
    assert "DiagnosticsLog of CS001" in text
    assert "registration Accepted" in text
    assert "BootNotification" in text
    wait_until(lambda: not (station.data / "uploads").exists(), STEP_TIMEOUT_S, "end of the file")
    check_journal(station)


def test_a_log_has_neither_secrets_nor_id_tokens_n01(
    station: StationProcess, csms: Csms, http_server: HttpServer
) -> None:
    authorize_and_plug_in(station)
    wait_charging(csms)
    wait_delivered(station)
    secret = "open-sesame-0123456789"
    http_server.credentials = ("me", secret)
    reply = get_log(csms, http_server.url("", f"me:{secret}@"))
    wait_status(csms, "Uploaded")
    text = (http_server.root / reply["filename"]).read_text()
    assert "Charging" in text
    for hidden in (PASSWORD, secret, ALICE):
        assert hidden.casefold() not in text.casefold()
    assert secret.encode() not in station.journal.read_bytes()
    assert secret not in station.read_log()
    verified = station.run_verb("replay", str(station.journal))
    assert secret not in verified.stdout


def test_the_security_log_has_the_security_events_n01_fr_03(
    station: StationProcess, csms: Csms, http_server: HttpServer
) -> None:
    csms.send_raw("not an OCPP message")
    reply = get_log(csms, http_server.url(""), log_type="SecurityLog")
    wait_status(csms, "Uploaded")
    text = (http_server.root / reply["filename"]).read_text()
    assert "StartupOfTheDevice" in text
    assert "InvalidMessages" in text
    assert "BootNotification" not in text


def test_a_log_has_only_the_requested_time_range(
    station: StationProcess, csms: Csms, http_server: HttpServer
) -> None:
    entries = station.read_entries()
    span = {"oldestTimestamp": entries[3].at, "latestTimestamp": entries[-1].at}
    log = {"remoteLocation": http_server.url("")} | span
    reply = csms.call("GetLog", {"log": log, "logType": "DiagnosticsLog", "requestId": 1})
    wait_status(csms, "Uploaded")
    lines = (http_server.root / reply["filename"]).read_text().splitlines()
    within = [entry for entry in entries if span["oldestTimestamp"] <= entry.at <= entries[-1].at]
    timestamped = [line for line in lines if line[:4].isdigit() and line[10:11] == " "]
    assert len(within) <= len(timestamped) < len(within) + 5  # others of the same last millisecond


def test_an_upload_has_as_many_attempts_as_requested_tc_n_26(
    station: StationProcess, csms: Csms, http_server: HttpServer
) -> None:
    http_server.fixed_responses |= {(method, "/no/log"): (404, {}) for method in ("PUT", "POST")}
    get_log(csms, http_server.url("no/log"), retries=2, retryInterval=1)
    wait_status(csms, "UploadFailure")
    assert [method for method, _, _ in http_server.requests].count("PUT") == 3
    assert len(csms.calls_for("LogStatusNotification")) == 2


def test_a_server_that_refuses_the_credentials_is_reported_n01_fr_10(
    station: StationProcess, csms: Csms, http_server: HttpServer
) -> None:
    http_server.credentials = ("other", "user")
    get_log(csms, http_server.url(""), retries=0)
    wait_status(csms, "PermissionDenied")


def test_an_unknown_protocol_is_not_supported_n01_fr_10(
    station: StationProcess, csms: Csms
) -> None:
    assert get_log(csms, "gopher://127.0.0.1/logs", retries=0)["status"] == "Accepted"
    wait_status(csms, "NotSupportedOperation")


def test_a_second_request_cancels_the_first_tc_n_36(
    station: StationProcess, csms: Csms, http_server: HttpServer
) -> None:
    http_server.faults.stall_at = 1_000
    get_log(csms, http_server.url("first/"))
    wait_until(lambda: http_server.faults.passed_bytes > 0, STEP_TIMEOUT_S, "the first upload")
    http_server.faults.stall_at = None
    reply = get_log(csms, http_server.url(""), 2)
    assert reply["status"] == "AcceptedCanceled"
    wait_status(csms, "AcceptedCanceled", 1)
    wait_status(csms, "Uploaded", 2)
    assert (http_server.root / reply["filename"]).exists()
    statuses = [frame.payload["status"] for frame in csms.calls_for("LogStatusNotification")]
    assert statuses == ["Uploading", "AcceptedCanceled", "Uploading", "Uploaded"]


def test_a_killed_station_uploads_the_log_after_its_restart(
    station: StationProcess, csms: Csms, http_server: HttpServer
) -> None:
    http_server.faults.stall_at = 1_000
    reply = get_log(csms, http_server.url(""))
    wait_until(lambda: http_server.faults.passed_bytes > 0, STEP_TIMEOUT_S, "the upload")
    station.kill()
    http_server.faults.stall_at = None
    http_server.faults.released.set()
    station.restart()
    wait_status(csms, "Uploaded")
    text = (http_server.root / reply["filename"]).read_text()
    assert text.startswith("DiagnosticsLog of CS001")
    check_journal(station)
