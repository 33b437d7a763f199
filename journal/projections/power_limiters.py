"""What limits the power of each EVSE now: a decided limit, its share, the devices or the EV.

`PowerLimits` has what was decided from charging profiles and external limits. `PowerLimiters` has
what the power path reported beside that: its own limits act at once, and only what lasts is
recorded. `find_limiting_cause` combines both. It is the one answer to "why only 40 kW?", of the
display, `station status`, `why`, the report and the export.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from journal.events import Entry
from journal.observations import PowerLimiter, PowerLimiterReported, StationStarted
from journal.projections.base import Projection
from journal.projections.power_limits import PowerLimit, PowerLimits

# `limit`: the limit of the EVSE; `station_limit`: that of the station, or a share of it;
# the others as in PowerLimiterReported.
Limiter = Literal["limit", PowerLimiter]


class ReportedLimiter(msgspec.Struct, frozen=True):
    """What the power path reported of an EVSE; see PowerLimiterReported."""

    seq: int  # entry of the report
    evse_id: int
    limiter: PowerLimiter
    limit_w: Decimal


class PowerLimiters(Projection, frozen=True):
    """The reported limiters, at most one for each EVSE; none after a start until the next report.

    Reports name an EVSE of the product, so there are few.
    """

    HANDLES = (PowerLimiterReported, StationStarted)

    reported: tuple[ReportedLimiter, ...] = ()

    def apply(self, entry: Entry) -> PowerLimiters:
        match entry.event:
            case PowerLimiterReported(evse_id=evse_id, limiter=limiter, limit_w=limit_w):
                others = tuple(each for each in self.reported if each.evse_id != evse_id)
                if not limiter:
                    return PowerLimiters(others)
                return PowerLimiters(
                    (*others, ReportedLimiter(entry.seq, evse_id, limiter, limit_w))
                )
            case StationStarted() if self.reported:
                return PowerLimiters()
            case _:
                return self

    def on_evse(self, evse_id: int) -> ReportedLimiter | None:
        return next((each for each in self.reported if each.evse_id == evse_id), None)


class LimitingCause(msgspec.Struct, frozen=True):
    """What limits an EVSE now."""

    limiter: Limiter
    limit_w: Decimal
    seq: int  # entry that installed or reported it
    limit: PowerLimit | None = None  # the decided limit; None: the devices or the EV limit


def find_limiting_cause(
    limits: PowerLimits, limiters: PowerLimiters, evse_id: int
) -> LimitingCause | None:
    """What limits an EVSE most: a decided limit or what was reported; None: nothing is known.

    Of a decided and a reported limit that are equal, the decided one is the cause: it holds, and a
    lasting derating of the devices is decided as an external limit. Of the limits of EVSE and
    station that are equal, it is that of the station, which the limit of the EVSE includes.
    """
    cause = _lowest(limit for limit in limits.limits if limit.evse_id in (0, evse_id))
    reported = limiters.on_evse(evse_id)
    if reported is None or (cause is not None and cause.limit_w <= reported.limit_w):
        return cause
    station_limit = None
    if reported.limiter == "station_limit":
        station_limit = limits.on_evse(0)
        if station_limit is None:  # it was lifted; the next report follows
            return cause
    return LimitingCause(reported.limiter, reported.limit_w, reported.seq, station_limit)


def _lowest(limits: Iterable[PowerLimit]) -> LimitingCause | None:
    lowest = min(limits, key=lambda limit: (limit.limit_w, limit.evse_id), default=None)
    if lowest is None:
        return None
    limiter: Limiter = "limit" if lowest.evse_id else "station_limit"
    return LimitingCause(limiter, lowest.limit_w, lowest.source_seq, lowest)
