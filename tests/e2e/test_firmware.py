"""Does new firmware get onto a real station, whatever breaks on the way? (L01)"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.csms import Csms
from tests.e2e.files import Maker, ahead, release, signature
from tests.e2e.harness import StationProcess, until
from tests.e2e.steps import (
    EAGER,
    PATIENCE_S,
    authorize_and_plug_in,
    check_journal,
    wait_booted,
    wait_charging,
    wait_closed,
)
from tests.transfers.http_server import HttpFiles

IMAGE = "/firmware.bin"
GOOD = ["Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting"]


@pytest.fixture(scope="module")
def maker() -> Maker:
    return Maker()


@pytest.fixture
def station(csms: Csms, place: Path, maker: Maker) -> Iterator[StationProcess]:
    """A station that trusts the manufacturer, on a release 1.0."""
    station = StationProcess(place, csms.url, variables=EAGER, more=maker.toml(place))
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


@pytest.fixture
def files(place: Path) -> Iterator[HttpFiles]:
    root = place / "files"
    root.mkdir()
    server = HttpFiles(root)
    yield server
    server.close()


def offered(files: HttpFiles, image: bytes) -> str:
    """The URL of an image."""
    (files.root / "firmware.bin").write_bytes(image)
    return files.url("firmware.bin")


def ordered(csms: Csms, order: dict[str, Any]) -> str:
    return str(csms.call("UpdateFirmware", order)["status"])


def wait_status(csms: Csms, status: str, after: int = 0) -> int:
    """Until the CSMS hears of that status; gives the frame's number."""
    notified = csms.wait_for(
        "FirmwareStatusNotification",
        lambda payload: payload["status"] == status,
        PATIENCE_S,
        after=after,
    )
    return notified.number


def statuses(csms: Csms) -> list[str]:
    return [str(one.payload["status"]) for one in csms.calls("FirmwareStatusNotification")]


def security_events(csms: Csms) -> list[str]:
    return [str(one.payload["type"]) for one in csms.calls("SecurityEventNotification")]


def wait_security_event(csms: Csms, type: str) -> None:
    csms.wait_for("SecurityEventNotification", lambda event: event["type"] == type, PATIENCE_S)


def current(station: StationProcess) -> str:
    """The release that counts."""
    return (station.data / "firmware" / "current").readlink().name


def boot_reason(csms: Csms) -> str:
    return str(csms.calls("BootNotification")[-1].payload["reason"])


@pytest.mark.parametrize("by", ["signer", "rsa_signer"])
def test_a_signed_release_is_fetched_checked_installed_and_started_tc_l_01(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker, by: str
) -> None:
    image, holder = release("1.1"), getattr(maker, by)
    signed = {"signingCertificate": holder.pem, "signature": signature(holder, image)}
    before = station.pid
    assert ordered(csms, maker.order(offered(files, image), image, **signed)) == "Accepted"
    wait_status(csms, "Installed")
    assert statuses(csms) == [*GOOD, "Installed"]
    assert {one.payload["requestId"] for one in csms.calls("FirmwareStatusNotification")} == {1}
    assert boot_reason(csms) == "FirmwareUpdate"
    wait_security_event(csms, "FirmwareUpdated")
    assert current(station) == "1.1"
    assert station.alive
    assert station.pid == before  # the program made room for another in its place
    until(lambda: not (station.data / "downloads").exists(), PATIENCE_S, "end of the download")
    check_journal(station)


def test_a_second_release_takes_the_place_of_the_first(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    after = 0
    for request_id, version in enumerate(("1.1", "1.2", "1.2"), start=1):
        image = release(version)
        order = maker.order(offered(files, image), image, request_id)
        assert ordered(csms, order) == "Accepted"
        after = wait_status(csms, "Installed", after) + 1
        wait_booted(station, csms)
    assert current(station) == "1.2"
    assert statuses(csms) == [*GOOD, "Installed"] * 3


def test_the_evses_are_unavailable_while_it_is_installed_and_available_after(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    image = release("1.1")
    after = csms.mark()
    ordered(csms, maker.order(offered(files, image), image))
    wait_status(csms, "Installed")
    csms.wait_for(
        "StatusNotification",
        lambda status: status["connectorStatus"] == "Available",
        PATIENCE_S,
        after=csms.calls("FirmwareStatusNotification")[-2].number,
    )
    told = [
        one.payload.get("status") or one.payload["connectorStatus"]
        for one in csms.record.frames[after:]
        if one.incoming and one.action in ("FirmwareStatusNotification", "StatusNotification")
    ]
    assert told.index("SignatureVerified") < told.index("Unavailable") < told.index("Installing")


@pytest.mark.parametrize("cut_at", [[40_000], [40_000, 70_000]])
def test_a_broken_download_goes_on_where_it_broke(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker, cut_at: list[int]
) -> None:
    image = release("1.1", os.urandom(200_000))
    url = offered(files, image)
    files.faults.cut_at = list(cut_at)
    ordered(csms, maker.order(url, image))
    wait_status(csms, "Installed")
    assert len(files.offsets) == len(cut_at) + 1
    assert all(files.offsets[1:])


def test_a_file_that_is_not_there_fails_after_all_attempts_tc_l_07(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    ordered(csms, maker.order(files.url("missing"), b""))
    wait_status(csms, "DownloadFailed")
    assert statuses(csms) == ["Downloading", "DownloadFailed"]
    assert len(files.requests) == 3


def test_a_wrong_signature_is_not_installed_and_told_of_tc_l_06(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    image = release("1.1")
    ordered(csms, maker.order(offered(files, image + b"\0"), image))
    wait_status(csms, "InvalidSignature")
    wait_security_event(csms, "InvalidFirmwareSignature")
    assert statuses(csms) == ["Downloading", "Downloaded", "InvalidSignature"]
    assert not (station.data / "firmware").exists()


def test_a_signer_nobody_knows_is_refused_and_told_of_tc_l_05(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    image = release("1.1")
    url = offered(files, image)
    order = maker.order(
        url,
        image,
        signingCertificate=maker.stranger.pem,
        signature=signature(maker.stranger, image),
    )
    assert ordered(csms, order) == "InvalidCertificate"
    wait_security_event(csms, "InvalidFirmwareSigningCertificate")
    assert files.requests == []


def test_an_image_that_is_not_sound_leaves_the_old_release_tc_l_08(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    image = release("1.0")
    ordered(csms, maker.order(offered(files, image), image))
    after = wait_status(csms, "Installed") + 1
    wait_booted(station, csms)
    image = release("1.1", b"tampered", declared=b"program")
    ordered(csms, maker.order(offered(files, image), image, 2))
    wait_status(csms, "InstallVerificationFailed", after)
    assert current(station) == "1.0"


@pytest.fixture
def own_installer(place: Path) -> Path:
    """An installer of the product's own, which a test writes into."""
    file = place / "installer"
    file.write_text("#!/bin/sh\nexit 0\n")
    file.chmod(0o755)
    return file


def behaves(installer: Path, script: str) -> None:
    """The installer is that Python program, and otherwise the one we bring."""
    installer.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nfrom station.firmware.swap import main\n"
        f"verb, base = sys.argv[1:3]\n{script}\nsys.exit(main(sys.argv[1:]))\n"
    )


@pytest.fixture
def choosy(csms: Csms, place: Path, maker: Maker, own_installer: Path) -> Iterator[StationProcess]:
    """A station with an installer of its own."""
    more = maker.toml(place) + f'\n[firmware]\ninstaller = "{own_installer}"\n'
    station = StationProcess(place, csms.url, variables=EAGER, more=more)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def test_an_installer_that_fails_leaves_the_old_release(
    choosy: StationProcess, csms: Csms, files: HttpFiles, maker: Maker, own_installer: Path
) -> None:
    behaves(own_installer, "if verb == 'install': sys.exit('flash is worn out')")
    image = release("1.1")
    ordered(csms, maker.order(offered(files, image), image))
    wait_status(csms, "InstallationFailed")
    assert statuses(csms) == [*GOOD[:4], "InstallationFailed"]
    csms.wait_for(
        "StatusNotification",
        lambda status: status["connectorStatus"] == "Available",
        PATIENCE_S,
        after=csms.calls("FirmwareStatusNotification")[-1].number - 2,
    )
    [advanced] = [one.body for one in choosy.entries("FirmwareAdvanced") if one.body["why"]]
    assert "flash is worn out" in advanced["why"]


def test_a_release_that_was_rolled_back_before_it_spoke_was_not_installed_l01_fr_32(
    choosy: StationProcess, csms: Csms, files: HttpFiles, maker: Maker, own_installer: Path
) -> None:
    behaves(own_installer, "pass")
    image = release("1.0")
    ordered(csms, maker.order(offered(files, image), image))
    after = wait_status(csms, "Installed") + 1
    wait_booted(choosy, csms)
    behaves(own_installer, "if verb == 'current': main(['rollback', base])")
    image = release("1.1")
    ordered(csms, maker.order(offered(files, image), image, 2))
    wait_status(csms, "InstallationFailed", after)
    assert current(choosy) == "1.0"


def test_killed_in_the_middle_of_the_download_it_goes_on_after_the_restart(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    image = release("1.1", os.urandom(9_000_000))  # more than is synced at a time
    url = offered(files, image)
    files.faults.stall_at = 8_000_000
    ordered(csms, maker.order(url, image))
    until(lambda: files.faults.carried >= 8_000_000, PATIENCE_S, "most of the download")
    part = next((station.data / "downloads").glob("*.part.json"))
    until(part.exists, PATIENCE_S, "a part that is synced")
    station.kill()
    files.faults.stall_at = None
    files.faults.released.set()
    station.restart()
    wait_status(csms, "Installed")
    assert files.offsets[0] == 0
    assert files.offsets[1] >= 4_000_000
    assert current(station) == "1.1"
    assert statuses(csms) == [*GOOD, "Installed"]
    check_journal(station)


def test_killed_in_the_middle_of_the_installation_it_is_installed_after_the_restart(
    choosy: StationProcess, csms: Csms, files: HttpFiles, maker: Maker, own_installer: Path
) -> None:
    begun = own_installer.with_name("begun")
    behaves(own_installer, f"if verb == 'install': open({str(begun)!r}, 'w'); time.sleep(60)")
    image = release("1.1")
    ordered(csms, maker.order(offered(files, image), image))
    until(begun.exists, PATIENCE_S, "the installer")
    choosy.kill()
    behaves(own_installer, "pass")
    choosy.restart()
    wait_status(csms, "Installed")
    assert current(choosy) == "1.1"
    assert statuses(csms) == [*GOOD, "Installed"]
    check_journal(choosy)


def test_killed_between_the_installation_and_its_report_it_is_installed_all_the_same(
    choosy: StationProcess, csms: Csms, files: HttpFiles, maker: Maker, own_installer: Path
) -> None:
    done = own_installer.with_name("done")
    behaves(
        own_installer,
        f"if verb == 'install': main(sys.argv[1:]); open({str(done)!r}, 'w'); time.sleep(60)",
    )
    image = release("1.1")
    ordered(csms, maker.order(offered(files, image), image))
    until(done.exists, PATIENCE_S, "the installation")
    assert current(choosy) == "1.1"
    choosy.kill()
    behaves(own_installer, "pass")
    choosy.restart()
    wait_status(csms, "Installed")
    assert statuses(csms) == [*GOOD, "Installed"]


def test_times_to_come_are_kept_tc_l_02_tc_l_03(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    image = release("1.1")
    times: dict[str, Any] = {"retrieveDateTime": ahead(3), "installDateTime": ahead(6)}
    ordered(csms, maker.order(offered(files, image), image, **times))
    wait_status(csms, "Installed")
    assert statuses(csms) == [
        "DownloadScheduled",
        *GOOD[:3],
        "InstallScheduled",
        *GOOD[3:],
        "Installed",
    ]


def test_an_update_waits_for_who_charges_tc_l_13(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    image = release("1.1")
    ordered(csms, maker.order(offered(files, image), image))
    wait_status(csms, "DownloadScheduled")
    csms.wait_for(
        "StatusNotification",
        lambda status: (status["evseId"], status["connectorStatus"]) == (2, "Unavailable"),
        PATIENCE_S,
    )
    station.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    wait_status(csms, "Installed")
    assert statuses(csms) == ["DownloadScheduled", *GOOD, "Installed"]


def test_another_order_takes_the_place_of_a_download_l01_fr_24(
    station: StationProcess, csms: Csms, files: HttpFiles, maker: Maker
) -> None:
    image = release("1.1", os.urandom(50_000))
    url = offered(files, image)
    files.faults.stall_at = 1_000
    ordered(csms, maker.order(url, image))
    until(lambda: files.faults.carried > 0, PATIENCE_S, "the first download")
    files.faults.stall_at = None
    assert ordered(csms, maker.order(url, image, 2)) == "AcceptedCanceled"
    wait_status(csms, "Installed")
    told = [one.payload for one in csms.calls("FirmwareStatusNotification")]
    assert told[0] == {"status": "Downloading", "requestId": 1}
    assert {one["requestId"] for one in told[1:]} == {2}
