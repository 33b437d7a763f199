"""Deratings of the hardware that last."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from station.runtime.hardware.lasting_derating import INTERVAL_S, LASTS_S, LastingDerating
from station.runtime.hardware.power_limits import Derating, HardwareLimit, HardwareLimiter

Level = tuple[float, HardwareLimiter, int]  # second, limiter, current in A


def reports_of(*levels: Level, until: float = 1000) -> list[tuple[int, str, int] | int]:
    """Each report as (second, cause, W), or the second alone when the derating ended.

    The voltage is 400 V, and 100 A are possible without derating.
    """
    reports: list[tuple[int, str, int] | int] = []
    now = 0.0

    def report(evse_id: int, derating: Derating | None) -> None:
        assert evse_id == 1
        if derating is None:
            reports.append(int(now))
        else:
            assert derating.rated_w == 40_000
            reports.append((int(now), derating.cause, derating.limit_w))

    lasting = LastingDerating(report)
    left = list(levels)
    current: Level = left.pop(0)
    while now < until:
        if left and left[0][0] <= now:
            current = left.pop(0)
        limit = HardwareLimit(Decimal(current[2]), Decimal(400), current[1], Decimal(100))
        lasting.update(1, limit, now)
        now += 1
    return reports


def test_a_derating_is_reported_when_it_lasts_and_at_its_end() -> None:
    warm: Level = (10, "cable", 50)
    assert reports_of((0, "product", 100), warm, (300, "product", 100)) == [
        (10 + int(LASTS_S), "cable", 20_000),
        300,
    ]


def test_a_derating_that_does_not_last_is_not_reported() -> None:
    end: Level = (10 + LASTS_S - 1, "product", 100)
    assert reports_of((0, "product", 100), (10, "modules", 50), end) == []


def test_the_highest_power_of_the_time_is_reported() -> None:
    assert reports_of((0, "cable", 50), (30, "cable", 70), (40, "cable", 60))[0] == (
        60, "cable", 28_000,
    )  # fmt: skip


def test_small_changes_are_not_reported() -> None:
    levels = [(at, "cable", 50 + at // 10 % 3) for at in range(0, 900, 10)]
    assert reports_of(*levels, until=900) == [(60, "cable", 20_800)]  # type: ignore[arg-type]
    assert reports_of((0, "cable", 96)) == []


def test_a_derating_that_comes_and_goes_is_reported_once_a_minute_at_most() -> None:
    levels: list[Level] = []
    for at in range(0, 3600, 80):
        levels += [(at, "cable", 50), (at + 70, "cable", 90)]
    reports = reports_of(*levels, until=3600)
    times = [each if isinstance(each, int) else each[0] for each in reports]
    assert len(times) > 10
    assert all(later - before >= INTERVAL_S for before, later in pairwise(times))


def test_another_cause_replaces_the_report_when_it_lasts() -> None:
    assert reports_of((0, "cable", 50), (100, "modules", 50), until=300) == [
        (60, "cable", 20_000),
        (160, "modules", 20_000),
    ]


def test_an_evse_without_power_is_not_judged() -> None:
    assert reports_of((0, "modules", 0)) == []
    assert reports_of((0, "cable", 50), (100, "cable", 0)) == [(60, "cable", 20_000)]


def test_a_run_of_the_devices_with_an_earlier_clock_reports_the_end_too() -> None:
    reports: list[Derating | None] = []
    lasting = LastingDerating(lambda evse_id, derating: reports.append(derating))
    warm, cool = (HardwareLimit(Decimal(a), Decimal(400), "cable", Decimal(100)) for a in (50, 100))
    lasting.update(1, warm, 5_000)
    lasting.update(1, warm, 5_000 + LASTS_S)
    lasting.restart()
    lasting.update(1, cool, 10)
    assert [derating and derating.limit_w for derating in reports] == [20_000, None]
