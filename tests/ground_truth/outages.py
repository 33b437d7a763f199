"""Why is it Unavailable or Faulted, and what became of the new firmware?"""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE
from tests.ground_truth.stage import SceneBuilder, SceneScript

# --- Out of service ------------------------------------------------------------------------------


def all_out_of_service(stage: SceneScript) -> None:
    stage.change_availability(2, False)
    stage.change_availability(100, True)
    stage.add_question("status", "the CSMS set the station to Inoperative (G04", "Unavailable")


def connector_out_of_service(stage: SceneScript) -> None:
    where = stage.evse | {"connectorId": 1}
    stage.change_availability(2, False, where)
    stage.change_availability(100, True, where)
    says = f"the CSMS set EVSE {stage.evse_id} connector 1 to Inoperative (G03.FR.04)"
    stage.add_question("status", says, "Unavailable")


def out_of_service_afterwards(stage: SceneScript) -> None:
    stage.start_charging()
    stage.change_availability(40, False, stage.evse)
    stage.present_id_token(90, ALICE)
    stage.unplug(110)
    stage.change_availability(150, True, stage.evse)
    stage.add_question(
        "status", f"the CSMS set EVSE {stage.evse_id} to Inoperative (G03", "Unavailable"
    )


def out_of_service_after_a_restart(stage: SceneScript) -> None:
    """It stays so, and the CSMS is told once more."""
    stage.change_availability(2, False, stage.evse)
    stage.add_event(40, "crash", gap_s=5, host=True)
    stage.change_availability(120, True, stage.evse)
    stage.add_question(
        "status", f"the CSMS set EVSE {stage.evse_id} to Inoperative (G03", "Unavailable"
    )


def all_shall_go_out_of_service(stage: SceneScript) -> None:
    """Somebody charges next door: this EVSE goes at once, the station as soon as that is over."""
    stage.charge_at_other_evse(until_s=100)
    stage.change_availability(40, False)
    stage.present_id_token(60, stage.accepted_id_token())
    stage.change_availability(150, True)
    leaves = "the CSMS requested Inoperative for the station (G04.FR.06)"
    stage.add_question("refusal", leaves)
    stage.add_question("status", leaves, "Unavailable")


def about_to_restart(stage: SceneScript) -> None:
    """Somebody charges next door, and the station waits for that before it restarts."""
    stage.charge_at_other_evse(until_s=100)
    stage.csms_calls(40, "Reset", type="OnIdle")
    stage.add_question("status", "the station was about to restart (B11.FR.03)", "Unavailable")


def evse_broken(stage: SceneScript) -> None:
    stage.raise_fault(10, "insulation low", 60)
    stage.add_question("status", f"EVSE {stage.evse_id} had a fault, insulation low", "Faulted")


def all_broken(stage: SceneScript) -> None:
    stage.raise_fault(10, "mains lost", 60, 0, "PowerLoss")
    stage.add_question("status", "the station had a fault, mains lost", "Faulted")


# --- Firmware ------------------------------------------------------------------------------------


def _start_update(stage: SceneScript, **troubles: str) -> None:
    """The CSMS wants new firmware; each step of it takes 5 s, and may meet with trouble."""
    stage.add_event(1, "workshop", seconds=5, troubles=troubles)
    stage.add_event(3, "update", request_id=stage.dice.randrange(1_000))


def firmware_is_installed(stage: SceneScript) -> None:
    _start_update(stage)
    needs = "a firmware update waits until the EVSEs are free (L01.FR.06, L01.FR.07)"
    stage.add_question("update", "the download was due (L01.FR.01)", "Downloading")
    stage.add_question("update", "it was downloaded; its signature is checked next (L01.FR.04)",
               "Downloaded")  # fmt: skip
    stage.add_question(
        "update", "the manufacturer's signature is valid (L01.FR.04)", "SignatureVerified"
    )
    stage.add_question("update", "nothing blocked it any more (L01.FR.05)", "Installing")
    stage.add_question(
        "update", "it needs a restart to take effect (L01.FR.32)", "InstallRebooting"
    )
    stage.add_question(
        "update", "it is running after the restart (L01.FR.28, L01.FR.32)", "Installed"
    )
    stage.add_question("restart", "it starts the new firmware (L01.FR.32)")
    stage.add_question("status", needs, "Unavailable")


def firmware_does_not_come(stage: SceneScript) -> None:
    _start_update(stage, download="the server has no such file")
    says = "every download attempt failed: the server has no such file (L01.FR.30)"
    stage.add_question("update", says, "DownloadFailed")


def firmware_is_not_signed_well(stage: SceneScript) -> None:
    _start_update(stage, verify="it is another file's")
    says = "the signature is invalid: it is another file's (L01.FR.04, L01.FR.12)"
    stage.add_question("update", says, "InvalidSignature")


def firmware_cannot_be_installed(stage: SceneScript) -> None:
    _start_update(stage, install="the partition is broken")
    stage.add_question(
        "update", "the installer failed: the partition is broken", "InstallationFailed"
    )


def firmware_is_not_sound(stage: SceneScript) -> None:
    _start_update(stage, sound="for another model")
    says = "the installer rejected it as invalid: for another model (L01.FR.29)"
    stage.add_question("update", says, "InstallVerificationFailed")


def firmware_does_not_run(stage: SceneScript) -> None:
    _start_update(stage, confirm="1.0 is in place, not 1.1")
    says = "it is not running after the restart: 1.0 is in place, not 1.1"
    stage.add_question("update", says, "InstallationFailed")


def firmware_of_a_stranger(stage: SceneScript) -> None:
    stage.add_event(3, "update", request_id=5, stranger=True)
    says = "InvalidCertificate: not issued by CN=Maker root,O=Test (L01.FR.22)"
    stage.add_question("reply", says, "UpdateFirmware")


def firmware_waits(stage: SceneScript) -> None:
    """For somebody who charges next door; nobody new may begin meanwhile."""
    stage.charge_at_other_evse(until_s=110)
    _start_update(stage)
    stage.present_id_token(60, stage.accepted_id_token())
    waits = "it waits for its scheduled time or for a transaction to end (L01.FR.06, L01.FR.16)"
    needs = "a firmware update waits until the EVSEs are free (L01.FR.06, L01.FR.07)"
    stage.add_question("update", waits, "InstallScheduled")
    stage.add_question(
        "update", "it is running after the restart (L01.FR.28, L01.FR.32)", "Installed"
    )
    stage.add_question("status", needs, "Unavailable")
    stage.add_question("refusal", needs)


SCENES: Final[tuple[SceneBuilder, ...]] = (
    all_out_of_service, connector_out_of_service, out_of_service_afterwards,
    out_of_service_after_a_restart, all_shall_go_out_of_service, about_to_restart, evse_broken,
    all_broken,
    firmware_is_installed, firmware_does_not_come, firmware_is_not_signed_well,
    firmware_cannot_be_installed, firmware_is_not_sound, firmware_does_not_run, firmware_waits,
    firmware_of_a_stranger,
)  # fmt: skip
