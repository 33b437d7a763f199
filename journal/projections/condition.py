"""What is wrong with the station itself: its disk, its memory, its judgement, its configuration?"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.observations import DamageFound, SafeModeEntered, StationStarted, StorageReported
from journal.projections.base import Projection
from journal.terms import Decision, Entry

DAMAGES_MAX = 32  # told apart; after that the newest push out the oldest
STUMBLES_MAX = 32


class JudgementFailed(Decision, frozen=True):
    """A rule has a fault. What it would have decided is not taken; the other rules went on. P8."""

    rule: str
    fault: str  # class of the exception


class Stumble(msgspec.Struct, frozen=True):
    """A part of the memory that could not take an entry in, and stayed as it was."""

    seq: int
    projection: str
    fault: str


class Condition(Projection, frozen=True):
    HEARS = (DamageFound, SafeModeEntered, StorageReported, JudgementFailed, StationStarted)

    storage: Literal["enough", "low", "full"] = "enough"
    safe_mode: tuple[str, ...] = ()  # of this run
    damages: tuple[DamageFound, ...] = ()
    era: str = ""  # part of every name given from now on, once numbers may have been lost
    failed: str = ""  # the rule that failed last in this run
    failed_ms: int | None = None  # uptime at which it did
    stumbles: tuple[Stumble, ...] = ()

    def after(self, entry: Entry) -> Condition:
        match entry.event:
            case StationStarted():
                return replace(self, safe_mode=(), failed="", failed_ms=None)
            case StorageReported(level=level):
                return replace(self, storage=level)
            case SafeModeEntered(why=why):
                return replace(self, safe_mode=(*self.safe_mode, *why))
            case DamageFound() as damage:
                damages = (*self.damages, damage)[-DAMAGES_MAX:]
                return replace(self, damages=damages, era=damage.era or self.era)
            case JudgementFailed(rule=rule):
                return replace(self, failed=rule, failed_ms=entry.uptime_ms)
            case _:
                return self

    def stumbled(self, entry: Entry, projection: str, fault: Exception) -> Condition:
        """As after an entry that a projection has a fault with. It counts as a fault of a rule."""
        stumble = Stumble(entry.seq, projection, type(fault).__name__)
        return replace(
            self,
            stumbles=(*self.stumbles, stumble)[-STUMBLES_MAX:],
            failed=projection,
            failed_ms=entry.uptime_ms,
        )

    def knows_damage(self, first: int) -> bool:
        """Whether damage that begins at this entry is told already."""
        return any(
            one.first is not None and one.first <= first <= (one.last or one.first)
            for one in self.damages
        )
