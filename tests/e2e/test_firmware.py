"""Firmware updates of a real station, with failures at each step. L01."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.files import Manufacturer, future_timestamp, make_firmware_image, sign_image
from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import (
    FAST_RETRIES,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_journal,
    check_without_cryptography,
    wait_booted,
    wait_charging,
    wait_transaction_ended,
)
from tests.runtime.transfers.http_server import HttpServer
from tests.support.csms import Csms

IMAGE = "/firmware.bin"
INSTALL_STATUSES = [
    "Downloading",
    "Downloaded",
    "SignatureVerified",
    "Installing",
    "InstallRebooting",
]


@pytest.fixture(scope="module")
def manufacturer() -> Manufacturer:
    return Manufacturer()


@pytest.fixture
def station(
    csms: Csms, short_directory: Path, manufacturer: Manufacturer
) -> Iterator[StationProcess]:
    """A station with release 1.0 that trusts the manufacturer."""
    station = StationProcess(
        short_directory,
        csms.url,
        variables=FAST_RETRIES,
        extra_toml=manufacturer.station_toml(short_directory),
    )
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


@pytest.fixture
def file_server(short_directory: Path) -> Iterator[HttpServer]:
    root = short_directory / "files"
    root.mkdir()
    server = HttpServer(root)
    yield server
    server.close()


def offer_image(file_server: HttpServer, image: bytes) -> str:
    """The URL of an image."""
    (file_server.root / "firmware.bin").write_bytes(image)
    return file_server.url("firmware.bin")


def order_update(csms: Csms, order: dict[str, Any]) -> str:
    return str(csms.call("UpdateFirmware", order)["status"])


def wait_status(csms: Csms, status: str, after: int = 0) -> int:
    """Wait until the CSMS receives that status; returns the frame's number."""
    notified = csms.wait_for_call(
        "FirmwareStatusNotification",
        lambda payload: payload["status"] == status,
        STEP_TIMEOUT_S,
        after=after,
    )
    return notified.number


def firmware_statuses(csms: Csms) -> list[str]:
    return [str(frame.payload["status"]) for frame in csms.calls_for("FirmwareStatusNotification")]


def security_events(csms: Csms) -> list[str]:
    return [str(frame.payload["type"]) for frame in csms.calls_for("SecurityEventNotification")]


def wait_security_event(csms: Csms, type: str) -> None:
    csms.wait_for_call(
        "SecurityEventNotification", lambda event: event["type"] == type, STEP_TIMEOUT_S
    )


def current_release(station: StationProcess) -> str:
    """The active release."""
    return (station.data / "firmware" / "current").readlink().name


def boot_reason(csms: Csms) -> str:
    return str(csms.calls_for("BootNotification")[-1].payload["reason"])


@pytest.mark.parametrize("signer_name", ["signer", "rsa_signer"])
def test_a_signed_release_is_downloaded_verified_installed_and_started_tc_l_01(
    station: StationProcess,
    csms: Csms,
    file_server: HttpServer,
    manufacturer: Manufacturer,
    signer_name: str,
) -> None:
    image, signer = make_firmware_image("1.1"), getattr(manufacturer, signer_name)
    signed = {"signingCertificate": signer.pem, "signature": sign_image(signer, image)}
    before = station.pid
    assert (
        order_update(
            csms,
            manufacturer.update_firmware_request(offer_image(file_server, image), image, **signed),
        )
        == "Accepted"
    )
    wait_status(csms, "Installed")
    assert firmware_statuses(csms) == [*INSTALL_STATUSES, "Installed"]
    assert {
        frame.payload["requestId"] for frame in csms.calls_for("FirmwareStatusNotification")
    } == {1}
    assert boot_reason(csms) == "FirmwareUpdate"
    wait_security_event(csms, "FirmwareUpdated")
    assert current_release(station) == "1.1"
    assert station.is_alive
    assert station.pid == before  # the new program was executed in the same process
    wait_until(
        lambda: not (station.data / "downloads").exists(), STEP_TIMEOUT_S, "end of the download"
    )
    check_journal(station)


def test_a_second_release_replaces_the_first(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    after = 0
    for request_id, version in enumerate(("1.1", "1.2", "1.2"), start=1):
        image = make_firmware_image(version)
        order = manufacturer.update_firmware_request(
            offer_image(file_server, image), image, request_id
        )
        assert order_update(csms, order) == "Accepted"
        after = wait_status(csms, "Installed", after) + 1
        wait_booted(station, csms)
    assert current_release(station) == "1.2"
    assert firmware_statuses(csms) == [*INSTALL_STATUSES, "Installed"] * 3


def test_evses_are_unavailable_during_the_installation(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    image = make_firmware_image("1.1")
    after = csms.next_frame_number()
    order_update(csms, manufacturer.update_firmware_request(offer_image(file_server, image), image))
    wait_status(csms, "Installed")
    csms.wait_for_call(
        "StatusNotification",
        lambda status: status["connectorStatus"] == "Available",
        STEP_TIMEOUT_S,
        after=csms.calls_for("FirmwareStatusNotification")[-2].number,
    )
    statuses = [
        frame.payload.get("status") or frame.payload["connectorStatus"]
        for frame in csms.record.frames[after:]
        if frame.incoming and frame.action in ("FirmwareStatusNotification", "StatusNotification")
    ]
    assert (
        statuses.index("SignatureVerified")
        < statuses.index("Unavailable")
        < statuses.index("Installing")
    )


@pytest.mark.parametrize("cut_at", [[40_000], [40_000, 70_000]])
def test_an_interrupted_download_is_continued(
    station: StationProcess,
    csms: Csms,
    file_server: HttpServer,
    manufacturer: Manufacturer,
    cut_at: list[int],
) -> None:
    image = make_firmware_image("1.1", os.urandom(200_000))
    url = offer_image(file_server, image)
    file_server.faults.cut_at = list(cut_at)
    order_update(csms, manufacturer.update_firmware_request(url, image))
    wait_status(csms, "Installed")
    assert len(file_server.offsets) == len(cut_at) + 1
    assert all(file_server.offsets[1:])


def test_a_missing_file_fails_after_all_attempts_tc_l_07(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    order_update(csms, manufacturer.update_firmware_request(file_server.url("missing"), b""))
    wait_status(csms, "DownloadFailed")
    assert firmware_statuses(csms) == ["Downloading", "DownloadFailed"]
    assert len(file_server.requests) == 3


def test_an_invalid_signature_is_reported_and_not_installed_tc_l_06(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    image = make_firmware_image("1.1")
    order_update(
        csms, manufacturer.update_firmware_request(offer_image(file_server, image + b"\0"), image)
    )
    wait_status(csms, "InvalidSignature")
    wait_security_event(csms, "InvalidFirmwareSignature")
    assert firmware_statuses(csms) == ["Downloading", "Downloaded", "InvalidSignature"]
    check_without_cryptography(station)
    assert not (station.data / "firmware").exists()


def test_an_unknown_signer_is_refused_and_reported_tc_l_05(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    image = make_firmware_image("1.1")
    url = offer_image(file_server, image)
    order = manufacturer.update_firmware_request(
        url,
        image,
        signingCertificate=manufacturer.untrusted_signer.pem,
        signature=sign_image(manufacturer.untrusted_signer, image),
    )
    assert order_update(csms, order) == "InvalidCertificate"
    wait_security_event(csms, "InvalidFirmwareSigningCertificate")
    assert file_server.requests == []


def test_an_invalid_image_keeps_the_old_release_tc_l_08(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    image = make_firmware_image("1.0")
    order_update(csms, manufacturer.update_firmware_request(offer_image(file_server, image), image))
    after = wait_status(csms, "Installed") + 1
    wait_booted(station, csms)
    image = make_firmware_image("1.1", b"tampered", declared_content=b"program")
    order_update(
        csms, manufacturer.update_firmware_request(offer_image(file_server, image), image, 2)
    )
    wait_status(csms, "InstallVerificationFailed", after)
    assert current_release(station) == "1.0"


@pytest.fixture
def own_installer(short_directory: Path) -> Path:
    """A custom installer, which the test writes."""
    file = short_directory / "installer"
    file.write_text("#!/bin/sh\nexit 0\n")
    file.chmod(0o755)
    return file


def write_installer(installer: Path, script: str) -> None:
    """Write an installer that runs this Python code, then the standard installer."""
    installer.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nfrom station.firmware.swap import main\n"
        f"verb, base = sys.argv[1:3]\n{script}\nsys.exit(main(sys.argv[1:]))\n"
    )


@pytest.fixture
def station_with_installer(
    csms: Csms, short_directory: Path, manufacturer: Manufacturer, own_installer: Path
) -> Iterator[StationProcess]:
    """A station with a custom installer."""
    extra_toml = (
        manufacturer.station_toml(short_directory)
        + f'\n[firmware]\ninstaller = "{own_installer}"\n'
    )
    station = StationProcess(
        short_directory, csms.url, variables=FAST_RETRIES, extra_toml=extra_toml
    )
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def test_a_failing_installer_keeps_the_old_release(
    station_with_installer: StationProcess,
    csms: Csms,
    file_server: HttpServer,
    manufacturer: Manufacturer,
    own_installer: Path,
) -> None:
    write_installer(own_installer, "if verb == 'install': sys.exit('flash is worn out')")
    image = make_firmware_image("1.1")
    order_update(csms, manufacturer.update_firmware_request(offer_image(file_server, image), image))
    wait_status(csms, "InstallationFailed")
    assert firmware_statuses(csms) == [*INSTALL_STATUSES[:4], "InstallationFailed"]
    csms.wait_for_call(
        "StatusNotification",
        lambda status: status["connectorStatus"] == "Available",
        STEP_TIMEOUT_S,
        after=csms.calls_for("FirmwareStatusNotification")[-1].number - 2,
    )
    [failed] = [
        row.body
        for row in station_with_installer.read_entries("FirmwareStatusChanged")
        if row.body["reason"]
    ]
    assert "flash is worn out" in failed["reason"]


def test_a_release_rolled_back_before_it_connected_is_not_installed_l01_fr_32(
    station_with_installer: StationProcess,
    csms: Csms,
    file_server: HttpServer,
    manufacturer: Manufacturer,
    own_installer: Path,
) -> None:
    write_installer(own_installer, "pass")
    image = make_firmware_image("1.0")
    order_update(csms, manufacturer.update_firmware_request(offer_image(file_server, image), image))
    after = wait_status(csms, "Installed") + 1
    wait_booted(station_with_installer, csms)
    write_installer(own_installer, "if verb == 'current': main(['rollback', base])")
    image = make_firmware_image("1.1")
    order_update(
        csms, manufacturer.update_firmware_request(offer_image(file_server, image), image, 2)
    )
    wait_status(csms, "InstallationFailed", after)
    assert current_release(station_with_installer) == "1.0"


def test_a_download_continues_after_a_kill(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    image = make_firmware_image("1.1", os.urandom(9_000_000))  # more than one sync interval
    url = offer_image(file_server, image)
    file_server.faults.stall_at = 8_000_000
    order_update(csms, manufacturer.update_firmware_request(url, image))
    wait_until(
        lambda: file_server.faults.passed_bytes >= 8_000_000, STEP_TIMEOUT_S, "most of the download"
    )
    part = next((station.data / "downloads").glob("*.part.json"))
    wait_until(part.exists, STEP_TIMEOUT_S, "a synced part")
    station.kill()
    file_server.faults.stall_at = None
    file_server.faults.released.set()
    station.restart()
    wait_status(csms, "Installed")
    assert file_server.offsets[0] == 0
    assert file_server.offsets[1] >= 4_000_000
    assert current_release(station) == "1.1"
    assert firmware_statuses(csms) == [*INSTALL_STATUSES, "Installed"]
    check_journal(station)


def test_an_installation_is_repeated_after_a_kill(
    station_with_installer: StationProcess,
    csms: Csms,
    file_server: HttpServer,
    manufacturer: Manufacturer,
    own_installer: Path,
) -> None:
    started = own_installer.with_name("begun")
    write_installer(
        own_installer, f"if verb == 'install': open({str(started)!r}, 'w'); time.sleep(60)"
    )
    image = make_firmware_image("1.1")
    order_update(csms, manufacturer.update_firmware_request(offer_image(file_server, image), image))
    wait_until(started.exists, STEP_TIMEOUT_S, "the installer")
    station_with_installer.kill()
    write_installer(own_installer, "pass")
    station_with_installer.restart()
    wait_status(csms, "Installed")
    assert current_release(station_with_installer) == "1.1"
    assert firmware_statuses(csms) == [*INSTALL_STATUSES, "Installed"]
    check_journal(station_with_installer)


def test_an_installation_is_reported_after_a_kill_before_its_report(
    station_with_installer: StationProcess,
    csms: Csms,
    file_server: HttpServer,
    manufacturer: Manufacturer,
    own_installer: Path,
) -> None:
    finished = own_installer.with_name("done")
    write_installer(
        own_installer,
        f"if verb == 'install': main(sys.argv[1:]); open({str(finished)!r}, 'w'); time.sleep(60)",
    )
    image = make_firmware_image("1.1")
    order_update(csms, manufacturer.update_firmware_request(offer_image(file_server, image), image))
    wait_until(finished.exists, STEP_TIMEOUT_S, "the installation")
    assert current_release(station_with_installer) == "1.1"
    station_with_installer.kill()
    write_installer(own_installer, "pass")
    station_with_installer.restart()
    wait_status(csms, "Installed")
    assert firmware_statuses(csms) == [*INSTALL_STATUSES, "Installed"]


def test_download_and_installation_wait_for_their_times_tc_l_02_tc_l_03(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    image = make_firmware_image("1.1")
    times: dict[str, Any] = {
        "retrieveDateTime": future_timestamp(3),
        "installDateTime": future_timestamp(12),
    }
    order_update(
        csms, manufacturer.update_firmware_request(offer_image(file_server, image), image, **times)
    )
    wait_status(csms, "Installed")
    assert firmware_statuses(csms) == [
        "DownloadScheduled",
        *INSTALL_STATUSES[:3],
        "InstallScheduled",
        *INSTALL_STATUSES[3:],
        "Installed",
    ]


def test_an_update_waits_for_transactions_tc_l_13(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    image = make_firmware_image("1.1")
    order_update(csms, manufacturer.update_firmware_request(offer_image(file_server, image), image))
    wait_status(csms, "DownloadScheduled")
    csms.wait_for_call(
        "StatusNotification",
        lambda status: (status["evseId"], status["connectorStatus"]) == (2, "Unavailable"),
        STEP_TIMEOUT_S,
    )
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_status(csms, "Installed")
    assert firmware_statuses(csms) == ["DownloadScheduled", *INSTALL_STATUSES, "Installed"]


def test_another_request_cancels_a_download_l01_fr_24(
    station: StationProcess, csms: Csms, file_server: HttpServer, manufacturer: Manufacturer
) -> None:
    image = make_firmware_image("1.1", os.urandom(50_000))
    url = offer_image(file_server, image)
    file_server.faults.stall_at = 1_000
    order_update(csms, manufacturer.update_firmware_request(url, image))
    wait_until(lambda: file_server.faults.passed_bytes > 0, STEP_TIMEOUT_S, "the first download")
    file_server.faults.stall_at = None
    assert (
        order_update(csms, manufacturer.update_firmware_request(url, image, 2))
        == "AcceptedCanceled"
    )
    wait_status(csms, "Installed")
    notifications = [frame.payload for frame in csms.calls_for("FirmwareStatusNotification")]
    assert notifications[0] == {"status": "Downloading", "requestId": 1}
    assert {notification["requestId"] for notification in notifications[1:]} == {2}
