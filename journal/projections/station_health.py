"""What is wrong with the station itself: its disk, its memory, its judgement, its configuration?"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import (
    JournalDamageFound,
    SafeModeEntered,
    StationStarted,
    StorageReported,
)
from journal.projections.base import Projection

DAMAGES_MAX = 32  # told apart; after that the newest push out the oldest
PROJECTION_FAILURES_MAX = 32


class RuleFailed(Decision, frozen=True):
    """A rule has a fault. What it would have decided is not taken; the other rules went on. P8."""

    rule: str
    exception: str  # class of the exception


class ProjectionFailure(msgspec.Struct, frozen=True):
    """A part of the memory that could not take an entry in, and stayed as it was."""

    seq: int
    projection: str
    exception: str


class StationHealth(Projection, frozen=True):
    HANDLES = (JournalDamageFound, SafeModeEntered, StorageReported, RuleFailed, StationStarted)

    storage_level: Literal["enough", "low", "full"] = "enough"
    safe_mode_reasons: tuple[str, ...] = ()  # of this run
    journal_damages: tuple[JournalDamageFound, ...] = ()
    id_namespace: str = ""  # part of every name given from now on, once numbers may have been lost
    failed_rule: str = ""  # the rule that failed last in this run
    rule_failed_ms: int | None = None  # uptime at which it did
    projection_failures: tuple[ProjectionFailure, ...] = ()

    def apply(self, entry: Entry) -> StationHealth:
        match entry.event:
            case StationStarted():
                return replace(self, safe_mode_reasons=(), failed_rule="", rule_failed_ms=None)
            case StorageReported(level=level):
                return replace(self, storage_level=level)
            case SafeModeEntered(reasons=why):
                return replace(self, safe_mode_reasons=(*self.safe_mode_reasons, *why))
            case JournalDamageFound() as damage:
                damages = (*self.journal_damages, damage)[-DAMAGES_MAX:]
                return replace(
                    self,
                    journal_damages=damages,
                    id_namespace=damage.id_namespace or self.id_namespace,
                )
            case RuleFailed(rule=rule):
                return replace(self, failed_rule=rule, rule_failed_ms=entry.uptime_ms)
            case _:
                return self

    def with_projection_failure(
        self, entry: Entry, projection: str, exception: Exception
    ) -> StationHealth:
        """As after an entry that a projection has a fault with. It counts as a fault of a rule."""
        stumble = ProjectionFailure(entry.seq, projection, type(exception).__name__)
        return replace(
            self,
            projection_failures=(*self.projection_failures, stumble)[-PROJECTION_FAILURES_MAX:],
            failed_rule=projection,
            rule_failed_ms=entry.uptime_ms,
        )

    def has_damage_at(self, seq: int) -> bool:
        """Whether damage that begins at this entry is told already."""
        return any(
            one.first_seq is not None and one.first_seq <= seq <= (one.last_seq or one.first_seq)
            for one in self.journal_damages
        )
