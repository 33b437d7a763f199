"""Composite schedule and limit in force: one case per rule."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from station.core.blocks.k_smart_charging.schedule import (
    Constraint,
    Limits,
    evse_schedule,
    external_timetable,
    limit_in_force,
    station_schedule,
    unix_ms,
)
from station.ocpp.messages import format_timestamp
from tests.core.blocks.k_smart_charging.schedules import (
    HARDWARE_W,
    START,
    VOLTAGE,
    Json,
    at,
    external,
    limits,
    profile,
    rows,
    watts,
    whole_watts,
)


def test_without_any_limit_the_hardware_limits_the_composite_schedule() -> None:
    assert limit_in_force(Limits(), START).limit_w is None
    assert whole_watts(Limits(), 300) == [(0, 300_000)]


def test_a_period_holds_until_the_next_one_starts_k01_fr_12() -> None:
    given_limits = limits(profile((0, 10_000), (60, 5_000)))
    found = [watts(given_limits, second) for second in (0, 59.999, 60, 9999)]
    assert found == [10_000, 10_000, 5_000, 5_000]
    assert limit_in_force(given_limits, at(10)).until == at(60)
    assert limit_in_force(given_limits, at(60)).until is None


def test_no_limit_before_the_schedule_starts_k01_fr_30() -> None:
    given_limits = limits(profile((0, 6_000), start_s=50))
    assert watts(given_limits, 49) is None
    assert limit_in_force(given_limits, at(0)).until == at(50)
    assert watts(given_limits, 50) == 6_000
    assert whole_watts(given_limits, 100) == [(0, 300_000), (50, 6_000)]


def test_a_period_after_the_duration_is_not_executed_k01_fr_11() -> None:
    given_limits = limits(profile((0, 6_000), (60, 7_000), (120, 8_000), duration=90))
    assert whole_watts(given_limits, 200) == [(0, 6_000), (60, 7_000), (90, 300_000)]


def test_a_profile_counts_within_its_validity_k01_fr_36_k01_fr_37() -> None:
    valid: Json = {"validFrom": format_timestamp(at(10)), "validTo": format_timestamp(at(20))}
    given_limits = limits(profile((0, 6_000), start_s=-500, **valid))
    found = [watts(given_limits, second) for second in (9, 10, 19, 20)]
    assert found == [None, 6_000, 6_000, None]
    assert limit_in_force(given_limits, at(0)).until == at(10)
    assert limit_in_force(given_limits, at(15)).until == at(20)


def test_without_valid_from_and_to_a_profile_is_valid_for_ever_k01_fr_10() -> None:
    assert watts(limits(profile((0, 6_000))), 86_400 * 365 * 50) == 6_000


def test_the_highest_stack_level_counts_and_its_gap_falls_to_the_next_k01_fr_17() -> None:
    low = profile((0, 6_000), stack_level=0, profile_id=1)
    high = profile((0, 9_000), stack_level=2, start_s=60, duration=60, profile_id=2)
    assert whole_watts(limits(low, high), 200) == [(0, 6_000), (60, 9_000), (120, 6_000)]
    source = limit_in_force(limits(low, high), at(60)).source
    assert source is not None
    assert (source.profile_id, source.stack_level) == (2, 2)


def test_a_tx_profile_replaces_the_default_until_it_ends_k02_fr_04_k02_fr_08() -> None:
    default = profile((0, 6_000), stack_level=5, profile_id=1)
    own = profile((0, 20_000), purpose="TxProfile", duration=60, profile_id=2)
    assert whole_watts(limits(default, own), 100) == [(0, 20_000), (60, 6_000)]


def test_the_lowest_purpose_counts_k08_fr_04() -> None:
    """The situations 1 and 2 of Part 2 K §3.5."""
    station = profile((0, 30_000), purpose="ChargingStationMaxProfile", profile_id=1)
    default = profile((0, 25_000), stack_level=2, profile_id=2)
    assert watts(limits(station, default, external_limits=[external(28_000)]), 0) == 25_000
    own = profile((0, 40_000), purpose="TxProfile", profile_id=3)
    found = limit_in_force(limits(station, default, own, external_limits=[external(28_000)]), START)
    assert found.limit_w == 28_000
    assert found.source is not None
    assert found.source.purpose == "ChargingStationExternalConstraints"


def test_of_several_external_limits_the_lowest_counts() -> None:
    both = [external(20_000, seq=3), external(10_000, seq=4, duration_s=60)]
    assert [watts(limits(external_limits=both), second) for second in (0, 60)] == [10_000, 20_000]


def test_a_daily_schedule_recurs_after_24_hours_of_utc_k01_fr_13() -> None:
    """Clocks in Europe change on 2026-03-29; the schedule does not move."""
    given_limits = limits(profile((0, 4_000), recurrencyKind="Daily", duration=3600))
    for day in range(40):
        second = day * 86_400
        assert watts(given_limits, second - 1) is None
        assert watts(given_limits, second) == 4_000
        assert watts(given_limits, second + 3_599) == 4_000
        assert watts(given_limits, second + 3_600) is None
    assert limit_in_force(given_limits, at(7_200)).until == at(86_400)


def test_a_weekly_schedule_recurs_after_7_days() -> None:
    given_limits = limits(profile((0, 4_000), (86_400, 8_000), recurrencyKind="Weekly"))
    week_s = 7 * 86_400
    assert watts(given_limits, 3 * week_s) == 4_000
    assert watts(given_limits, 3 * week_s + 86_400) == 8_000
    assert watts(given_limits, 4 * week_s - 1) == 8_000


def test_a_daily_schedule_longer_than_a_day_starts_again_after_a_day() -> None:
    given_limits = limits(
        profile((0, 4_000), (90_000, 8_000), recurrencyKind="Daily", duration=100_000)
    )
    assert watts(given_limits, 86_399) == 4_000
    assert watts(given_limits, 90_000) == 4_000


def test_a_higher_level_makes_an_exception_on_sundays() -> None:
    """Part 2 K §3.6.1: 2 kW from 17:00 to 20:00, not on Sundays."""
    base = profile((0, 2_000), recurrencyKind="Daily", start_s=9 * 3600, duration=3 * 3600)
    sunday = profile(
        (0, 999_999),
        recurrencyKind="Weekly",
        start_s=-86_400 - 8 * 3600,
        duration=86_400,
        stack_level=2,
        profile_id=2,
    )
    for day in range(14):
        expected = 999_999 if day % 7 == 6 else 2_000
        assert watts(limits(base, sunday), day * 86_400 + 10 * 3600) == expected


def test_a_relative_schedule_starts_when_the_evse_was_ready_k01_fr_42() -> None:
    given_limits = limits(profile((0, 6_000), (160, 3_000), start_s=None, purpose="TxProfile"))
    assert whole_watts(given_limits, 100) == [(0, 6_000), (60, 3_000)]


def test_limits_in_ampere_are_multiplied_with_the_voltage_k01_fr_51() -> None:
    """And minChargingRate for sharing the power: K01.FR.21, K02.FR.06, K04.FR.04."""
    given_limits = limits(profile((0, 100.5), unit="A", minChargingRate=10))
    found = limit_in_force(given_limits, START)
    assert found.limit_w == Decimal("40200")
    assert found.min_rate_w == Decimal(4_000)
    schedule = evse_schedule(given_limits, HARDWARE_W, START, 60, watts_per_unit=VOLTAGE)
    assert [period.limit for period in schedule.periods] == [Decimal("100.5")]


def test_limits_are_exact_and_rounded_down_for_the_csms() -> None:
    third = evse_schedule(limits(profile((0, 1))), HARDWARE_W, START, 60, watts_per_unit=Decimal(3))
    assert [str(period.limit) for period in third.periods] == ["0.3"]
    found = rows(limits(profile((0, 0.1), (1, 0.2), (2, 0.3))), 3)
    assert [str(limit) for _, limit in found] == ["0.1", "0.2", "0.3"]


def test_a_window_of_no_length_has_the_present_limit() -> None:
    given_limits = limits(profile((0, 6_000), (60, 3_000)))
    schedule = evse_schedule(given_limits, HARDWARE_W, START, 0)
    assert [(period.start_period, int(period.limit)) for period in schedule.periods] == [(0, 6_000)]
    assert schedule.duration_s == 0


def test_equal_periods_are_merged() -> None:
    assert whole_watts(limits(profile((0, 6_000), (10, 6_000), (20, 5_000))), 60) == [
        (0, 6_000),
        (20, 5_000),
    ]


def test_a_second_with_a_border_in_it_has_the_lower_limit() -> None:
    falling = limits(profile((0, 6_000), (10, 5_000), start_s=-0.4))
    assert whole_watts(falling, 30) == [(0, 6_000), (9, 5_000)]
    rising = limits(profile((0, 5_000), (10, 6_000), start_s=-0.4))
    assert whole_watts(rising, 30) == [(0, 5_000), (10, 6_000)]


def test_more_periods_than_are_reported_shorten_the_duration() -> None:
    given_limits = limits(profile(*((second, 1_000 + second) for second in range(0, 100, 10))))
    schedule = evse_schedule(given_limits, HARDWARE_W, START, 1_000, periods_max=3)
    assert len(schedule.periods) == 3
    assert schedule.duration_s == 30


def test_evse_0_is_what_the_station_takes_from_the_grid_k08_fr_03() -> None:
    """The sum of the EVSEs, but not above ChargingStationMaxProfile nor the hardware."""
    station_max = profile(
        (0, 90_000), (60, 20_000), purpose="ChargingStationMaxProfile", profile_id=1
    )
    own = profile((0, 30_000), purpose="TxProfile", profile_id=2)
    default = profile((0, 40_000), profile_id=3)
    evses = [(limits(own, default), HARDWARE_W), (limits(default), HARDWARE_W)]
    schedule = station_schedule(limits(station_max), HARDWARE_W, evses, START, 120)
    assert [(period.start_period, int(period.limit)) for period in schedule.periods] == [
        (0, 70_000),
        (60, 20_000),
    ]
    unlimited = station_schedule(Limits(), HARDWARE_W, [(Limits(), HARDWARE_W)] * 2, START, 120)
    assert [period.limit for period in unlimited.periods] == [300_000]


def test_a_border_after_the_year_9999_does_not_come() -> None:
    given_limits = limits(profile((0, 6_000), (2**53, 5_000)))
    assert limit_in_force(given_limits, START).until is None


def test_twenty_profiles_of_a_thousand_periods_cost_less_than_sorting_their_limits() -> None:
    """Processor time, compared with other work of this machine at this moment."""
    profiles = [
        profile(
            *((second, 1_000 + (second * 7 + level) % 50_000) for second in range(0, 60_000, 60)),
            stack_level=level,
            profile_id=level,
            purpose=("TxDefaultProfile", "TxProfile")[level % 2],
        )
        for level in range(20)
    ]
    given_limits = limits(*profiles)
    decimals = [Decimal(number * 7919 % 100_003) for number in range(20_000)]
    composite_s = processor_time(lambda: evse_schedule(given_limits, HARDWARE_W, START, 60_000))
    in_force_s = processor_time(lambda: limit_in_force(given_limits, at(30_000)))
    sort_s = processor_time(lambda: sorted(decimals))
    assert len(whole_watts(given_limits, 60_000)) == 1_000
    print(
        f"limit in force {in_force_s * 1e6:.0f} us, composite {composite_s * 1e3:.1f} ms, "
        f"sorting 20,000 decimals {sort_s * 1e3:.1f} ms"
    )
    assert composite_s < 3 * sort_s  # 0.4 to 0.8 seen
    assert in_force_s < composite_s / 4


def test_curves_with_gaps_and_borders_of_their_own_cost_no_more_than_their_steps() -> None:
    """Every limit counts at every border: twenty external limits of a thousand periods."""
    external_limits = [
        Constraint(
            timetable=external_timetable(
                range(number, 60_000, 60),
                [Decimal(1_000 + second * 7 % 50_000) for second in range(number, 60_000, 60)],
                unix_ms(START),
                None,
            ),
            source=external(1, seq=number + 1).source,
            watts_per_ampere=Decimal(1),
        )
        for number in range(20)
    ]
    given_limits = Limits(external=tuple(external_limits))
    decimals = [Decimal(number * 7919 % 100_003) for number in range(20_000)]
    composite_s = processor_time(lambda: evse_schedule(given_limits, HARDWARE_W, START, 60_000))
    sort_s = processor_time(lambda: sorted(decimals))
    print(f"composite {composite_s * 1e3:.1f} ms, sorting {sort_s * 1e3:.1f} ms")
    assert composite_s < 6 * sort_s  # 1.3 to 2.2 seen


def processor_time(act: Callable[[], object]) -> float:
    """Seconds of this thread; the least of three."""
    seconds = []
    for _ in range(3):
        began = time.thread_time()
        act()
        seconds.append(time.thread_time() - began)
    return min(seconds)
