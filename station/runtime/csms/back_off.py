"""TODO."""

from __future__ import annotations

import random

from station.core.desired import DesiredLink


class BackOff:
    """How long to wait between two attempts. Part 4 §5.3, erratum 4.12 (2025-04)."""

    def __init__(self, random_source: random.Random) -> None:
        self._random_source = random_source
        self._last_wait_s = 0.0  # the last wait; 0: the next is the first
        self._doublings = 0

    def next_wait_s(self, link: DesiredLink) -> float:
        """RetryBackOffWaitMinimum first; then twice the wait before, RetryBackOffRepeatTimes
        times; each with up to RetryBackOffRandomRange more. After that always the last wait."""
        if not self._last_wait_s:
            self._last_wait_s = link.back_off_minimum_s + self._random_source.uniform(
                0, link.back_off_random_s
            )
        elif self._doublings < link.back_off_repeat_times:
            self._doublings += 1
            self._last_wait_s = 2 * self._last_wait_s + self._random_source.uniform(
                0, link.back_off_random_s
            )
        return self._last_wait_s

    def reset(self) -> None:
        """A connection stood."""
        self._last_wait_s, self._doublings = 0.0, 0
