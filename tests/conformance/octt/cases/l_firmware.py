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
    t: Tester, step: str, update: UpdateOrder, status: Any = "Accepted", **more: int
) -> int:
    """Send UpdateFirmware, check the response, return the requestId."""
    signer = update.signer or make_signing_certificate(t.bench.authorities.manufacturer_root)
    firmware = {
        "location": t.bench.files.url(update.path),
        "retrieveDateTime": _timestamp_in(update.retrieve),
        "signingCertificate": signer.pem,
        "signature": signer.sign_data(update.signed_data),
    }
    if update.install is not None:
        firmware["installDateTime"] = _timestamp_in(update.install)
    request_id = t.next_id()
    request = {"requestId": request_id, "firmware": firmware} | more
    t.send_call(step, "UpdateFirmware", request, {"status": status})
    return request_id


def _timestamp_in(offset: timedelta) -> str:
    moment = datetime.now(UTC) + offset
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expect_statuses(
    t: Tester, request_id: int, *statuses: str, timeout_s: float = TRANSFER_S
) -> None:
    """These FirmwareStatusNotifications are received, in this order."""
    for status in statuses:
        t.expect_call(
            f"status {status}",
            STATUS,
            {"status": status, "requestId": request_id},
            predicate=lambda event: bool(event.get("requestId") == request_id),
            timeout_s=timeout_s,
        )


def expect_installed(t: Tester, request_id: int) -> None:
    """From the verified signature to the new firmware: Installing, restarts, Installed.

    The station may set connectors Unavailable first and reboot before or after installing; it
    reconnects at least once, so that the protocol version is negotiated again.
    """
    connection_before = t.csms.record.frames[-1].connection
    statuses = _statuses_until(t, request_id, "Installed")
    require(
        "installation", "Installing" in statuses, f"Installing must be reported, got {statuses}"
    )
    unexpected = set(statuses) - {"InstallRebooting", "Installing", "Installed"}
    require("installation", not unexpected, f"{unexpected} may not be reported")
    for boot in t.pending_calls("BootNotification"):
        check_fields("after the installation", boot, {"reason": "FirmwareUpdate"})
    t.expect_security_event("after the installation", "FirmwareUpdated", timeout_s=INSTALL_S)
    t.wait_until(
        lambda: t.csms.record.frames[-1].connection > connection_before,
        "after the installation",
        "new connection",
    )
    t.bench.wait_settled()
    _check_connectors(t)


def _statuses_until(t: Tester, request_id: int, *last: str) -> list[str]:
    statuses: list[str] = []
    while not statuses or statuses[-1] not in last:
        event = t.expect_call(
            "installation", STATUS, {"requestId": request_id}, timeout_s=INSTALL_S
        )
        statuses.append(event["status"])
        if len(statuses) > 8:
            raise CheckFailed(f"installation: {last} must be reported, got {statuses}")
    return statuses


def _check_connectors(t: Tester) -> None:
    """Every connector that was set Unavailable is reported Available again."""
    t.wait_until(
        lambda: not _unavailable_connectors(t), "afterwards", "every connector Available again"
    )


def _unavailable_connectors(t: Tester) -> list[tuple[int, int]]:
    reported: dict[tuple[int, int], str] = {}
    for event in t.csms.calls_for("StatusNotification", t.first_relevant_frame):
        payload = event.payload
        reported[payload["evseId"], payload["connectorId"]] = payload["connectorStatus"]
    return [connector for connector, status in reported.items() if status == "Unavailable"]


@needs_fresh_station
def tc_l_01_cs(t: Tester) -> None:
    request_id = request_update(t, "step 1", UpdateOrder())
    expect_statuses(t, request_id, *DOWNLOAD_STATUSES)
    expect_installed(t, request_id)


@needs_fresh_station
def tc_l_02_cs(t: Tester) -> None:
    later = timedelta(seconds=t.settings.schedule_offset_s)
    request_id = request_update(t, "step 1", UpdateOrder(install=later))
    expect_statuses(t, request_id, *DOWNLOAD_STATUSES, "InstallScheduled")
    expect_installed(t, request_id)


@needs_fresh_station
def tc_l_03_cs(t: Tester) -> None:
    later = timedelta(seconds=t.settings.schedule_offset_s)
    request_id = request_update(t, "step 1", UpdateOrder(retrieve=later))
    expect_statuses(t, request_id, "DownloadScheduled", *DOWNLOAD_STATUSES)
    expect_installed(t, request_id)


@needs_fresh_station
def tc_l_05_cs(t: Tester) -> None:
    unknown_signer = make_signing_certificate(make_root("Unknown root"))
    status = one_of("InvalidCertificate", "RevokedCertificate")
    request_update(t, "step 1", UpdateOrder(signer=unknown_signer), status)
    t.expect_security_event("step 3", "InvalidFirmwareSigningCertificate")


@needs_fresh_station
def tc_l_06_cs(t: Tester) -> None:
    request_id = request_update(t, "step 1", UpdateOrder(signed_data=b"something else"))
    expect_statuses(t, request_id, "Downloading", "Downloaded", "InvalidSignature")
    t.expect_security_event("step 9", "InvalidFirmwareSignature")


@needs_fresh_station
def tc_l_07_cs(t: Tester) -> None:
    update = UpdateOrder(path=FIRMWARE_PATH + "_does_not_exist")
    request_id = request_update(
        t, "step 1", update, retries=1, retryInterval=2
    )  # the station's own interval is minutes
    statuses = _statuses_until(t, request_id, "DownloadFailed")
    unexpected = set(statuses) - {"Downloading", "DownloadFailed"}
    require("step 5", not unexpected, f"{unexpected} may not be reported")


@needs_fresh_station
def tc_l_08_cs(t: Tester) -> None:
    request_id = request_update(
        t, "step 1", UpdateOrder(path=BROKEN_PATH, signed_data=BROKEN_FIRMWARE)
    )
    expect_statuses(t, request_id, *DOWNLOAD_STATUSES)
    _statuses_until(t, request_id, "InstallVerificationFailed", "InstallationFailed")
    t.bench.wait_settled()
    _check_connectors(t)


@needs_fresh_station
def tc_l_11_cs(t: Tester) -> None:
    t.bench.files.pause_s = 4.0
    request_id = request_update(t, "step 1", UpdateOrder())
    expect_statuses(t, request_id, "Downloading")
    request_update(t, "step 5", UpdateOrder(), "Rejected")
    expect_statuses(t, request_id, "Downloaded", "SignatureVerified")
    expect_installed(t, request_id)


@needs_fresh_station
def tc_l_10_cs(t: Tester) -> None:
    t.bench.files.pause_s = 4.0
    first = request_update(t, "step 1", UpdateOrder())
    expect_statuses(t, first, "Downloading")
    second = request_update(t, "step 5", UpdateOrder(), "AcceptedCanceled")
    canceled = [event for event in t.pending_calls(STATUS) if event["requestId"] == first]
    allowed = ("DownloadFailed", "InstallationFailed")  # errata 6.2.82
    unexpected = [event["status"] for event in canceled if event["status"] not in allowed]
    require("step 7", not unexpected, f"the canceled update may only report {allowed}")
    expect_statuses(t, second, *DOWNLOAD_STATUSES)
    expect_installed(t, second)


@needs_fresh_station
def tc_l_18_cs(t: Tester) -> None:
    firmware: Payload = {
        "location": t.bench.files.url(FIRMWARE_PATH),
        "retrieveDateTime": _timestamp_in(LONG_AGO),
        "installDateTime": _timestamp_in(LONG_AGO),
    }
    request = {"requestId": t.next_id(), "firmware": firmware}
    status = one_of("Rejected", "InvalidCertificate")
    t.send_call("step 1", "UpdateFirmware", request, {"status": status})


@needs_fresh_station
def tc_l_12_cs(t: Tester) -> None:
    _allow_new_sessions(t, allowed=True)
    states.start_energy_transfer(t)
    request_id = request_update(t, "step 1", UpdateOrder())
    expect_statuses(t, request_id, "DownloadScheduled")
    second = t.settings.second_evse_id
    states.start_energy_transfer(t, second, id_token=OTHER)
    states.parking_bay_unoccupied(t)
    states.parking_bay_unoccupied(t, second)
    expect_statuses(t, request_id, *DOWNLOAD_STATUSES)
    expect_installed(t, request_id)


@needs_fresh_station
def tc_l_13_cs(t: Tester) -> None:
    _allow_new_sessions(t, allowed=False)
    states.start_energy_transfer(t)
    request_id = request_update(t, "step 1", UpdateOrder())
    t.expect_status("step 5", "Unavailable", t.settings.second_evse_id)
    if t.pending_calls(STATUS, {"status": "DownloadScheduled"}):  # optional
        expect_statuses(t, request_id, "DownloadScheduled")
    stop_and_leave(t)
    expect_statuses(t, request_id, *DOWNLOAD_STATUSES)
    expect_installed(t, request_id)


def stop_and_leave(t: Tester) -> None:
    """End the session; its connector may become Unavailable at once."""
    states.authorize_stop(t)
    states.ev_connected_post_session(t)
    t.unplug()


def _allow_new_sessions(t: Tester, *, allowed: bool) -> None:
    t.configure_variable("ChargingStation", "AllowNewSessionsPendingFirmwareUpdate", value=allowed)
