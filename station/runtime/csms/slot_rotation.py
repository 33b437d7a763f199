"""Through which slot does the next attempt go, and how long does it wait? (B10, Part 4 §5.3)"""

from __future__ import annotations

from journal.projections.network_profiles import NetworkProfile
from station.core.desired import DesiredLink


class SlotRotation:
    """Goes through the slots that may be tried, in their order.

    Each gets NetworkProfileConnectionAttempts, after a start and after a loss (B10.FR.03); after
    a start the first of the priority comes first (B10.FR.04), after a loss the one that was in
    use. When all have failed it begins anew (B10.FR.08), or, where the product falls back
    (C-47), it stays with the slot of the last success (B10.FR.07). It never ends (B10.FR.09).
    """

    def __init__(self) -> None:
        self._slot = 0  # being tried; 0: none yet
        self._failed_attempts = 0  # failed, through this slot
        self._exhausted_slots = 0  # slots since the last success
        self._has_fallen_back = False

    def next_slot(self, link: DesiredLink) -> NetworkProfile | None:
        """Where to go now; None: there is nowhere to go."""
        if not link.candidates:
            return None
        if self._failed_attempts >= link.attempts_per_candidate:
            self._failed_attempts = 0
            self._exhausted_slots += 1
            self._slot = _following_slot(link, self._slot)
            all_failed = self._exhausted_slots >= len(link.candidates)
            self._has_fallen_back = (
                link.fallback_enabled and link.last_successful is not None and all_failed
            )
        if self._has_fallen_back and link.last_successful is not None:
            return link.last_successful
        found = next((one for one in link.candidates if one.slot == self._slot), None)
        chosen = found or link.candidates[0]
        self._slot = chosen.slot
        return chosen

    def on_attempt_failed(self) -> None:
        """The attempt failed."""
        if not self._has_fallen_back:
            self._failed_attempts += 1

    def on_connected(self, slot: int) -> None:
        """A connection stood through `slot`."""
        self._slot, self._failed_attempts, self._exhausted_slots, self._has_fallen_back = (
            slot,
            0,
            0,
            False,
        )


def _following_slot(link: DesiredLink, slot: int) -> int:
    slots = [one.slot for one in link.candidates]
    if slot not in slots:
        return slots[0]
    return slots[(slots.index(slot) + 1) % len(slots)]
