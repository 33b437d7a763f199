"""Waiting time between two attempts to connect. Part 4 §5.3, erratum 4.12 (2025-04).

The first wait is RetryBackOffWaitMinimum. Each later one is twice the wait before, for
RetryBackOffRepeatTimes waits; after that it stays as it is. Each of these waits also gets a random
part of up to RetryBackOffRandomRange, so that a fleet does not reconnect at the same moment. A
connection that was opened resets all of this.

No wait is longer than `WAIT_MAX_S` and the random part, whatever values the variables have:
doubling turns values that are harmless each into months, and the CSMS cannot change a variable of a
station that does not connect.
"""

from __future__ import annotations

import random
from typing import Final

from station.core.desired import DesiredLink

WAIT_MAX_S: Final = 3600.0  # without the random part; the CSMS is tried once an hour at least


class BackOff:
    """The sequence of waits since the last connection."""

    def __init__(self, random_source: random.Random) -> None:
        self._random_source = random_source
        self._last_wait_s = 0.0  # 0: the next wait is the first
        self._doublings = 0

    def next_wait_s(self, link: DesiredLink) -> float:
        """The wait before the next attempt, with the settings as they are now."""
        if not self._last_wait_s:
            self._last_wait_s = self._bounded_wait_s(link.back_off_minimum_s, link)
        elif self._doublings < link.back_off_repeat_times:
            self._doublings += 1
            self._last_wait_s = self._bounded_wait_s(2 * self._last_wait_s, link)
        return self._last_wait_s

    def _bounded_wait_s(self, wait_s: float, link: DesiredLink) -> float:
        random_part_s = self._random_source.uniform(0, min(link.back_off_random_s, WAIT_MAX_S))
        return min(wait_s, WAIT_MAX_S) + random_part_s

    def reset(self) -> None:
        """Start again: a connection was opened."""
        self._last_wait_s, self._doublings = 0.0, 0
