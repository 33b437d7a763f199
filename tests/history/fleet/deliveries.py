"""Why was this message sent twice, set aside, or given up?"""

from __future__ import annotations

from typing import Final

from station.simulation.counterpart import ALICE
from station.simulation.life import RESERVE_BYTES
from tests.history.fleet.stage import SAMPLES_S, Director, Stage

# --- Sent more than once -------------------------------------------------------------------------


def _meets(stage: Stage, mischief: str, seconds: float) -> None:
    """One sample, or a few, of a transaction meet a mischief."""
    stage.charges()
    stage.at(50, "temper", seconds=seconds, **{mischief: 1.0})
    stage.shows(160, ALICE)
    stage.leaves(185)


def refused_by_the_csms(stage: Stage) -> None:
    _meets(stage, "refused", SAMPLES_S)
    stage.asks("again", "sent again: the attempt before failed, InternalError: not today (E13")


def never_answered(stage: Stage) -> None:
    _meets(stage, "lost", SAMPLES_S)
    stage.asks("again", "sent again: the attempt before failed, no answer within 30 s (E13")


def cut_before_the_answer(stage: Stage) -> None:
    _meets(stage, stage.dice.choice(["cut_after", "cut_before"]), SAMPLES_S)
    stage.asks(
        "again", "sent again: the link went before the answer came, which counts as no failure"
    )


def dead_before_the_answer(stage: Stage) -> None:
    stage.charges()
    stage.at(50, "temper", seconds=SAMPLES_S + 5, lost=1.0)
    stage.at(66, "crash", gap_s=3, host=False)
    stage.shows(160, ALICE)
    stage.leaves(185)
    stage.asks("again", "sent again: the program ended before it knew of an answer")


def parked_and_wanted(stage: Stage) -> None:
    """Refused three times, parked, and tried once more because somebody said so."""
    _meets(stage, "refused", SAMPLES_S + 18)
    stage.at(100, "retries", calls=[])
    stage.asks("again", "sent again: an operator wanted it")
    stage.asks(
        "parked", "its last attempt failed, attempt 3 of 3: InternalError: not today (E13.FR.04)"
    )


def sent_once(stage: Stage) -> None:
    """Slow, but not too slow."""
    stage.charges()
    stage.at(40, "slow", latency_s=2, seconds=60)
    stage.shows(130, ALICE)
    stage.leaves()
    stage.asks("again", "")


def answered_with_nonsense(stage: Stage) -> None:
    """An answer that cannot be used is an answer: the CSMS has the message."""
    _meets(stage, "nonsense", SAMPLES_S)
    stage.asks("again", "")


# --- Given up ------------------------------------------------------------------------------------


def status_goes_with_the_link(stage: Stage) -> None:
    stage.at(6, "slow", latency_s=20, seconds=6)
    stage.plugs(8)
    stage.at(10, "cut")
    stage.leaves(100)
    stage.asks("dropped", "the link went, and what counts then is told anew (B04.FR.01, B04.FR.02)")


def status_is_refused(stage: Stage) -> None:
    stage.at(6, "temper", seconds=6, refused=1.0)
    stage.plugs(8)
    stage.leaves(100)
    stage.asks("dropped", "the CSMS refused it, InternalError: not today")


def status_is_not_answered(stage: Stage) -> None:
    stage.at(6, "temper", seconds=6, lost=1.0)
    stage.plugs(8)
    stage.leaves(100)
    stage.asks("dropped", "no answer within 30 s, and it is not among what must arrive")


def samples_are_thinned(stage: Stage) -> None:
    """There is no link, samples wait, and then there is little room for them."""
    stage.charges()
    stage.offline(30, 140)
    stage.at(100, "disk_fills", free_bytes=2 * RESERVE_BYTES, seconds=60)
    stage.shows(165, ALICE)
    stage.leaves(185)
    stage.asks(
        "dropped", "little room was left, so every second sample that waited went (E12.FR.05)"
    )
    stage.asks("thinned", "dropped, little room left")


def samples_are_thinned_under_a_call(stage: Stage) -> None:
    """One of them is under way just then, stays, and goes again once there is a link."""
    stage.charges()
    stage.at(48, "temper", seconds=36, deaf=1.0)
    stage.at(76, "disk_fills", free_bytes=2 * RESERVE_BYTES, seconds=40)
    stage.at(83, "cut")
    stage.shows(150, ALICE)
    stage.leaves(185)
    stage.asks(
        "again", "sent again: the link went before the answer came, which counts as no failure"
    )
    stage.asks("dropped", "every second sample that waited went (E12.FR.05)")


SCENES: Final[tuple[Director, ...]] = (
    refused_by_the_csms, never_answered, cut_before_the_answer, dead_before_the_answer,
    parked_and_wanted, sent_once, answered_with_nonsense,
    status_goes_with_the_link, status_is_refused, status_is_not_answered, samples_are_thinned,
    samples_are_thinned_under_a_call,
)  # fmt: skip
