"""Profiles as the CSMS sends them, as constraints at a fixed time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from station.core.blocks.k_smart_charging.schedule import (
    Constraint,
    Limits,
    LimitSource,
    evse_schedule,
    external_timetable,
    limit_in_force,
    profile_timetable,
    unix_ms,
)
from station.ocpp.messages import format_timestamp

START: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # a Monday
HARDWARE_W: Final = Decimal(300_000)
READY: Final = START - timedelta(seconds=100)  # the EVSE was ready for its transaction
VOLTAGE: Final = Decimal(400)

Json = dict[str, Any]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def profile(
    *periods: tuple[int, Any],
    purpose: str = "TxDefaultProfile",
    stack_level: int = 0,
    start_s: float | None = 0,
    unit: str = "W",
    profile_id: int = 1,
    **more: Any,
) -> Json:
    """A profile as the CSMS sends it; `start_s` None: Relative. `more`: duration, validFrom, ..."""
    schedule: Json = {
        "id": 1,
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [
            {"startPeriod": start, "limit": limit} for start, limit in periods
        ],
    }
    if start_s is not None:
        schedule["startSchedule"] = format_timestamp(at(start_s))
    for key in ("duration", "minChargingRate"):
        if key in more:
            schedule[key] = more.pop(key)
    kind = "Relative" if start_s is None else "Absolute"
    if "recurrencyKind" in more:
        kind = "Recurring"
    return {
        "id": profile_id,
        "stackLevel": stack_level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [schedule],
        **more,
    }


def constraint(data: Json) -> Constraint:
    return Constraint(
        timetable=profile_timetable(msgspec.Raw(json.dumps(data).encode())),
        source=LimitSource(
            purpose=data["chargingProfilePurpose"],
            entry_seq=1,
            profile_id=data["id"],
            stack_level=data["stackLevel"],
            evse_id=1,
            limit_source="CSO",
        ),
        watts_per_ampere=VOLTAGE,
        relative_start_ms=unix_ms(READY),
    )


def external(limit_w: int, *, seq: int = 9, duration_s: int | None = None) -> Constraint:
    return Constraint(
        timetable=external_timetable((0,), (Decimal(limit_w),), unix_ms(START), duration_s),
        source=LimitSource("ChargingStationExternalConstraints", seq, -seq, 0, 0, "EMS", "test"),
        watts_per_ampere=Decimal(1),
    )


def limits(*profiles: Json, external_limits: Sequence[Constraint] = ()) -> Limits:
    groups: dict[str, list[Constraint]] = {}
    for data in profiles:
        groups.setdefault(data["chargingProfilePurpose"], []).append(constraint(data))
    return Limits(
        station_max=tuple(groups.get("ChargingStationMaxProfile", ())),
        external=tuple(external_limits),
        tx=tuple(groups.get("TxProfile", ())),
        tx_default=tuple(groups.get("TxDefaultProfile", ())),
    )


def watts(given_limits: Limits, seconds: float) -> int | None:
    limit_w = limit_in_force(given_limits, at(seconds)).limit_w
    return None if limit_w is None else int(limit_w)


def rows(given_limits: Limits, duration_s: int, start_s: int = 0) -> list[tuple[int, Decimal]]:
    schedule = evse_schedule(given_limits, HARDWARE_W, at(start_s), duration_s)
    return [(period.start_period, period.limit) for period in schedule.periods]


def whole_watts(given_limits: Limits, duration_s: int) -> list[tuple[int, int]]:
    """As `rows` from START; limits without their decimals."""
    return [(start, int(limit)) for start, limit in rows(given_limits, duration_s)]
