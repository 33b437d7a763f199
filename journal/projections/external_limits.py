"""Limits of other sources than the CSMS: energy management, grid operator, the station. K11 to K13.

A limit counts from the commit of its report and stays over restarts until its source lifts it:
a limit of the grid connection must not end because the station was without power.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import ClockStepped, ExternalLimitReported, LimitPeriod
from journal.projections.base import Projection
from journal.projections.clock import ClockCorrected
from journal.projections.transactions import unix_ms


class ExternalLimitNotified(Decision, frozen=True):
    """The next entry informs the CSMS of the limit of a source. K11.FR.02, K12.FR.02, K13.FR.02."""

    evse_id: int
    source: str  # ChargingLimitSourceEnumType
    limit_w: Decimal | None  # the lowest at this moment; None: the source has no limit any more
    limit_seqs: tuple[int, ...] = ()  # entries that reported its limits


class ExternalLimit(msgspec.Struct, frozen=True):
    """A limit, identified by EVSE, origin and source."""

    seq: int  # entry that reported it
    since_unix_ms: int  # wall clock of that report; follows corrections of the clock
    evse_id: int
    origin: str
    source: str
    periods: tuple[LimitPeriod, ...]
    duration_s: int | None
    is_grid_critical: bool | None

    @property
    def profile_id(self) -> int:
        """chargingProfile.id in reports: negative, so none of the CSMS. K11.FR.06."""
        return -self.seq


class ExternalLimits(Projection, frozen=True):
    """Limits in order of their EVSE, source and origin.

    Reporters have fixed origins, so there are few; none is ever dropped to keep a bound.
    """

    HANDLES = (ExternalLimitReported, ExternalLimitNotified, ClockCorrected, ClockStepped)

    limits: tuple[ExternalLimit, ...] = ()
    notified: tuple[ExternalLimitNotified, ...] = ()  # the latest of each EVSE and source

    def apply(self, entry: Entry) -> ExternalLimits:
        match entry.event:
            case ExternalLimitReported() as report:
                return self._on_report(entry, report)
            case ClockCorrected(step_ms=step_ms) | ClockStepped(step_ms=step_ms) if self.limits:
                stepped = (
                    replace(each, since_unix_ms=each.since_unix_ms + step_ms)
                    for each in self.limits
                )
                return replace(self, limits=tuple(stepped))
            case ExternalLimitNotified(evse_id=evse_id, source=source) as notified:
                others = tuple(
                    each
                    for each in self.notified
                    if (each.evse_id, each.source) != (evse_id, source)
                )
                return replace(self, notified=(*others, notified))
            case _:
                return self

    def _on_report(self, entry: Entry, report: ExternalLimitReported) -> ExternalLimits:
        key = (report.evse_id, report.source, report.origin)
        others = [each for each in self.limits if (each.evse_id, each.source, each.origin) != key]
        if report.periods:
            others.append(
                ExternalLimit(
                    seq=entry.seq,
                    since_unix_ms=unix_ms(entry),
                    evse_id=report.evse_id,
                    origin=report.origin,
                    source=report.source,
                    periods=report.periods,
                    duration_s=report.duration_s,
                    is_grid_critical=report.is_grid_critical,
                )
            )
        others.sort(key=lambda each: (each.evse_id, each.source, each.origin))
        return replace(self, limits=tuple(others))
