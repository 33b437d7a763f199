"""Health of the station: disk space, damage of the journal, safe mode, faults of our code. P8."""

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

DAMAGES_MAX = 32  # kept; a further one replaces the oldest
PROJECTION_FAILURES_MAX = 32  # kept; a further one replaces the oldest


class RuleFailed(Decision, frozen=True):
    """A rule raised an exception. Its decisions were discarded; the other rules continued. P8."""

    rule: str  # name of the function
    exception: str  # class of the exception


class ProjectionFailure(msgspec.Struct, frozen=True):
    """A projection raised an exception on an entry and stayed as it was."""

    seq: int
    projection: str
    exception: str


class StationHealth(Projection, frozen=True):
    HANDLES = (JournalDamageFound, SafeModeEntered, StorageReported, RuleFailed, StationStarted)

    storage_level: Literal["enough", "low", "full"] = "enough"
    safe_mode_reasons: tuple[str, ...] = ()  # of this run
    journal_damages: tuple[JournalDamageFound, ...] = ()
    id_namespace: str = ""  # part of every new id, once entry numbers may have been lost
    failed_rule: str = ""  # the rule or projection that failed last in this run
    rule_failed_ms: int | None = None  # uptime of that failure
    projection_failures: tuple[ProjectionFailure, ...] = ()

    def apply(self, entry: Entry) -> StationHealth:
        match entry.event:
            case StationStarted():
                return replace(self, safe_mode_reasons=(), failed_rule="", rule_failed_ms=None)
            case StorageReported(level=level):
                return replace(self, storage_level=level)
            case SafeModeEntered(reasons=reasons):
                return replace(self, safe_mode_reasons=(*self.safe_mode_reasons, *reasons))
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
        """The health after a projection raised on an entry. It counts as a failed rule."""
        failure = ProjectionFailure(entry.seq, projection, type(exception).__name__)
        return replace(
            self,
            projection_failures=(*self.projection_failures, failure)[-PROJECTION_FAILURES_MAX:],
            failed_rule=projection,
            rule_failed_ms=entry.uptime_ms,
        )

    def has_damage_at(self, seq: int) -> bool:
        """Whether damage at this entry was reported already."""
        return any(
            damage.first_seq is not None
            and damage.first_seq <= seq <= (damage.last_seq or damage.first_seq)
            for damage in self.journal_damages
        )
