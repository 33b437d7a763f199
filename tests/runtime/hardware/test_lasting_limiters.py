"""What limits an EVSE and lasts, as reports to the journal."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from journal.events import Observation
from journal.observations import PowerLimiterReported
from station.runtime.hardware.lasting_limiters import INTERVAL_S, LASTS_S, LastingLimiters
from station.runtime.hardware.power_budget import EvseBudget, Limiter

Level = tuple[float, Limiter | None, int]  # second, limiter (None: no transfer), its limit in W
Report = tuple[float, str, int]  # second, limiter, W

STEPS_PER_S = 10


def reports_of(*levels: Level, until: float = 120) -> list[Report]:
    reports: list[Report] = []
    now = 0.0

    def observe(observation: Observation) -> None:
        assert isinstance(observation, PowerLimiterReported)
        assert observation.evse_id == 1
        reports.append((round(now, 1), observation.limiter, int(observation.limit_w)))

    lasting = LastingLimiters(observe)
    left = list(levels)
    budget: EvseBudget | None = None
    for step in range(int(until * STEPS_PER_S)):
        now = step / STEPS_PER_S
        while left and left[0][0] <= now:
            _, limiter, limit_w = left.pop(0)
            budget = EvseBudget(Decimal(100), 40_000, limiter, limit_w) if limiter else None
        lasting.update(1, budget, now)
    return reports


def test_a_limiter_that_lasts_is_reported_and_so_is_the_end_of_the_transfer() -> None:
    assert reports_of((5, "cabinet", 75_000), (60, None, 0)) == [
        (15.0, "cabinet", 75_000),
        (60.0, "", 0),
    ]


def test_what_does_not_last_is_not_reported() -> None:
    assert reports_of((0, "ev", 1_000), (LASTS_S - 1, "product", 150_000)) == []
    assert reports_of((0, "ev", 1_000), (LASTS_S - 1, None, 0)) == []


def test_the_limit_of_the_desired_state_and_the_rated_power_are_not_repeated() -> None:
    assert reports_of((0, "limit", 40_000), (30, "product", 150_000)) == []
    assert reports_of((0, "ev", 30_000), (30, "limit", 40_000))[1:] == [(40.0, "", 0)]


def test_a_limit_of_0_w_is_reported_before_the_suspension_is() -> None:
    assert reports_of((20, "cabinet", 0)) == [(20.8, "cabinet", 0)]
    rising = reports_of((20, "cabinet", 0), (40, "cabinet", 30_000))
    assert rising[1] == (50.0, "cabinet", 30_000)


def test_small_changes_of_the_power_are_not_reported() -> None:
    levels: list[Level] = [(second, "ev", 100_000 - 1_000 * (second % 10)) for second in range(100)]
    assert len(reports_of(*levels)) == 1


def test_an_ev_that_tapers_makes_few_reports() -> None:
    levels: list[Level] = [
        (second, "ev", 150_000 * (1_800 - second) // 1_800 + 5_000) for second in range(1_800)
    ]
    reports = reports_of(*levels, until=1_800)
    assert 20 < len(reports) < 40
    assert all(before[2] > after[2] for before, after in pairwise(reports))


def test_reports_have_an_interval_whatever_changes() -> None:
    changing: list[Level] = [
        (second, ("cabinet", "modules", "ev")[second % 3], (second % 2) * 50_000)
        for second in range(600)
    ]
    times = [at for at, _, _ in reports_of(*changing, until=600)]
    assert all(after - before >= INTERVAL_S for before, after in pairwise(times))


def test_a_run_of_the_devices_with_an_earlier_clock_reports_the_end_too() -> None:
    reports: list[Observation] = []
    lasting = LastingLimiters(reports.append)
    budget = EvseBudget(Decimal(100), 40_000, "cabinet", 40_000)
    lasting.update(1, budget, 5_000)
    lasting.update(1, budget, 5_000 + LASTS_S)
    lasting.restart()
    lasting.update(1, None, 10)
    lasting.update(1, budget, 11)
    lasting.update(1, budget, 11 + LASTS_S)
    assert [getattr(report, "limiter", None) for report in reports] == ["cabinet", "", "cabinet"]
