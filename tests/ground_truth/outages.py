"""Scenes of Unavailable and Faulted connectors, and of firmware updates."""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE
from tests.ground_truth.scene import SceneBuilder, SceneScript

# --- Out of service ------------------------------------------------------------------------------


def station_inoperative(script: SceneScript) -> None:
    script.change_availability(2, False)
    script.change_availability(100, True)
    script.add_question(
        "status", "the CSMS requested Inoperative for the station (G04", "Unavailable"
    )


def connector_inoperative(script: SceneScript) -> None:
    connector = script.evse | {"connectorId": 1}
    script.change_availability(2, False, connector)
    script.change_availability(100, True, connector)
    expected = f"the CSMS requested Inoperative for EVSE {script.evse_id} connector 1 (G03.FR.04)"
    script.add_question("status", expected, "Unavailable")


def inoperative_after_transaction(script: SceneScript) -> None:
    script.start_charging()
    script.change_availability(40, False, script.evse)
    script.present_id_token(90, ALICE)
    script.unplug(110)
    script.change_availability(150, True, script.evse)
    script.add_question(
        "status", f"the CSMS requested Inoperative for EVSE {script.evse_id} (G03", "Unavailable"
    )


def inoperative_after_restart(script: SceneScript) -> None:
    """It stays Inoperative, and the status is reported again."""
    script.change_availability(2, False, script.evse)
    script.add_event(40, "kill_now", gap_s=5, host=True)
    script.change_availability(120, True, script.evse)
    script.add_question(
        "status", f"the CSMS requested Inoperative for EVSE {script.evse_id} (G03", "Unavailable"
    )


def station_inoperative_after_transaction(script: SceneScript) -> None:
    """With a session at the other EVSE: this EVSE is Unavailable at once, the station after it."""
    script.charge_at_other_evse(until_s=100)
    script.change_availability(40, False)
    script.present_id_token(60, script.accepted_id_token())
    script.change_availability(150, True)
    leaves = "the CSMS requested Inoperative for the station (G04.FR.06)"
    script.add_question("refusal", leaves)
    script.add_question("status", leaves, "Unavailable")


def unavailable_before_restart(script: SceneScript) -> None:
    """With a session at the other EVSE, the station waits for its end before it restarts."""
    script.charge_at_other_evse(until_s=100)
    script.csms_calls(40, "Reset", type="OnIdle")
    script.add_question("status", "the station was about to restart (B11.FR.03)", "Unavailable")


def fault_at_evse(script: SceneScript) -> None:
    script.raise_fault(10, "insulation low", 60)
    script.add_question("status", f"EVSE {script.evse_id} had a fault, insulation low", "Faulted")


def fault_of_station(script: SceneScript) -> None:
    script.raise_fault(10, "mains lost", 60, 0, "PowerLoss")
    script.add_question("status", "the station had a fault, mains lost", "Faulted")


# --- Firmware ------------------------------------------------------------------------------------


def _start_update(script: SceneScript, **failures: str) -> None:
    """The CSMS requests an update; each step takes 5 s, and may fail."""
    script.add_event(1, "set_firmware_failures", seconds=5, failures=failures)
    script.add_event(3, "request_firmware_update", request_id=script.random_source.randrange(1_000))


def firmware_installed(script: SceneScript) -> None:
    _start_update(script)
    needs = "a firmware update waits until the EVSEs are free (L01.FR.06, L01.FR.07)"
    script.add_question("firmware_status", "the download was due (L01.FR.01)", "Downloading")
    script.add_question(
        "firmware_status",
        "it was downloaded; its signature is checked next (L01.FR.04)",
        "Downloaded",
    )
    script.add_question(
        "firmware_status", "the manufacturer's signature is valid (L01.FR.04)", "SignatureVerified"
    )
    script.add_question("firmware_status", "nothing blocked it any more (L01.FR.05)", "Installing")
    script.add_question(
        "firmware_status", "it needs a restart to take effect (L01.FR.32)", "InstallRebooting"
    )
    script.add_question(
        "firmware_status", "it is running after the restart (L01.FR.28, L01.FR.32)", "Installed"
    )
    script.add_question("restart", "it starts the new firmware (L01.FR.32)")
    script.add_question("status", needs, "Unavailable")


def firmware_download_fails(script: SceneScript) -> None:
    _start_update(script, download="the server has no such file")
    expected = "every download attempt failed: the server has no such file (L01.FR.30)"
    script.add_question("firmware_status", expected, "DownloadFailed")


def firmware_signature_invalid(script: SceneScript) -> None:
    _start_update(script, verify="it is another file's")
    expected = "the signature is invalid: it is another file's (L01.FR.04, L01.FR.12)"
    script.add_question("firmware_status", expected, "InvalidSignature")


def firmware_install_fails(script: SceneScript) -> None:
    _start_update(script, install="the partition is broken")
    script.add_question(
        "firmware_status", "the installation failed: the partition is broken", "InstallationFailed"
    )


def firmware_rejected(script: SceneScript) -> None:
    _start_update(script, sound="for another model")
    expected = "the installer rejected it as invalid: for another model (L01.FR.29)"
    script.add_question("firmware_status", expected, "InstallVerificationFailed")


def firmware_not_running(script: SceneScript) -> None:
    _start_update(script, confirm="1.0 is in place, not 1.1")
    expected = "the installation failed: 1.0 is in place, not 1.1"
    script.add_question("firmware_status", expected, "InstallationFailed")


def firmware_certificate_untrusted(script: SceneScript) -> None:
    script.add_event(3, "request_firmware_update", request_id=5, stranger=True)
    expected = "InvalidCertificate: not issued by CN=Maker root,O=Test (L01.FR.22)"
    script.add_question("reply", expected, "UpdateFirmware")


def firmware_waits_for_transaction(script: SceneScript) -> None:
    """The installation waits for the session at the other EVSE; no other may start meanwhile."""
    script.charge_at_other_evse(until_s=110)
    _start_update(script)
    script.present_id_token(60, script.accepted_id_token())
    waits = "it waits for its scheduled time or for a transaction to end (L01.FR.06, L01.FR.16)"
    needs = "a firmware update waits until the EVSEs are free (L01.FR.06, L01.FR.07)"
    script.add_question("firmware_status", waits, "InstallScheduled")
    script.add_question(
        "firmware_status", "it is running after the restart (L01.FR.28, L01.FR.32)", "Installed"
    )
    script.add_question("status", needs, "Unavailable")
    script.add_question("refusal", needs)


SCENES: Final[tuple[SceneBuilder, ...]] = (
    station_inoperative,
    connector_inoperative,
    inoperative_after_transaction,
    inoperative_after_restart,
    station_inoperative_after_transaction,
    unavailable_before_restart,
    fault_at_evse,
    fault_of_station,
    firmware_installed,
    firmware_download_fails,
    firmware_signature_invalid,
    firmware_install_fails,
    firmware_rejected,
    firmware_not_running,
    firmware_waits_for_transaction,
    firmware_certificate_untrusted,
)
