"""Scenes of meters that are silent or replaced: which energy belongs to no transaction, and why."""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE
from tests.ground_truth.scene import SceneBuilder, SceneScript

METER_FAULT: Final = "had a fault, meter no_response"


def silent_until_after_the_end(script: SceneScript) -> None:
    """The session stops after 30 s of silence, and ends 30 s later; then the meter is back."""
    script.start_charging()
    script.add_event(
        script.random_time(50, 20), "silence_meter", evse_id=script.evse_id, seconds=90
    )
    script.unplug()
    script.add_question("stop", METER_FAULT, "Other")
    script.add_question(
        "unaccounted", "the meter did not respond when the transaction before ended"
    )


def silent_until_the_end(script: SceneScript) -> None:
    """The meter is back while the transaction waits for it: all is billed."""
    script.start_charging()
    script.add_event(
        60, "silence_meter", evse_id=script.evse_id, seconds=script.random_time(40, 15)
    )
    script.unplug()
    script.add_question("stop", METER_FAULT, "Other")
    script.add_question("unaccounted", "")


def silent_within_a_session(script: SceneScript) -> None:
    """The meter is back before the session stops: all is billed."""
    script.start_charging()
    script.add_event(50, "silence_meter", evse_id=script.evse_id, seconds=script.random_time(5, 20))
    script.present_id_token(script.random_time(90, 30), ALICE)
    script.unplug()
    script.add_question("stop", "the IdToken that started it was presented (E07.FR.01", "Local")
    script.add_question("unaccounted", "")


def meter_replaced(script: SceneScript) -> None:
    """Another meter, with a lower register, before a session."""
    script.add_event(1, "replace_meter", evse_id=script.evse_id, register_wh=0)
    script.add_event(20, "connect_ev", evse_id=script.evse_id)
    script.present_id_token(23, ALICE)
    script.present_id_token(script.random_time(80, 40), ALICE)
    script.unplug()
    script.add_question(
        "unaccounted",
        "the register is lower than before, as after an exchange of the meter (J02.FR.16)",
    )
    script.add_question("stop", "the IdToken that started it was presented (E07.FR.01", "Local")


SCENES: Final[tuple[SceneBuilder, ...]] = (
    silent_until_after_the_end,
    silent_until_the_end,
    silent_within_a_session,
    meter_replaced,
)
