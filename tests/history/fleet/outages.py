"""Why is it Unavailable or Faulted, and what became of the new firmware?"""

from __future__ import annotations

from typing import Final

from station.simulation.counterpart import ALICE
from tests.history.fleet.stage import Director, Stage

# --- Out of service ------------------------------------------------------------------------------


def all_out_of_service(stage: Stage) -> None:
    stage.operative(2, False)
    stage.operative(100, True)
    stage.asks("status", "the CSMS took the station out of service (G04", "Unavailable")


def connector_out_of_service(stage: Stage) -> None:
    where = stage.here | {"connectorId": 1}
    stage.operative(2, False, where)
    stage.operative(100, True, where)
    says = f"the CSMS took EVSE {stage.evse_id} connector 1 out of service (G03.FR.04)"
    stage.asks("status", says, "Unavailable")


def out_of_service_afterwards(stage: Stage) -> None:
    stage.charges()
    stage.operative(40, False, stage.here)
    stage.shows(90, ALICE)
    stage.leaves(110)
    stage.operative(150, True, stage.here)
    stage.asks("status", f"the CSMS took EVSE {stage.evse_id} out of service (G03", "Unavailable")


def out_of_service_after_a_restart(stage: Stage) -> None:
    """It stays so, and the CSMS is told once more."""
    stage.operative(2, False, stage.here)
    stage.at(40, "crash", gap_s=5, host=True)
    stage.operative(120, True, stage.here)
    stage.asks("status", f"the CSMS took EVSE {stage.evse_id} out of service (G03", "Unavailable")


def all_shall_go_out_of_service(stage: Stage) -> None:
    """Somebody charges next door: this EVSE goes at once, the station as soon as that is over."""
    stage.next_door(until_s=100)
    stage.operative(40, False)
    stage.shows(60, stage.friend())
    stage.operative(150, True)
    leaves = "the CSMS wants the station out of service (G04.FR.06)"
    stage.asks("refusal", leaves)
    stage.asks("status", leaves, "Unavailable")


def about_to_restart(stage: Stage) -> None:
    """Somebody charges next door, and the station waits for that before it restarts."""
    stage.next_door(until_s=100)
    stage.csms_asks(40, "Reset", type="OnIdle")
    stage.asks("status", "the station was about to restart (B11.FR.03)", "Unavailable")


def broken(stage: Stage) -> None:
    stage.breaks(10, "insulation low", 60)
    stage.asks("status", f"EVSE {stage.evse_id} had a fault, insulation low", "Faulted")


def all_broken(stage: Stage) -> None:
    stage.breaks(10, "mains lost", 60, 0, "PowerLoss")
    stage.asks("status", "the station had a fault, mains lost", "Faulted")


# --- Firmware ------------------------------------------------------------------------------------


def _updates(stage: Stage, **troubles: str) -> None:
    """The CSMS wants new firmware; each step of it takes 5 s, and may meet with trouble."""
    stage.at(1, "workshop", seconds=5, troubles=troubles)
    stage.at(3, "update", request_id=stage.dice.randrange(1_000))


def firmware_is_installed(stage: Stage) -> None:
    _updates(stage)
    needs = "a firmware update needs the EVSEs free (L01.FR.06, L01.FR.07)"
    stage.asks("update", "the download was due (L01.FR.01)", "Downloading")
    stage.asks("update", "it was downloaded, and its signature is checked next (L01.FR.04)",
               "Downloaded")  # fmt: skip
    stage.asks("update", "the manufacturer's signature holds (L01.FR.04)", "SignatureVerified")
    stage.asks("update", "nothing stood in the way any more (L01.FR.05)", "Installing")
    stage.asks("update", "it needs a restart to come to life (L01.FR.32)", "InstallRebooting")
    stage.asks("update", "after the restart it is what runs (L01.FR.28, L01.FR.32)", "Installed")
    stage.asks("restart", "new firmware comes to life by it (L01.FR.32)")
    stage.asks("status", needs, "Unavailable")


def firmware_does_not_come(stage: Stage) -> None:
    _updates(stage, download="the server has no such file")
    says = "no attempt at the download worked: the server has no such file (L01.FR.30)"
    stage.asks("update", says, "DownloadFailed")


def firmware_is_not_signed_well(stage: Stage) -> None:
    _updates(stage, verify="it is another file's")
    says = "the signature does not hold: it is another file's (L01.FR.04, L01.FR.12)"
    stage.asks("update", says, "InvalidSignature")


def firmware_cannot_be_installed(stage: Stage) -> None:
    _updates(stage, install="the partition is broken")
    stage.asks("update", "the installer failed: the partition is broken", "InstallationFailed")


def firmware_is_not_sound(stage: Stage) -> None:
    _updates(stage, sound="for another model")
    says = "the installer found it unsound: for another model (L01.FR.29)"
    stage.asks("update", says, "InstallVerificationFailed")


def firmware_does_not_run(stage: Stage) -> None:
    _updates(stage, confirm="1.0 is in place, not 1.1")
    says = "after the restart it does not run: 1.0 is in place, not 1.1"
    stage.asks("update", says, "InstallationFailed")


def firmware_of_a_stranger(stage: Stage) -> None:
    stage.at(3, "update", request_id=5, stranger=True)
    says = "InvalidCertificate: not issued by CN=Maker root,O=Test (L01.FR.22)"
    stage.asks("reply", says, "UpdateFirmware")


def firmware_waits(stage: Stage) -> None:
    """For somebody who charges next door; nobody new may begin meanwhile."""
    stage.next_door(until_s=110)
    _updates(stage)
    stage.shows(60, stage.friend())
    waits = "it waits for its time, or for somebody who charges (L01.FR.06, L01.FR.16)"
    needs = "a firmware update needs the EVSEs free (L01.FR.06, L01.FR.07)"
    stage.asks("update", waits, "InstallScheduled")
    stage.asks("update", "after the restart it is what runs (L01.FR.28, L01.FR.32)", "Installed")
    stage.asks("status", needs, "Unavailable")
    stage.asks("refusal", needs)


SCENES: Final[tuple[Director, ...]] = (
    all_out_of_service, connector_out_of_service, out_of_service_afterwards,
    out_of_service_after_a_restart, all_shall_go_out_of_service, about_to_restart, broken,
    all_broken,
    firmware_is_installed, firmware_does_not_come, firmware_is_not_signed_well,
    firmware_cannot_be_installed, firmware_is_not_sound, firmware_does_not_run, firmware_waits,
    firmware_of_a_stranger,
)  # fmt: skip
