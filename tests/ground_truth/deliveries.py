"""Scenes of delivery: messages sent more than once, parked or dropped."""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE
from station.simulation.station_process import RESERVE_BYTES
from tests.ground_truth.scene import SAMPLE_INTERVAL_S, SceneBuilder, SceneScript

# --- Sent more than once -------------------------------------------------------------------------


def _disturb_samples(script: SceneScript, fault: str, seconds: float) -> None:
    """One sample, or a few, of a transaction meet a fault of the CSMS."""
    script.start_charging()
    script.add_event(50, "set_fault_rates", seconds=seconds, **{fault: 1.0})
    script.present_id_token(160, ALICE)
    script.unplug(185)


def resent_after_error(script: SceneScript) -> None:
    _disturb_samples(script, "call_error", SAMPLE_INTERVAL_S)
    script.add_question(
        "resend", "sent again: the previous attempt failed, InternalError: not today (E13"
    )


def resent_after_timeout(script: SceneScript) -> None:
    _disturb_samples(script, "no_response", SAMPLE_INTERVAL_S)
    script.add_question(
        "resend", "sent again: the previous attempt failed, no answer within 30 s (E13"
    )


def resent_after_link_loss(script: SceneScript) -> None:
    _disturb_samples(
        script,
        script.random_source.choice(["cut_after_processing", "cut_before_processing"]),
        SAMPLE_INTERVAL_S,
    )
    script.add_question(
        "resend",
        "sent again: the link was lost before the answer, which does not count as a failed attempt",
    )


def resent_after_kill(script: SceneScript) -> None:
    script.start_charging()
    script.add_event(50, "set_fault_rates", seconds=SAMPLE_INTERVAL_S + 5, no_response=1.0)
    script.add_event(66, "kill_now", gap_s=3, host=False)
    script.present_id_token(160, ALICE)
    script.unplug(185)
    script.add_question("resend", "sent again: the program ended before the answer was recorded")


def resent_after_parking(script: SceneScript) -> None:
    """Refused three times, parked, and sent again because an operator requested it."""
    _disturb_samples(script, "call_error", SAMPLE_INTERVAL_S + 18)
    script.add_event(100, "retry_calls", calls=[])
    script.add_question("resend", "sent again: an operator requested it")
    script.add_question(
        "parked", "its last attempt failed, attempt 3 of 3: InternalError: not today (E13.FR.04)"
    )


def slow_but_sent_once(script: SceneScript) -> None:
    """A slow network, but within the message timeout."""
    script.start_charging()
    script.add_event(40, "slow_network", latency_s=2, seconds=60)
    script.present_id_token(130, ALICE)
    script.unplug()
    script.add_question("resend", "")


def malformed_response_sent_once(script: SceneScript) -> None:
    """A response that cannot be used is a response: the CSMS received the message."""
    _disturb_samples(script, "malformed_response", SAMPLE_INTERVAL_S)
    script.add_question("resend", "")


# --- Dropped -------------------------------------------------------------------------------------


def status_dropped_with_link(script: SceneScript) -> None:
    script.add_event(6, "slow_network", latency_s=20, seconds=6)
    script.plug_in(8)
    script.add_event(10, "cut_connection")
    script.unplug(100)
    script.add_question(
        "dropped",
        "the link was lost; current values are sent after reconnecting (B04.FR.01, B04.FR.02)",
    )


def status_refused(script: SceneScript) -> None:
    script.add_event(6, "set_fault_rates", seconds=6, call_error=1.0)
    script.plug_in(8)
    script.unplug(100)
    script.add_question("dropped", "the CSMS rejected it, InternalError: not today")


def status_unanswered(script: SceneScript) -> None:
    script.add_event(6, "set_fault_rates", seconds=6, no_response=1.0)
    script.plug_in(8)
    script.unplug(100)
    script.add_question("dropped", "no answer within 30 s, and its delivery is not required")


def samples_dropped(script: SceneScript) -> None:
    """Samples wait without a link, and then the disk is nearly full."""
    script.start_charging()
    script.go_offline(30, 140)
    script.add_event(100, "fill_disk", free_bytes=2 * RESERVE_BYTES, seconds=60)
    script.present_id_token(165, ALICE)
    script.unplug(185)
    script.add_question(
        "dropped", "disk space was low, so every second waiting sample was dropped (E12.FR.05)"
    )
    script.add_question("sample_drop", "dropped, little room left")


def samples_dropped_with_call_in_flight(script: SceneScript) -> None:
    """A sample in flight at that time is kept, and sent again after reconnecting."""
    script.start_charging()
    script.add_event(48, "set_fault_rates", seconds=36, ignored=1.0)
    script.add_event(76, "fill_disk", free_bytes=2 * RESERVE_BYTES, seconds=40)
    script.add_event(83, "cut_connection")
    script.present_id_token(150, ALICE)
    script.unplug(185)
    script.add_question(
        "resend",
        "sent again: the link was lost before the answer, which does not count as a failed attempt",
    )
    script.add_question("dropped", "every second waiting sample was dropped (E12.FR.05)")


SCENES: Final[tuple[SceneBuilder, ...]] = (
    resent_after_error,
    resent_after_timeout,
    resent_after_link_loss,
    resent_after_kill,
    resent_after_parking,
    slow_but_sent_once,
    malformed_response_sent_once,
    status_dropped_with_link,
    status_refused,
    status_unanswered,
    samples_dropped,
    samples_dropped_with_call_in_flight,
)
