"""Choice of the network configuration slot for the next attempt to connect. Use case B10.

* The candidates are the slots of NetworkConfigurationPriority that may be used, in its order.
* Each slot gets NetworkProfileConnectionAttempts attempts, then the next one is tried (B10.FR.03).
* After a start, the first slot of the priority comes first (B10.FR.04); after a lost connection,
  the slot that was in use (B10.FR.03).
* When every slot has failed: a product that falls back (C-47) stays with the slot of the last
  successful connection (B10.FR.07), if there was one; any other starts with the next slot in the
  order again (B10.FR.08).
* A successful connection resets the counts and ends the fallback.
* There is no last attempt (B10.FR.09).

The candidates may change between two attempts. A slot that is no candidate any more is not tried.
"""

from __future__ import annotations

from journal.projections.network_profiles import NetworkProfile
from station.core.desired import DesiredLink


class SlotRotation:
    """The position in the order of slots, and the attempts that failed since the last success."""

    def __init__(self) -> None:
        self._slot = 0  # of the current attempts; 0: none yet
        self._failed_attempts = 0  # through this slot
        self._exhausted_slots = 0  # slots of which all attempts failed
        self._has_fallen_back = False

    def next_slot(self, link: DesiredLink) -> NetworkProfile | None:
        """The slot of the next attempt; None: no slot may be used."""
        if not link.candidates:
            return None
        if self._failed_attempts >= link.attempts_per_candidate:
            self._advance(link)
        if self._has_fallen_back and link.last_successful is not None:
            return link.last_successful
        profiles = (profile for profile in link.candidates if profile.slot == self._slot)
        chosen = next(profiles, link.candidates[0])
        self._slot = chosen.slot
        return chosen

    def _advance(self, link: DesiredLink) -> None:
        """Leave a slot without attempts left for the next one, or fall back."""
        self._failed_attempts = 0
        self._exhausted_slots += 1
        self._slot = _following_slot(link, self._slot)
        self._has_fallen_back = (
            link.fallback_enabled
            and link.last_successful is not None
            and self._exhausted_slots >= len(link.candidates)
        )

    def on_attempt_failed(self) -> None:
        """Count a failed attempt; in fallback they are not counted."""
        if not self._has_fallen_back:
            self._failed_attempts += 1

    def on_connected(self, slot: int) -> None:
        """Reset the counts: a connection through `slot` was opened."""
        self._slot, self._has_fallen_back = slot, False
        self._failed_attempts = self._exhausted_slots = 0


def _following_slot(link: DesiredLink, slot: int) -> int:
    slots = [profile.slot for profile in link.candidates]
    if slot not in slots:
        return slots[0]
    return slots[(slots.index(slot) + 1) % len(slots)]
