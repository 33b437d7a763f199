"""Composite schedule and limit in force against a plain model, for random profiles.

The model evaluates the received JSON at one instant, by the text of Part 2 K, and shares no code
with the implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from station.core.blocks.k_smart_charging.schedule import (
    evse_schedule,
    limit_in_force,
)
from station.ocpp.messages import format_timestamp
from tests.core.blocks.k_smart_charging.schedules import (
    HARDWARE_W,
    READY,
    START,
    VOLTAGE,
    Json,
    at,
    limits,
    profile,
    rows,
)

WINDOW_S: Final = 400


@st.composite
def any_profile(draw: st.DrawFn, profile_id: int, purpose: str, stack_level: int) -> Json:
    starts = draw(st.sets(st.integers(1, 200), max_size=4))
    periods = [(start, draw(st.integers(0, 50))) for start in (0, *sorted(starts))]
    kinds = ["Absolute", "Daily", "Weekly"]
    if purpose != "ChargingStationMaxProfile":
        kinds.append("Relative")
    kind = draw(st.sampled_from(kinds))
    more: Json = {}
    offset_s = draw(st.integers(-300_000, 500_000)) / 1000
    if kind in ("Daily", "Weekly"):
        more["recurrencyKind"] = kind
        offset_s -= draw(st.integers(0, 3)) * (86_400 if kind == "Daily" else 604_800)
    if draw(st.booleans()):
        more["duration"] = draw(st.integers(1, 300))
    if draw(st.booleans()):
        more["validFrom"] = format_timestamp(at(draw(st.integers(-100, 400))))
    if draw(st.booleans()):
        more["validTo"] = format_timestamp(at(draw(st.integers(-100, 500))))
    return profile(
        *periods,
        purpose=purpose,
        stack_level=stack_level,
        start_s=None if kind == "Relative" else offset_s,
        profile_id=profile_id,
        unit=draw(st.sampled_from(["W", "A"])),
        **more,
    )


@st.composite
def profile_sets(draw: st.DrawFn) -> list[Json]:
    """Profiles without two of one purpose and stack level, as the station accepts them."""
    purposes = ["ChargingStationMaxProfile", "TxDefaultProfile", "TxProfile"]
    places = draw(st.sets(st.tuples(st.sampled_from(purposes), st.integers(0, 3)), max_size=7))
    return [
        draw(any_profile(number, purpose, level))
        for number, (purpose, level) in enumerate(sorted(places))
    ]


def model_limit(data: Json, moment: datetime) -> Decimal | None:
    """The limit of one profile at an instant in W, by the text of the specification."""
    if "validFrom" in data and moment < datetime.fromisoformat(data["validFrom"]):
        return None
    if "validTo" in data and moment >= datetime.fromisoformat(data["validTo"]):
        return None
    [schedule] = data["chargingSchedule"]
    if data["chargingProfileKind"] == "Relative":
        base = READY
    else:
        base = datetime.fromisoformat(schedule["startSchedule"])
    if moment < base:
        return None
    if data["chargingProfileKind"] == "Recurring":
        step = timedelta(days=1 if data["recurrencyKind"] == "Daily" else 7)
        while base + step <= moment:
            base += step
    elapsed = moment - base
    if "duration" in schedule and elapsed >= timedelta(seconds=schedule["duration"]):
        return None
    started = [
        period
        for period in schedule["chargingSchedulePeriod"]
        if timedelta(seconds=period["startPeriod"]) <= elapsed
    ]
    limit = Decimal(str(started[-1]["limit"]))
    return limit * VOLTAGE if schedule["chargingRateUnit"] == "A" else limit


def model_composite(profiles: Sequence[Json], moment: datetime) -> Decimal | None:
    leading: dict[str, Decimal] = {}
    for data in sorted(profiles, key=lambda each: int(each["stackLevel"])):
        limit = model_limit(data, moment)
        if limit is not None:
            leading[data["chargingProfilePurpose"]] = limit
    if "TxProfile" in leading:
        leading.pop("TxDefaultProfile", None)
    return min(leading.values(), default=None)


def limit_of(periods: Sequence[tuple[int, Decimal]], second: int) -> Decimal:
    return [limit for start, limit in periods if start <= second][-1]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(profile_sets(), st.integers(0, WINDOW_S * 1000))
def test_the_limit_in_force_is_that_of_the_specification_sc_01(
    profiles: list[Json], offset_ms: int
) -> None:
    moment = at(offset_ms / 1000)
    assert limit_in_force(limits(*profiles), moment).limit_w == model_composite(profiles, moment)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(profile_sets(), st.integers(0, WINDOW_S * 1000))
def test_the_limit_does_not_change_before_its_border(profiles: list[Json], offset_ms: int) -> None:
    moment = at(offset_ms / 1000)
    found = limit_in_force(limits(*profiles), moment)
    last = at(10_000_000) if found.until is None else found.until - timedelta(milliseconds=1)
    assert last >= moment
    assert model_composite(profiles, last) == found.limit_w
    assert model_composite(profiles, moment + (last - moment) / 2) == found.limit_w


@settings(max_examples=60, deadline=None, derandomize=True)
@given(profile_sets(), st.sampled_from([Decimal(1), VOLTAGE]))
def test_the_composite_schedule_is_never_above_a_merged_limit_k08_fr_04(
    profiles: list[Json], watts_per_unit: Decimal
) -> None:
    """At no instant, whatever fraction of a second the borders have."""
    schedule = evse_schedule(
        limits(*profiles), HARDWARE_W, START, WINDOW_S, watts_per_unit=watts_per_unit
    )
    starts = [period.start_period for period in schedule.periods]
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    reported = [(period.start_period, period.limit) for period in schedule.periods]
    for half_seconds in range(2 * WINDOW_S):
        limit_w = model_composite(profiles, at(half_seconds / 2))
        allowed_w = HARDWARE_W if limit_w is None else min(limit_w, HARDWARE_W)
        assert limit_of(reported, half_seconds // 2) * watts_per_unit <= allowed_w


@settings(max_examples=60, deadline=None, derandomize=True)
@given(profile_sets())
def test_the_composite_schedule_of_whole_seconds_is_exact(profiles: list[Json]) -> None:
    for data in profiles:
        schedule = data["chargingSchedule"][0]
        if "startSchedule" in schedule:
            schedule["startSchedule"] = schedule["startSchedule"][:19] + "Z"
    reported = rows(limits(*profiles), WINDOW_S)
    for second in range(WINDOW_S):
        limit_w = model_composite(profiles, at(second))
        assert limit_of(reported, second) == (HARDWARE_W if limit_w is None else limit_w)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(profile_sets(), st.integers(1, WINDOW_S - 1))
def test_a_split_window_equals_the_whole(profiles: list[Json], split_s: int) -> None:
    given_limits = limits(*profiles)
    whole = rows(given_limits, WINDOW_S)
    first = rows(given_limits, split_s)
    second = rows(given_limits, WINDOW_S - split_s, start_s=split_s)
    assert [limit_of(whole, each) for each in range(WINDOW_S)] == [
        *(limit_of(first, each) for each in range(split_s)),
        *(limit_of(second, each) for each in range(WINDOW_S - split_s)),
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(profile_sets(), st.randoms(use_true_random=False))
def test_the_order_of_installation_does_not_matter(profiles: list[Json], random: Random) -> None:
    shuffled = list(profiles)
    random.shuffle(shuffled)
    assert rows(limits(*profiles), WINDOW_S) == rows(limits(*shuffled), WINDOW_S)
