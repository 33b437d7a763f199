"""NotifyChargingLimit and ClearedChargingLimit: external limits are reported. K11 to K13.

The CSMS is informed of the lowest limit of each source at each EVSE or at the station (0):

* the first time, and when the limit has changed by more than LimitChangeSignificance percent since
  the CSMS was informed (K11.FR.02, K12.FR.02, SC.03); a schedule of several periods always;
* when the source has no limit any more: it was lifted, or its duration is over (K13.FR.02).

While the station is offline nothing is queued: however often a limit changes, the CSMS is informed
of the present one when the link is back. The same holds while `WAITING_MAX` reports wait. A report
that was queued is kept until it is delivered, so the state has what the CSMS is informed of.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from journal.events import Decision
from journal.projections.external_limits import ExternalLimit, ExternalLimitNotified
from station.core.blocks.k_smart_charging.limits import external_limit_at
from station.core.blocks.k_smart_charging.reports import external_schedule
from station.core.blocks.k_smart_charging.schedule import unix_ms
from station.core.blocks.k_smart_charging.support import is_enabled
from station.core.context import Context, queue_call
from station.ocpp.messages.k_smart_charging import (
    ChargingLimitType,
    ClearedChargingLimitRequest,
    NotifyChargingLimitRequest,
)

SIGNIFICANCE: Final = "SmartChargingCtrlr.LimitChangeSignificance"
REPORT_ACTIONS: Final = ("NotifyChargingLimit", "ClearedChargingLimit")
WAITING_MAX: Final = 8  # reports that wait for delivery
WITH_SCHEDULES: Final = "SmartChargingCtrlr.NotifyChargingLimitWithSchedules"


def notify_external_limits(ctx: Context) -> Iterator[Decision]:
    """Inform the CSMS of limits that are new, changed or ended. K11.FR.02, K12.FR.02, K13.FR.02."""
    external = ctx.state.external_limits
    if not (external.limits or external.notified) or not is_enabled(ctx):
        return
    if not ctx.may_send_calls or _waiting_count(ctx) >= WAITING_MAX:
        return
    keys = {(limit.evse_id, limit.source) for limit in external.limits}
    keys |= {(notified.evse_id, notified.source) for notified in external.notified}
    for evse_id, source in sorted(keys):
        yield from _notify(ctx, evse_id, source)


def _waiting_count(ctx: Context) -> int:
    outbox = ctx.state.outbox
    return sum(outbox.general_count(action) for action in REPORT_ACTIONS)


def next_external_border_ms(ctx: Context) -> int | None:
    """Uptime at which an external limit changes by itself: the next period, or its end."""
    now_ms = unix_ms(ctx.now)
    borders_ms = [
        border_ms
        for limit in ctx.state.external_limits.limits
        for border_ms in _borders_ms(limit)
        if border_ms > now_ms
    ]
    return ctx.uptime_ms + min(borders_ms) - now_ms if borders_ms else None


def _borders_ms(limit: ExternalLimit) -> Iterator[int]:
    for period in limit.periods[1:]:
        yield limit.since_unix_ms + period.start_s * 1000
    if limit.duration_s is not None:
        yield limit.since_unix_ms + limit.duration_s * 1000


def _notify(ctx: Context, evse_id: int, source: str) -> Iterator[Decision]:
    limits = [
        limit
        for limit in ctx.state.external_limits.limits
        if (limit.evse_id, limit.source) == (evse_id, source)
        and external_limit_at(limit, ctx.now) is not None
    ]
    last = next(
        (
            each
            for each in ctx.state.external_limits.notified
            if (each.evse_id, each.source) == (evse_id, source)
        ),
        None,
    )
    if limits:
        if _is_notable(ctx, limits, last):
            yield _as_notified(ctx, evse_id, source, limits)
            yield from queue_call(ctx, _notification(ctx, evse_id, source, limits), keep=True)
    elif last is not None and last.limit_w is not None:
        yield ExternalLimitNotified(evse_id, source, None)
        request = ClearedChargingLimitRequest(charging_limit_source=source, evse_id=evse_id)  # type: ignore[arg-type]
        yield from queue_call(ctx, request, keep=True)


def _is_notable(
    ctx: Context, limits: list[ExternalLimit], last: ExternalLimitNotified | None
) -> bool:
    if last is None or last.limit_w is None:
        return True
    seqs = tuple(limit.seq for limit in limits)
    if seqs != last.limit_seqs and any(len(limit.periods) > 1 for limit in limits):
        return True
    change_w = abs(_lowest_w(ctx, limits) - last.limit_w)
    percent = Decimal(ctx.variable_text(SIGNIFICANCE) or 0)
    return change_w * 100 > percent * last.limit_w


def _lowest_w(ctx: Context, limits: list[ExternalLimit]) -> Decimal:
    values = (external_limit_at(limit, ctx.now) for limit in limits)
    return min(value for value in values if value is not None)


def _as_notified(
    ctx: Context, evse_id: int, source: str, limits: list[ExternalLimit]
) -> ExternalLimitNotified:
    return ExternalLimitNotified(
        evse_id, source, _lowest_w(ctx, limits), tuple(limit.seq for limit in limits)
    )


def _notification(
    ctx: Context, evse_id: int, source: str, limits: list[ExternalLimit]
) -> NotifyChargingLimitRequest:
    """With the schedules only if the CSMS wants them. K11.FR.03, K12.FR.03."""
    schedules = tuple(external_schedule(limit) for limit in limits)
    critical = [limit.is_grid_critical for limit in limits if limit.is_grid_critical is not None]
    return NotifyChargingLimitRequest(
        charging_limit=ChargingLimitType(
            charging_limit_source=source,  # type: ignore[arg-type]
            is_grid_critical=any(critical) if critical else None,
        ),
        charging_schedule=schedules if ctx.variable_boolean(WITH_SCHEDULES) else None,
        evse_id=evse_id,
    )
