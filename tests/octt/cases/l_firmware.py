"""Block L: secure firmware updates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.csms import Payload
from tests.octt import states
from tests.octt.bench import OTHER
from tests.octt.certificates import Identity, root, signing
from tests.octt.files import BROKEN_FIRMWARE, BROKEN_PATH, FIRMWARE, FIRMWARE_PATH
from tests.octt.fresh import fresh
from tests.octt.tester import Tester
from tests.octt.verify import Failure, must, one_of, verify

LONG_AGO = timedelta(hours=-2)
TRANSFER_S = 60.0
INSTALL_S = 90.0
STATUS = "FirmwareStatusNotification"
LOADED = ("Downloading", "Downloaded", "SignatureVerified")


@dataclass(frozen=True)
class Update:
    """What UpdateFirmware asks for."""

    path: str = FIRMWARE_PATH
    data: bytes = FIRMWARE  # what the signature is made of
    retrieve: timedelta = LONG_AGO  # from now
    install: timedelta | None = LONG_AGO
    signer: Identity | None = None  # None: one the manufacturer's root signed


def ask(t: Tester, step: str, update: Update, status: Any = "Accepted", **more: int) -> int:
    """Send UpdateFirmware, verify its answer, give its requestId."""
    signer = update.signer or signing(t.bench.authorities.manufacturer_root)
    firmware = {
        "location": t.bench.files.url(update.path),
        "retrieveDateTime": _moment(update.retrieve),
        "signingCertificate": signer.pem,
        "signature": signer.sign(update.data),
    }
    if update.install is not None:
        firmware["installDateTime"] = _moment(update.install)
    number = t.next_id()
    request = {"requestId": number, "firmware": firmware} | more
    t.call(step, "UpdateFirmware", request, {"status": status})
    return number


def _moment(offset: timedelta) -> str:
    moment = datetime.now(UTC) + offset
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(t: Tester, number: int, *statuses: str, timeout_s: float = TRANSFER_S) -> None:
    """These FirmwareStatusNotifications come, in this order."""
    for status in statuses:
        t.expect(
            f"status {status}",
            STATUS,
            {"status": status, "requestId": number},
            wanted=lambda event: bool(event.get("requestId") == number),
            timeout_s=timeout_s,
        )


def installed(t: Tester, number: int) -> None:
    """From the verified signature to the new firmware: Installing, restarts, Installed.

    The station may set connectors Unavailable first and reboot before or after installing; it
    reconnects at least once, so that the protocol version is agreed anew.
    """
    began = t.csms.record.frames[-1].connection
    statuses = _until(t, number, "Installed")
    must("installation", "Installing" in statuses, f"Installing must be told, were {statuses}")
    strange = set(statuses) - {"InstallRebooting", "Installing", "Installed"}
    must("installation", not strange, f"{strange} may not be told")
    for boot in t.waiting("BootNotification"):
        verify("after the installation", boot, {"reason": "FirmwareUpdate"})
    t.security_event("after the installation", "FirmwareUpdated", timeout_s=INSTALL_S)
    t.until(
        lambda: t.csms.record.frames[-1].connection > began,
        "after the installation",
        "new connection",
    )
    t.bench.wait_settled()
    _check_connectors(t)


def _until(t: Tester, number: int, *last: str) -> list[str]:
    statuses: list[str] = []
    while not statuses or statuses[-1] not in last:
        event = t.expect("installation", STATUS, {"requestId": number}, timeout_s=INSTALL_S)
        statuses.append(event["status"])
        if len(statuses) > 8:
            raise Failure(f"installation: {last} must be told, were {statuses}")
    return statuses


def _check_connectors(t: Tester) -> None:
    """Whoever was set Unavailable is Available again, once its EVSE has spoken."""
    t.until(lambda: not _unavailable(t), "afterwards", "every connector Available again")


def _unavailable(t: Tester) -> list[tuple[int, int]]:
    reported: dict[tuple[int, int], str] = {}
    for event in t.csms.calls("StatusNotification", t.since):
        payload = event.payload
        reported[payload["evseId"], payload["connectorId"]] = payload["connectorStatus"]
    return [where for where, status in reported.items() if status == "Unavailable"]


@fresh
def tc_l_01_cs(t: Tester) -> None:
    number = ask(t, "step 1", Update())
    told(t, number, *LOADED)
    installed(t, number)


@fresh
def tc_l_02_cs(t: Tester) -> None:
    later = timedelta(seconds=t.settings.schedule_offset_s)
    number = ask(t, "step 1", Update(install=later))
    told(t, number, *LOADED, "InstallScheduled")
    installed(t, number)


@fresh
def tc_l_03_cs(t: Tester) -> None:
    later = timedelta(seconds=t.settings.schedule_offset_s)
    number = ask(t, "step 1", Update(retrieve=later))
    told(t, number, "DownloadScheduled", *LOADED)
    installed(t, number)


@fresh
def tc_l_05_cs(t: Tester) -> None:
    stranger = signing(root("Somebody else's root"))
    status = one_of("InvalidCertificate", "RevokedCertificate")
    ask(t, "step 1", Update(signer=stranger), status)
    t.security_event("step 3", "InvalidFirmwareSigningCertificate")


@fresh
def tc_l_06_cs(t: Tester) -> None:
    number = ask(t, "step 1", Update(data=b"something else"))
    told(t, number, "Downloading", "Downloaded", "InvalidSignature")
    t.security_event("step 9", "InvalidFirmwareSignature")


@fresh
def tc_l_07_cs(t: Tester) -> None:
    update = Update(path=FIRMWARE_PATH + "_does_not_exist")
    number = ask(t, "step 1", update, retries=1, retryInterval=2)  # its own would be minutes
    statuses = _until(t, number, "DownloadFailed")
    strange = set(statuses) - {"Downloading", "DownloadFailed"}
    must("step 5", not strange, f"{strange} may not be told")


@fresh
def tc_l_08_cs(t: Tester) -> None:
    number = ask(t, "step 1", Update(path=BROKEN_PATH, data=BROKEN_FIRMWARE))
    told(t, number, *LOADED)
    _until(t, number, "InstallVerificationFailed", "InstallationFailed")
    t.bench.wait_settled()
    _check_connectors(t)


@fresh
def tc_l_11_cs(t: Tester) -> None:
    t.bench.files.pause_s = 4.0
    number = ask(t, "step 1", Update())
    told(t, number, "Downloading")
    ask(t, "step 5", Update(), "Rejected")
    told(t, number, "Downloaded", "SignatureVerified")
    installed(t, number)


@fresh
def tc_l_10_cs(t: Tester) -> None:
    t.bench.files.pause_s = 4.0
    first = ask(t, "step 1", Update())
    told(t, first, "Downloading")
    number = ask(t, "step 5", Update(), "AcceptedCanceled")
    second = [one for one in t.waiting(STATUS) if one["requestId"] == first]
    allowed = ("DownloadFailed", "InstallationFailed")  # errata 6.2.82
    strange = [one["status"] for one in second if one["status"] not in allowed]
    must("step 7", not strange, f"of the cancelled update nothing may be told but {allowed}")
    told(t, number, *LOADED)
    installed(t, number)


@fresh
def tc_l_18_cs(t: Tester) -> None:
    firmware: Payload = {
        "location": t.bench.files.url(FIRMWARE_PATH),
        "retrieveDateTime": _moment(LONG_AGO),
        "installDateTime": _moment(LONG_AGO),
    }
    request = {"requestId": t.next_id(), "firmware": firmware}
    status = one_of("Rejected", "InvalidCertificate")
    t.call("step 1", "UpdateFirmware", request, {"status": status})


@fresh
def tc_l_12_cs(t: Tester) -> None:
    _allow_new_sessions(t, allowed=True)
    states.energy_transfer_started(t)
    number = ask(t, "step 1", Update())
    told(t, number, "DownloadScheduled")
    second = t.settings.second_evse_id
    states.energy_transfer_started(t, second, id_token=OTHER)
    states.parking_bay_unoccupied(t)
    states.parking_bay_unoccupied(t, second)
    told(t, number, *LOADED)
    installed(t, number)


@fresh
def tc_l_13_cs(t: Tester) -> None:
    _allow_new_sessions(t, allowed=False)
    states.energy_transfer_started(t)
    number = ask(t, "step 1", Update())
    t.status("step 5", "Unavailable", t.settings.second_evse_id)
    if t.waiting(STATUS, {"status": "DownloadScheduled"}):  # it may tell, and need not
        told(t, number, "DownloadScheduled")
    stop_and_leave(t)
    told(t, number, *LOADED)
    installed(t, number)


def stop_and_leave(t: Tester) -> None:
    """The session ends; its connector may go out of service at once."""
    states.stop_authorized(t)
    states.ev_connected_post_session(t)
    t.unplug()


def _allow_new_sessions(t: Tester, *, allowed: bool) -> None:
    t.configure("ChargingStation", "AllowNewSessionsPendingFirmwareUpdate", value=allowed)
