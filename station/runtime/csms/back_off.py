"""Waiting time between two attempts to connect. Part 4 §5.3, erratum 4.12 (2025-04).

The first wait is RetryBackOffWaitMinimum. Each later one is twice the wait before, for
RetryBackOffRepeatTimes waits; after that it stays as it is. Each of these waits also gets a random
part of up to RetryBackOffRandomRange, so that a fleet does not reconnect at the same moment. A
connection that was opened resets all of this.
"""

from __future__ import annotations

import random

from station.core.desired import DesiredLink


class BackOff:
    """The sequence of waits since the last connection."""

    def __init__(self, random_source: random.Random) -> None:
        self._random_source = random_source
        self._last_wait_s = 0.0  # 0: the next wait is the first
        self._doublings = 0

    def next_wait_s(self, link: DesiredLink) -> float:
        """The wait before the next attempt, with the settings as they are now."""
        if not self._last_wait_s:
            self._last_wait_s = link.back_off_minimum_s + self._random_part_s(link)
        elif self._doublings < link.back_off_repeat_times:
            self._doublings += 1
            self._last_wait_s = 2 * self._last_wait_s + self._random_part_s(link)
        return self._last_wait_s

    def _random_part_s(self, link: DesiredLink) -> float:
        return self._random_source.uniform(0, link.back_off_random_s)

    def reset(self) -> None:
        """Start again: a connection was opened."""
        self._last_wait_s, self._doublings = 0.0, 0
