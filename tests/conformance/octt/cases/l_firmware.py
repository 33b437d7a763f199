"""Block L: secure firmware updates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import OTHER
from tests.conformance.octt.certificates import CertifiedKey, make_root, make_signing_certificate
from tests.conformance.octt.files import BROKEN_FIRMWARE, BROKEN_PATH, FIRMWARE, FIRMWARE_PATH
from tests.conformance.octt.fresh import needs_fresh_station
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import CheckFailed, check_fields, one_of, require
from tests.support.csms import Payload

LONG_AGO = timedelta(hours=-2)
TRANSFER_S = 60.0
INSTALL_S = 90.0
STATUS = "FirmwareStatusNotification"
DOWNLOAD_STATUSES = ("Downloading", "Downloaded", "SignatureVerified")


@dataclass(frozen=True)
class UpdateOrder:
    """The arguments of an UpdateFirmwareRequest."""

    path: str = FIRMWARE_PATH
    signed_data: bytes = FIRMWARE  # the data that is signed
    retrieve: timedelta = LONG_AGO  # from now
    install: timedelta | None = LONG_AGO
    signer: CertifiedKey | None = None  # None: a certificate signed by the manufacturer's root


def request_update(
    tester: Tester, step: str, update: UpdateOrder, status: Any = "Accepted", **more: int
) -> int:
    """Send UpdateFirmware, check the response, return the requestId."""
    signer = update.signer or make_signing_certificate(tester.bench.authorities.manufacturer_root)
    firmware = {
        "location": tester.bench.files.url(update.path),
        "retrieveDateTime": _timestamp_in(update.retrieve),
        "signingCertificate": signer.pem,
        "signature": signer.sign_data(update.signed_data),
    }
    if update.install is not None:
        firmware["installDateTime"] = _timestamp_in(update.install)
    request_id = tester.next_id()
    request = {"requestId": request_id, "firmware": firmware} | more
    tester.send_call(step, "UpdateFirmware", request, {"status": status})
    return request_id


def _timestamp_in(offset: timedelta) -> str:
    moment = datetime.now(UTC) + offset
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expect_statuses(
    tester: Tester, request_id: int, *statuses: str, timeout_s: float = TRANSFER_S
) -> None:
    """These FirmwareStatusNotifications are received, in this order."""
    for status in statuses:
        tester.expect_call(
            f"status {status}",
            STATUS,
            {"status": status, "requestId": request_id},
            predicate=lambda event: bool(event.get("requestId") == request_id),
            timeout_s=timeout_s,
        )


def expect_installed(tester: Tester, request_id: int) -> None:
    """From the verified signature to the new firmware: Installing, restarts, Installed.

    The station may set connectors Unavailable first and reboot before or after installing; it
    reconnects at least once, so that the protocol version is negotiated again.
    """
    connection_before = tester.csms.record.frames[-1].connection
    statuses = _statuses_until(tester, request_id, "Installed")
    require(
        "installation", "Installing" in statuses, f"Installing must be reported, got {statuses}"
    )
    unexpected = set(statuses) - {"InstallRebooting", "Installing", "Installed"}
    require("installation", not unexpected, f"{unexpected} may not be reported")
    for boot in tester.pending_calls("BootNotification"):
        check_fields("after the installation", boot, {"reason": "FirmwareUpdate"})
    tester.expect_security_event("after the installation", "FirmwareUpdated", timeout_s=INSTALL_S)
    tester.wait_until(
        lambda: tester.csms.record.frames[-1].connection > connection_before,
        "after the installation",
        "new connection",
    )
    tester.bench.wait_settled()
    _check_connectors(tester)


def _statuses_until(tester: Tester, request_id: int, *last: str) -> list[str]:
    statuses: list[str] = []
    while not statuses or statuses[-1] not in last:
        event = tester.expect_call(
            "installation", STATUS, {"requestId": request_id}, timeout_s=INSTALL_S
        )
        statuses.append(event["status"])
        if len(statuses) > 8:
            raise CheckFailed(f"installation: {last} must be reported, got {statuses}")
    return statuses


def _check_connectors(tester: Tester) -> None:
    """Every connector that was set Unavailable is reported Available again."""
    tester.wait_until(
        lambda: not _unavailable_connectors(tester), "afterwards", "every connector Available again"
    )


def _unavailable_connectors(tester: Tester) -> list[tuple[int, int]]:
    reported: dict[tuple[int, int], str] = {}
    for event in tester.csms.calls_for("StatusNotification", tester.first_relevant_frame):
        payload = event.payload
        reported[payload["evseId"], payload["connectorId"]] = payload["connectorStatus"]
    return [connector for connector, status in reported.items() if status == "Unavailable"]


@needs_fresh_station
def tc_l_01_cs(tester: Tester) -> None:
    request_id = request_update(tester, "step 1", UpdateOrder())
    expect_statuses(tester, request_id, *DOWNLOAD_STATUSES)
    expect_installed(tester, request_id)


@needs_fresh_station
def tc_l_02_cs(tester: Tester) -> None:
    later = timedelta(seconds=tester.settings.schedule_offset_s)
    request_id = request_update(tester, "step 1", UpdateOrder(install=later))
    expect_statuses(tester, request_id, *DOWNLOAD_STATUSES, "InstallScheduled")
    expect_installed(tester, request_id)


@needs_fresh_station
def tc_l_03_cs(tester: Tester) -> None:
    later = timedelta(seconds=tester.settings.schedule_offset_s)
    request_id = request_update(tester, "step 1", UpdateOrder(retrieve=later))
    expect_statuses(tester, request_id, "DownloadScheduled", *DOWNLOAD_STATUSES)
    expect_installed(tester, request_id)


@needs_fresh_station
def tc_l_05_cs(tester: Tester) -> None:
    unknown_signer = make_signing_certificate(make_root("Unknown root"))
    status = one_of("InvalidCertificate", "RevokedCertificate")
    request_update(tester, "step 1", UpdateOrder(signer=unknown_signer), status)
    tester.expect_security_event("step 3", "InvalidFirmwareSigningCertificate")


@needs_fresh_station
def tc_l_06_cs(tester: Tester) -> None:
    request_id = request_update(tester, "step 1", UpdateOrder(signed_data=b"something else"))
    expect_statuses(tester, request_id, "Downloading", "Downloaded", "InvalidSignature")
    tester.expect_security_event("step 9", "InvalidFirmwareSignature")


@needs_fresh_station
def tc_l_07_cs(tester: Tester) -> None:
    update = UpdateOrder(path=FIRMWARE_PATH + "_does_not_exist")
    request_id = request_update(
        tester, "step 1", update, retries=1, retryInterval=2
    )  # the station's own interval is minutes
    statuses = _statuses_until(tester, request_id, "DownloadFailed")
    unexpected = set(statuses) - {"Downloading", "DownloadFailed"}
    require("step 5", not unexpected, f"{unexpected} may not be reported")


@needs_fresh_station
def tc_l_08_cs(tester: Tester) -> None:
    request_id = request_update(
        tester, "step 1", UpdateOrder(path=BROKEN_PATH, signed_data=BROKEN_FIRMWARE)
    )
    expect_statuses(tester, request_id, *DOWNLOAD_STATUSES)
    _statuses_until(tester, request_id, "InstallVerificationFailed", "InstallationFailed")
    tester.bench.wait_settled()
    _check_connectors(tester)


@needs_fresh_station
def tc_l_11_cs(tester: Tester) -> None:
    tester.bench.files.pause_s = 4.0
    request_id = request_update(tester, "step 1", UpdateOrder())
    expect_statuses(tester, request_id, "Downloading")
    request_update(tester, "step 5", UpdateOrder(), "Rejected")
    expect_statuses(tester, request_id, "Downloaded", "SignatureVerified")
    expect_installed(tester, request_id)


@needs_fresh_station
def tc_l_10_cs(tester: Tester) -> None:
    tester.bench.files.pause_s = 4.0
    first = request_update(tester, "step 1", UpdateOrder())
    expect_statuses(tester, first, "Downloading")
    second = request_update(tester, "step 5", UpdateOrder(), "AcceptedCanceled")
    canceled = [event for event in tester.pending_calls(STATUS) if event["requestId"] == first]
    allowed = ("DownloadFailed", "InstallationFailed")  # errata 6.2.82
    unexpected = [event["status"] for event in canceled if event["status"] not in allowed]
    require("step 7", not unexpected, f"the canceled update may only report {allowed}")
    expect_statuses(tester, second, *DOWNLOAD_STATUSES)
    expect_installed(tester, second)


@needs_fresh_station
def tc_l_18_cs(tester: Tester) -> None:
    firmware: Payload = {
        "location": tester.bench.files.url(FIRMWARE_PATH),
        "retrieveDateTime": _timestamp_in(LONG_AGO),
        "installDateTime": _timestamp_in(LONG_AGO),
    }
    request = {"requestId": tester.next_id(), "firmware": firmware}
    status = one_of("Rejected", "InvalidCertificate")
    tester.send_call("step 1", "UpdateFirmware", request, {"status": status})


@needs_fresh_station
def tc_l_12_cs(tester: Tester) -> None:
    _allow_new_sessions(tester, allowed=True)
    states.start_energy_transfer(tester)
    request_id = request_update(tester, "step 1", UpdateOrder())
    expect_statuses(tester, request_id, "DownloadScheduled")
    second = tester.settings.second_evse_id
    states.start_energy_transfer(tester, second, id_token=OTHER)
    states.parking_bay_unoccupied(tester)
    states.parking_bay_unoccupied(tester, second)
    expect_statuses(tester, request_id, *DOWNLOAD_STATUSES)
    expect_installed(tester, request_id)


@needs_fresh_station
def tc_l_13_cs(tester: Tester) -> None:
    _allow_new_sessions(tester, allowed=False)
    states.start_energy_transfer(tester)
    request_id = request_update(tester, "step 1", UpdateOrder())
    tester.expect_status("step 5", "Unavailable", tester.settings.second_evse_id)
    if tester.pending_calls(STATUS, {"status": "DownloadScheduled"}):  # optional
        expect_statuses(tester, request_id, "DownloadScheduled")
    stop_and_leave(tester)
    expect_statuses(tester, request_id, *DOWNLOAD_STATUSES)
    expect_installed(tester, request_id)


def stop_and_leave(tester: Tester) -> None:
    """End the session; its connector may become Unavailable at once."""
    states.authorize_stop(tester)
    states.ev_connected_post_session(tester)
    tester.unplug()


def _allow_new_sessions(tester: Tester, *, allowed: bool) -> None:
    tester.configure_variable(
        "ChargingStation", "AllowNewSessionsPendingFirmwareUpdate", value=allowed
    )
