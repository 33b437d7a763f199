"""Which power limit is in force: decided, recorded, and reported when it changes the charging rate.

`decide_power_limits` decides the limits of all EVSEs and of the station when an event may have
changed them, and at each border of a schedule (`next_power_limit_ms`). The limits themselves follow
from charging profiles and external limits (`k_smart_charging.limits`); here they become a decision
of the journal, and from it the desired state, which the power path follows.

* A border is an instant of the wall clock, a deadline one of the uptime: the deadline is computed
  again after every commit, and a clock that is corrected or stepped makes the limits outdated.
* A limit in A of an EVSE is a direct current. It is passed on as it is (`limit_a`); what it is in W
  depends on the voltage and decides only which limit is the lowest. It is computed again when the
  voltage has changed by `VOLTAGE_CHANGE`.

TransactionEvent ChargingRateChanged (K11.FR.04, K13.FR.03) is sent when an external limit changes
the rate of a transaction by more than LimitChangeSignificance. A change by a charging profile is
not reported: the CSMS sent that profile, and SC.02 has no message for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from journal.events import Decision
from journal.observations import MeterRead
from journal.projections.power_limits import PowerLimit, PowerLimits, PowerLimitsDecided
from journal.projections.transactions import Transaction
from station.core.blocks.e_transaction_events import build_transaction_event
from station.core.blocks.e_transactions import is_reportable
from station.core.blocks.k_smart_charging.limits import present_limit, watts_per_ampere
from station.core.blocks.k_smart_charging.schedule import (
    PURPOSE_EXTERNAL,
    LimitInForce,
    LimitSource,
    profile_timetable,
    unix_ms,
)
from station.core.context import Context, Deadline, Rule
from station.core.reasons import Reason, Reasons

SIGNIFICANCE: Final = "SmartChargingCtrlr.LimitChangeSignificance"
VOLTAGE_CHANGE: Final = Decimal("0.03")  # of the voltage that a limit in A was computed with


def decide_power_limits(ctx: Context) -> Iterator[Decision]:
    """Decide the limits in force, if they may have changed. SC.01, K01.FR.26."""
    present = ctx.state.power_limits
    if not (present.is_outdated or _is_border_reached(ctx, present) or _has_voltage_changed(ctx)):
        return
    if not (_has_constraints(ctx) or present.limits or present.until_unix_ms is not None):
        return
    evse_ids = (0, *(evse.evse_id for evse in ctx.state.evses.all_evses))
    in_force = {evse_id: present_limit(ctx, evse_id) for evse_id in evse_ids}
    borders = [unix_ms(limit.until) for limit in in_force.values() if limit.until is not None]
    decided = PowerLimitsDecided(
        tuple(
            _power_limit(ctx, evse_id, limit.limit_w, limit.source, limit)
            for evse_id, limit in in_force.items()
            if limit.limit_w is not None and limit.source is not None
        ),
        min(borders, default=None),
    )
    yield decided
    yield from _report_charging_rates(ctx, present, PowerLimits(decided.limits))


def _is_border_reached(ctx: Context, present: PowerLimits) -> bool:
    until_unix_ms = present.until_unix_ms
    return until_unix_ms is not None and unix_ms(ctx.now) >= until_unix_ms


def _has_voltage_changed(ctx: Context) -> bool:
    """Whether a reading has another voltage than the one a limit in A was computed with."""
    reading = ctx.entry.event
    if not isinstance(reading, MeterRead):
        return False
    limit = ctx.state.power_limits.on_evse(reading.evse_id)
    if limit is None or not limit.limit_a:
        return False
    change_w = abs(limit.limit_a * watts_per_ampere(ctx, reading.evse_id) - limit.limit_w)
    return change_w > VOLTAGE_CHANGE * limit.limit_w


def _has_constraints(ctx: Context) -> bool:
    return bool(ctx.state.charging_profiles.installed or ctx.state.external_limits.limits)


def _power_limit(
    ctx: Context, evse_id: int, limit_w: Decimal, source: LimitSource, limit: LimitInForce
) -> PowerLimit:
    return PowerLimit(
        evse_id=evse_id,
        limit_w=limit_w,
        limit_a=limit_w / watts_per_ampere(ctx, evse_id)
        if _is_direct_current(ctx, source)
        else None,
        min_rate_w=limit.min_rate_w,
        purpose=source.purpose,
        source_seq=source.entry_seq,
        profile_id=source.profile_id,
        stack_level=source.stack_level,
        limit_source=source.limit_source,
        origin=source.origin,
    )


def _is_direct_current(ctx: Context, source: LimitSource) -> bool:
    """Whether a profile limits the output of an EVSE in A; a station limit is on the grid."""
    profile = ctx.state.charging_profiles.by_id(source.profile_id)
    return (
        source.purpose in ("TxProfile", "TxDefaultProfile")
        and profile is not None
        and profile_timetable(profile.profile).unit == "A"
    )


def next_power_limit_ms(ctx: Context) -> int | None:
    """Uptime at which the limits in force may change by themselves."""
    until_unix_ms = ctx.state.power_limits.until_unix_ms
    if until_unix_ms is None:
        return None
    return ctx.uptime_ms + until_unix_ms - unix_ms(ctx.now)


# --- The charging rate ---------------------------------------------------------------------------


def _report_charging_rates(
    ctx: Context, before: PowerLimits, after: PowerLimits
) -> Iterator[Decision]:
    """Queue ChargingRateChanged for each transaction that an external limit makes slower or faster.

    K11.FR.04, K13.FR.03.
    """
    if ctx.variable_text(SIGNIFICANCE) is None:
        return  # a product without smart charging
    for transaction in ctx.state.transactions.open:
        limits = before.on_evse(transaction.evse_id), after.on_evse(transaction.evse_id)
        external = any(limit and limit.purpose == PURPOSE_EXTERNAL for limit in limits)
        if (
            external
            and is_reportable(ctx, transaction)
            and _changes_rate(ctx, transaction, *limits)
        ):
            yield build_transaction_event(ctx, transaction, "Updated", "ChargingRateChanged")


def _changes_rate(
    ctx: Context, transaction: Transaction, before: PowerLimit | None, after: PowerLimit | None
) -> bool:
    """Whether the rate changes by more than LimitChangeSignificance percent. SC.03.

    The rate is what the EV can take, limited. Without energy flow there is no rate, except that it
    begins or ends because of the limit.
    """
    flow = ctx.state.evses.by_id(transaction.evse_id).flow
    if flow not in ("charging", "suspended_evse"):
        return False
    most_w = _most_w(ctx, transaction.evse_id)
    old_w = min(before.limit_w, most_w) if before else most_w
    new_w = min(after.limit_w, most_w) if after else most_w
    return abs(new_w - old_w) * 100 > Decimal(ctx.variable_text(SIGNIFICANCE) or 0) * old_w


def _most_w(ctx: Context, evse_id: int) -> Decimal:
    """What EVSE and EV can do without a limit."""
    evse = next(evse for evse in ctx.product.profile.evse if evse.id == evse_id)
    ev = ctx.state.evses.by_id(evse_id).ev
    most_w = Decimal(evse.power_max_w)
    return min(most_w, ev.power_max_w) if ev and ev.power_max_w else most_w


DEADLINES: Final[tuple[Deadline, ...]] = (next_power_limit_ms,)
RULES: Final[tuple[Rule, ...]] = (decide_power_limits,)
REASONS: Final[Reasons] = {
    PowerLimitsDecided: Reason(
        "a charging profile, an external limit, its time or the EVSE it applies to changed", "SC.01"
    ),
}
