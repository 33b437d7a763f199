"""What limits each EVSE and lasts: reported as PowerLimiterReported, so the journal has it.

`power_budget` names in each round what keeps an EVSE from giving more. Most of that changes within
seconds: an EV ramps up, a share is lent. What lasts is reported, while energy is transferred:

* after `LASTS_S`, with the power it has then; a limit of 0 W after `STOPS_S`, so that the entry is
  there before the suspension is reported (`reporter.FLOW_STABLE_S`);
* again if another cause limits, or the power changed by more than `CHANGE`: an EV that tapers from
  150 kW to 5 kW makes about 30 reports;
* at most one report in `INTERVAL_S` for an EVSE, whatever EV and modules do, and one more when the
  transfer ends, at once: then nothing limits any more.

The limit of the EVSE in the desired state (`limit`) and its rated power (`product`) are not
reported: the journal has the first as a decision, the second is a property of the product.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from journal.events import Observation
from journal.observations import PowerLimiter, PowerLimiterReported
from station.runtime.hardware.power_budget import EvseBudget

LASTS_S: Final = 10.0  # as long as power that an EV does not take stays with it
STOPS_S: Final = 0.8
INTERVAL_S: Final = 5.0
CHANGE: Final = (10, 100)  # of the reported power


class _Limiter(NamedTuple):
    name: PowerLimiter
    limit_w: int


NO_LIMITER: Final = _Limiter("", 0)


class _Tracked(msgspec.Struct):
    """What is known of one EVSE."""

    reported: _Limiter = NO_LIMITER
    reported_at: float | None = None
    pending: _Limiter | None = None
    pending_since: float = 0.0


class LastingLimiters:
    """The limiters of all EVSEs; see above."""

    def __init__(self, observe: Callable[[Observation], None]) -> None:
        self._observe = observe
        self._by_evse: dict[int, _Tracked] = {}

    def restart(self) -> None:
        """Begin a run of the devices, with another clock; what was reported holds until updated."""
        for tracked in self._by_evse.values():
            tracked.reported_at = tracked.pending = None

    def update(self, evse_id: int, budget: EvseBudget | None, now: float) -> None:
        """Take the budget of a round; None: no energy is transferred. `now` in seconds."""
        tracked = self._by_evse.setdefault(evse_id, _Tracked())
        if budget is None:
            tracked.pending = None
            if tracked.reported != NO_LIMITER:
                self._report(evse_id, tracked, NO_LIMITER, now)
            return
        limiter = _limiter_of(budget)
        if not _is_change(tracked.reported, limiter):
            tracked.pending = None
            return
        pending = tracked.pending
        if pending is None or pending.name != limiter.name or _stops(pending) != _stops(limiter):
            tracked.pending_since = now
        tracked.pending = limiter
        lasts_s = STOPS_S if _stops(limiter) else LASTS_S
        last_at = tracked.reported_at
        if now - tracked.pending_since >= lasts_s and (
            last_at is None or now - last_at >= INTERVAL_S
        ):
            self._report(evse_id, tracked, limiter, now)

    def _report(self, evse_id: int, tracked: _Tracked, limiter: _Limiter, now: float) -> None:
        tracked.reported, tracked.reported_at, tracked.pending = limiter, now, None
        self._observe(PowerLimiterReported(evse_id, limiter.name, Decimal(limiter.limit_w)))


def _limiter_of(budget: EvseBudget) -> _Limiter:
    match budget.limiter:
        case "limit" | "product":
            return NO_LIMITER
        case limiter:
            return _Limiter(limiter, budget.limit_w)


def _stops(limiter: _Limiter) -> bool:
    return bool(limiter.name) and not limiter.limit_w


def _is_change(reported: _Limiter, limiter: _Limiter) -> bool:
    if reported.name != limiter.name or _stops(reported) != _stops(limiter):
        return True
    change_w = abs(limiter.limit_w - reported.limit_w)
    return change_w * CHANGE[1] > reported.limit_w * CHANGE[0]
