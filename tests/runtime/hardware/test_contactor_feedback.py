"""Contactor feedback is compared with confirmed outputs, by the times of the module's requests."""

from __future__ import annotations

from station.runtime.hardware.inputs import ContactorFeedback
from tests.runtime.hardware.fakes import COIL, FEEDBACK, contactor_reading

FEEDBACK_S = 0.2


def read_feedback(
    feedback: ContactorFeedback,
    *read_at: float,
    closed: bool,
    output_on: bool | None,
    outputs_at: float = 0.0,
) -> str | None:
    for at in read_at:
        reading = contactor_reading(closed, output_on, at, outputs_at)
        feedback.apply_reading(reading, FEEDBACK, COIL)
    return feedback.contradiction(FEEDBACK_S)


def test_three_readings_over_the_feedback_time_contradict() -> None:
    feedback = ContactorFeedback()
    assert read_feedback(feedback, 10.1, 10.2, closed=True, output_on=False, outputs_at=10) is None
    assert read_feedback(feedback, 10.3, closed=True, output_on=False, outputs_at=10) == "welded"
    assert read_feedback(feedback, 10.4, closed=False, output_on=False, outputs_at=10) is None


def test_three_readings_in_a_short_time_do_not_contradict() -> None:
    feedback = ContactorFeedback()
    quick = (10.01, 10.02, 10.03)
    assert read_feedback(feedback, *quick, closed=False, output_on=True, outputs_at=10) is None
    assert (
        read_feedback(feedback, 10.3, closed=False, output_on=True, outputs_at=10) == "stuck_open"
    )


def test_a_long_time_with_one_reading_does_not_contradict() -> None:
    """The process did not run for 5 s after the write."""
    feedback = ContactorFeedback()
    assert read_feedback(feedback, 10.1, closed=True, output_on=True) is None
    assert read_feedback(feedback, 15.1, closed=True, output_on=False, outputs_at=10.2) is None


def test_a_reading_from_before_the_write_does_not_count() -> None:
    feedback = ContactorFeedback()
    assert read_feedback(feedback, 9.9, closed=True, output_on=True) is None
    late = read_feedback(feedback, 10.0, 10.3, 10.4, closed=True, output_on=False, outputs_at=10.1)
    assert late is None
    assert read_feedback(feedback, 10.5, closed=True, output_on=False, outputs_at=10.1) == "welded"


def test_an_output_that_is_not_known_contradicts_nothing() -> None:
    feedback = ContactorFeedback()
    assert read_feedback(feedback, 1, 2, 3, 4, closed=True, output_on=None) is None
    assert feedback.closed
    assert read_feedback(feedback, 5, 6, closed=True, output_on=False) is None
    assert read_feedback(feedback, 7, closed=True, output_on=False) == "welded"


def test_contactors_that_move_on_their_own_need_three_readings() -> None:
    feedback = ContactorFeedback()
    assert read_feedback(feedback, 1.0, closed=True, output_on=True) is None
    assert read_feedback(feedback, 6.0, 6.1, closed=False, output_on=True) is None
    assert read_feedback(feedback, 6.2, closed=False, output_on=True) == "stuck_open"


def test_a_reading_that_says_nothing_new_needs_no_round() -> None:
    feedback = ContactorFeedback()

    def is_new(closed: bool, output_on: bool | None, at: float, outputs_at: float = 0.0) -> bool:
        reading = contactor_reading(closed, output_on, at, outputs_at)
        return feedback.apply_reading(reading, FEEDBACK, COIL)

    assert is_new(False, False, 1.0)  # the first
    assert not is_new(False, False, 1.1)
    assert is_new(False, True, 1.2, outputs_at=1.15)  # switched on, not closed yet
    assert is_new(False, True, 1.3, outputs_at=1.15)  # contradicts
    assert not is_new(True, True, 1.4, outputs_at=1.15)
    assert is_new(True, None, 1.5, outputs_at=1.15)  # a write without a response
    assert is_new(True, True, 1.6, outputs_at=1.15)
    assert not is_new(True, True, 1.7, outputs_at=1.15)
