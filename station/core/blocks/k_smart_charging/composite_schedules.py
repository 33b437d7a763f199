"""GetCompositeSchedule. K08."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from journal.events import Decision
from station.core.blocks.k_smart_charging.limits import (
    evse_limits,
    station_limits,
    watts_per_ampere,
)
from station.core.blocks.k_smart_charging.profile_checks import RATE_UNIT
from station.core.blocks.k_smart_charging.schedule import (
    CompositeSchedule,
    evse_schedule,
    station_schedule,
)
from station.core.blocks.k_smart_charging.support import (
    UNSUPPORTED_REQUEST,
    Refusal,
    requires_smart_charging,
)
from station.core.context import Call, Context, call_result
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.k_smart_charging import (
    CompositeScheduleType,
    GetCompositeScheduleRequest,
    GetCompositeScheduleResponse,
)

# Periods in one response. With more, the duration of the schedule ends before the next one.
PERIODS_MAX: Final = 1024


@requires_smart_charging(
    GetCompositeScheduleResponse(status="Rejected", status_info=UNSUPPORTED_REQUEST)
)
def get_composite_schedule(
    ctx: Context, call: Call, request: GetCompositeScheduleRequest
) -> Iterator[Decision]:
    """Report the limits of the next time, local limits included. K08.FR.02 to 07, SC.04."""
    units = ctx.variable_list(RATE_UNIT)
    unit = request.charging_rate_unit or units[0]
    refusal = _find_refusal(ctx, request, unit)
    if refusal:
        yield call_result(
            call,
            GetCompositeScheduleResponse(status="Rejected", status_info=refusal.as_status_info()),
        )
        return
    start = ctx.now.replace(microsecond=0)  # whole seconds, as startPeriod counts
    factor = Decimal(1) if unit == "W" else watts_per_ampere(ctx, request.evse_id)
    schedule = _compute_schedule(ctx, request, factor)
    yield call_result(
        call,
        GetCompositeScheduleResponse(
            status="Accepted",
            schedule=CompositeScheduleType(
                evse_id=request.evse_id,
                duration=schedule.duration_s,
                schedule_start=format_timestamp(start),
                charging_rate_unit=unit,  # type: ignore[arg-type]
                charging_schedule_period=schedule.periods,
            ),
        ),
    )


def _find_refusal(ctx: Context, request: GetCompositeScheduleRequest, unit: str) -> Refusal | None:
    units = ctx.variable_list(RATE_UNIT)
    if request.evse_id != 0 and request.evse_id not in ctx.state.lifecycle.evse_ids:
        return Refusal("UnknownEvse", f"there is no EVSE {request.evse_id}")  # K08.FR.05
    if unit not in units:
        return Refusal("UnsupportedRateUnit", f"supported: {', '.join(units)}")  # K08.FR.07
    if request.duration < 0:
        return Refusal("InvalidValue", "duration is negative")  # K08.FR.05
    return None


def _compute_schedule(
    ctx: Context, request: GetCompositeScheduleRequest, watts_per_unit: Decimal
) -> CompositeSchedule:
    profile = ctx.product.profile
    start = ctx.now.replace(microsecond=0)
    hardware_w = {evse.id: Decimal(evse.power_max_w) for evse in profile.evse}
    if request.evse_id:
        return evse_schedule(
            evse_limits(ctx, request.evse_id),
            hardware_w[request.evse_id],
            start,
            request.duration,
            watts_per_unit,
            PERIODS_MAX,
        )
    return station_schedule(
        station_limits(ctx),
        Decimal(profile.supply.power_max_w),
        [(evse_limits(ctx, evse_id), hardware_w[evse_id]) for evse_id in profile.evse_ids],
        start,
        request.duration,
        watts_per_unit,
        PERIODS_MAX,
    )
