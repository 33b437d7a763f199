"""Times of periodic work: multiples of the period, so that different devices are due together.

What costs most is to wake up at all: ten timers that end at the same time take a quarter of the
processor time of ten that end one after the other.
"""

from __future__ import annotations

from math import floor
from typing import Final

_TOLERANCE: Final = 1e-6  # of a period; a multiple is a rounded number


def next_beat(last_due: float, period_s: float) -> float:
    """The first multiple of the period after `last_due`, at most `period_s` later.

    Args:
        last_due: a time of trio's clock: when the work was due, or was done.
        period_s: between two times; above 0.
    """
    return (floor(last_due / period_s + _TOLERANCE) + 1) * period_s
