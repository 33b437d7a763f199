"""Through which slot does the next attempt go, and how long does it wait? (B10, Part 4 §5.3)"""

from __future__ import annotations

import random

from journal.projections.networks import NetworkSlot
from station.wanted import WantedLink


class Walk:
    """Goes through the slots that may be tried, in their order.

    Each gets NetworkProfileConnectionAttempts, after a start and after a loss (B10.FR.03); after
    a start the first of the priority comes first (B10.FR.04), after a loss the one that was in
    use. When all have failed it begins anew (B10.FR.08), or, where the product falls back
    (C-47), it stays with the slot of the last success (B10.FR.07). It never ends (B10.FR.09).
    """

    def __init__(self) -> None:
        self._slot = 0  # being tried; 0: none yet
        self._tries = 0  # failed, through this slot
        self._given_up = 0  # slots since the last success
        self._fallen_back = False

    def next(self, link: WantedLink) -> NetworkSlot | None:
        """Where to go now; None: there is nowhere to go."""
        if not link.candidates:
            return None
        if self._tries >= link.attempts:
            self._tries = 0
            self._given_up += 1
            self._slot = _following(link, self._slot)
            all_failed = self._given_up >= len(link.candidates)
            self._fallen_back = link.falls_back and link.last is not None and all_failed
        if self._fallen_back and link.last is not None:
            return link.last
        found = next((one for one in link.candidates if one.slot == self._slot), None)
        chosen = found or link.candidates[0]
        self._slot = chosen.slot
        return chosen

    def failed(self) -> None:
        """The attempt failed."""
        if not self._fallen_back:
            self._tries += 1

    def succeeded(self, slot: int) -> None:
        """A connection stood through `slot`."""
        self._slot, self._tries, self._given_up, self._fallen_back = slot, 0, 0, False


def _following(link: WantedLink, slot: int) -> int:
    slots = [one.slot for one in link.candidates]
    if slot not in slots:
        return slots[0]
    return slots[(slots.index(slot) + 1) % len(slots)]


class BackOff:
    """How long to wait between two attempts. Part 4 §5.3, erratum 4.12 (2025-04)."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._seconds = 0.0  # the last wait; 0: the next is the first
        self._doublings = 0

    def next_s(self, link: WantedLink) -> float:
        """RetryBackOffWaitMinimum first; then twice the wait before, RetryBackOffRepeatTimes
        times; each with up to RetryBackOffRandomRange more. After that always the last wait."""
        if not self._seconds:
            self._seconds = link.wait_min_s + self._dice.uniform(0, link.wait_random_s)
        elif self._doublings < link.repeat_times:
            self._doublings += 1
            self._seconds = 2 * self._seconds + self._dice.uniform(0, link.wait_random_s)
        return self._seconds

    def reset(self) -> None:
        """A connection stood."""
        self._seconds, self._doublings = 0.0, 0
