"""Why was this message sent twice, set aside, or given up?"""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE
from station.simulation.station_process import RESERVE_BYTES
from tests.ground_truth.stage import SAMPLE_INTERVAL_S, SceneBuilder, SceneScript

# --- Sent more than once -------------------------------------------------------------------------


def _disturb_samples(stage: SceneScript, fault: str, seconds: float) -> None:
    """One sample, or a few, of a transaction meet a mischief."""
    stage.start_charging()
    stage.add_event(50, "set_fault_rates", seconds=seconds, **{fault: 1.0})
    stage.present_id_token(160, ALICE)
    stage.unplug(185)


def refused_by_the_csms(stage: SceneScript) -> None:
    _disturb_samples(stage, "call_error", SAMPLE_INTERVAL_S)
    stage.add_question(
        "again", "sent again: the previous attempt failed, InternalError: not today (E13"
    )


def never_answered(stage: SceneScript) -> None:
    _disturb_samples(stage, "no_response", SAMPLE_INTERVAL_S)
    stage.add_question(
        "again", "sent again: the previous attempt failed, no answer within 30 s (E13"
    )


def cut_before_the_answer(stage: SceneScript) -> None:
    _disturb_samples(
        stage,
        stage.dice.choice(["cut_after_processing", "cut_before_processing"]),
        SAMPLE_INTERVAL_S,
    )
    stage.add_question(
        "again",
        "sent again: the link was lost before the answer, which does not count as a failed attempt",
    )


def dead_before_the_answer(stage: SceneScript) -> None:
    stage.start_charging()
    stage.add_event(50, "set_fault_rates", seconds=SAMPLE_INTERVAL_S + 5, no_response=1.0)
    stage.add_event(66, "crash", gap_s=3, host=False)
    stage.present_id_token(160, ALICE)
    stage.unplug(185)
    stage.add_question("again", "sent again: the program ended before the answer was recorded")


def parked_and_wanted(stage: SceneScript) -> None:
    """Refused three times, parked, and tried once more because somebody said so."""
    _disturb_samples(stage, "call_error", SAMPLE_INTERVAL_S + 18)
    stage.add_event(100, "retry_calls", calls=[])
    stage.add_question("again", "sent again: an operator requested it")
    stage.add_question(
        "parked", "its last attempt failed, attempt 3 of 3: InternalError: not today (E13.FR.04)"
    )


def sent_once(stage: SceneScript) -> None:
    """Slow, but not too slow."""
    stage.start_charging()
    stage.add_event(40, "slow_network", latency_s=2, seconds=60)
    stage.present_id_token(130, ALICE)
    stage.unplug()
    stage.add_question("again", "")


def answered_with_nonsense(stage: SceneScript) -> None:
    """An answer that cannot be used is an answer: the CSMS has the message."""
    _disturb_samples(stage, "malformed_response", SAMPLE_INTERVAL_S)
    stage.add_question("again", "")


# --- Given up ------------------------------------------------------------------------------------


def status_goes_with_the_link(stage: SceneScript) -> None:
    stage.add_event(6, "slow_network", latency_s=20, seconds=6)
    stage.plug_in(8)
    stage.add_event(10, "cut_connection")
    stage.unplug(100)
    stage.add_question(
        "dropped",
        "the link was lost; current values are sent after reconnecting (B04.FR.01, B04.FR.02)",
    )


def status_is_refused(stage: SceneScript) -> None:
    stage.add_event(6, "set_fault_rates", seconds=6, call_error=1.0)
    stage.plug_in(8)
    stage.unplug(100)
    stage.add_question("dropped", "the CSMS rejected it, InternalError: not today")


def status_is_not_answered(stage: SceneScript) -> None:
    stage.add_event(6, "set_fault_rates", seconds=6, no_response=1.0)
    stage.plug_in(8)
    stage.unplug(100)
    stage.add_question("dropped", "no answer within 30 s, and its delivery is not required")


def samples_are_thinned(stage: SceneScript) -> None:
    """There is no link, samples wait, and then there is little room for them."""
    stage.start_charging()
    stage.go_offline(30, 140)
    stage.add_event(100, "fill_disk", free_bytes=2 * RESERVE_BYTES, seconds=60)
    stage.present_id_token(165, ALICE)
    stage.unplug(185)
    stage.add_question(
        "dropped", "disk space was low, so every second waiting sample was dropped (E12.FR.05)"
    )
    stage.add_question("thinned", "dropped, little room left")


def samples_are_thinned_under_a_call(stage: SceneScript) -> None:
    """One of them is under way just then, stays, and goes again once there is a link."""
    stage.start_charging()
    stage.add_event(48, "set_fault_rates", seconds=36, ignored=1.0)
    stage.add_event(76, "fill_disk", free_bytes=2 * RESERVE_BYTES, seconds=40)
    stage.add_event(83, "cut_connection")
    stage.present_id_token(150, ALICE)
    stage.unplug(185)
    stage.add_question(
        "again",
        "sent again: the link was lost before the answer, which does not count as a failed attempt",
    )
    stage.add_question("dropped", "every second waiting sample was dropped (E12.FR.05)")


SCENES: Final[tuple[SceneBuilder, ...]] = (
    refused_by_the_csms, never_answered, cut_before_the_answer, dead_before_the_answer,
    parked_and_wanted, sent_once, answered_with_nonsense,
    status_goes_with_the_link, status_is_refused, status_is_not_answered, samples_are_thinned,
    samples_are_thinned_under_a_call,
)  # fmt: skip
