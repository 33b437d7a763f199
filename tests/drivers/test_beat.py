"""Times of periodic work."""

import pytest

from drivers.beat import next_beat


@pytest.mark.parametrize("period_s", [0.05, 0.06, 0.1, 0.25, 1.0])
def test_it_is_the_next_multiple_at_most_a_period_later(period_s: float) -> None:
    due = 1_234_567.891
    for step in range(1000):
        later = next_beat(due, period_s)
        assert 0 < later - due <= period_s * (1 + 1e-6)
        assert step == 0 or later - due == pytest.approx(period_s)
        assert later / period_s == pytest.approx(round(later / period_s), abs=1e-6)
        due = later


def test_different_periods_meet() -> None:
    assert next_beat(7.91, 0.1) == pytest.approx(8.0)
    assert next_beat(7.8, 0.25) == pytest.approx(8.0)
    assert next_beat(7.0, 1.0) == pytest.approx(8.0)
