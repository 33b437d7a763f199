"""The offset of the station's wall clock from the host's, and whether it is synchronized."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import ClockStepped, StationStarted
from journal.projections.base import Projection

OFFSET_MAX_MS: Final = (
    200 * 366 * 24 * 3600 * 1000
)  # no host is further off; its clock starts at 1970


class ClockCorrected(Decision, frozen=True):
    """From the next entry on, `at` is the host's UTC plus `offset_ms`. B01.FR.06, G02.FR.06."""

    offset_ms: int
    step_ms: int  # by how much `at` moves
    source: str  # the OCPP message with the time


class Clock(Projection, frozen=True):
    HANDLES = (StationStarted, ClockCorrected, ClockStepped)

    offset_ms: int = 0
    synchronized: bool = False
    correction_count: int = 0

    @property
    def applied_offset_ms(self) -> int:
        """The offset that `at` has; 0 for one that only an impossible time can have given."""
        return self.offset_ms if abs(self.offset_ms) <= OFFSET_MAX_MS else 0

    def apply(self, entry: Entry) -> Clock:
        match entry.event:
            case ClockCorrected(offset_ms=offset):
                return Clock(offset, synchronized=True, correction_count=self.correction_count + 1)
            case ClockStepped() | StationStarted():
                return replace(self, synchronized=False)
            case _:
                return self
