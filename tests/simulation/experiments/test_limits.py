"""Limits are never exceeded while they change and the power is cut: half an hour here.

`python -m station.simulation.experiments.limits --hours 24` for a day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from journal.events import Entry
from journal.observations import ClockStepped, StationStarted
from journal.projections.clock import ClockCorrected
from journal.projections.power_limits import PowerLimits
from station.core.blocks import k_power_limits
from station.core.blocks.k_smart_charging.limits import present_limit
from station.core.blocks.k_smart_charging.schedule import LimitInForce
from station.core.context import Context
from station.runtime.hardware.power_sharing import EvseDemand, PowerShare, Shares, share_power
from station.simulation import evse_double
from station.simulation.experiments.limits import LimitsExperiment
from station.simulation.invariant_error import InvariantError
from station.simulation.world import SimulatedWorld


def test_no_limit_is_exceeded_sc_01(tmp_path: Path) -> None:
    result = LimitsExperiment(tmp_path, hours=0.5, seed=1).run()
    assert result.limit_changes > 15
    assert result.sessions >= 2
    assert result.set_point_checks > 200
    assert result.delivered_wh > 100


def test_a_set_point_above_the_limit_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report_too_much(world: SimulatedWorld, setpoints_w: dict[int, int]) -> None:
        world.observer.on_set_points({evse_id: power + 1 for evse_id, power in setpoints_w.items()})

    monkeypatch.setattr(SimulatedWorld, "on_set_points", report_too_much)
    with pytest.raises(InvariantError, match=r"SC\.01: set-point"):
        LimitsExperiment(tmp_path, hours=1, seed=1).run()


# --- Broken on purpose ---------------------------------------------------------------------------

StationFault = Callable[[pytest.MonkeyPatch], None]


def _ignore_events(monkeypatch: pytest.MonkeyPatch, *kinds: type) -> None:
    apply = PowerLimits.apply

    def apply_others(self: PowerLimits, entry: Entry) -> PowerLimits:
        return self if isinstance(entry.event, kinds) else apply(self, entry)

    monkeypatch.setattr(PowerLimits, "apply", apply_others)


def lose_limits_in_a_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits in force are in RAM only, and a start does not decide them again."""
    apply = PowerLimits.apply

    def apply_in_ram(self: PowerLimits, entry: Entry) -> PowerLimits:
        return PowerLimits() if isinstance(entry.event, StationStarted) else apply(self, entry)

    monkeypatch.setattr(PowerLimits, "apply", apply_in_ram)


def ignore_clock_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stepped or corrected clock does not change which period counts."""
    _ignore_events(monkeypatch, ClockStepped, ClockCorrected)


def ignore_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit holds until the next event, not until its period ends."""

    def without_border(ctx: Context, evse_id: int) -> LimitInForce:
        return replace(present_limit(ctx, evse_id), until=None)

    monkeypatch.setattr(k_power_limits, "present_limit", without_border)


def give_each_evse_the_limit_of_the_station(monkeypatch: pytest.MonkeyPatch) -> None:
    """The EVSEs do not share."""

    def share_nothing(
        previous: Shares, demands: Sequence[EvseDemand], total_w: int, now: float
    ) -> dict[int, PowerShare]:
        return share_power(previous, demands, total_w * len(demands), now)

    monkeypatch.setattr(evse_double, "share_power", share_nothing)


# How the station is broken, and a seed that finds it within seconds.
FAULTS: tuple[tuple[StationFault, int], ...] = (
    (lose_limits_in_a_power_cut, 3),
    (ignore_clock_steps, 1),
    (ignore_borders, 2),
    (give_each_evse_the_limit_of_the_station, 2),
)


@pytest.mark.parametrize(("inject", "seed"), FAULTS, ids=[inject.__name__ for inject, _ in FAULTS])
def test_a_station_broken_on_purpose_is_found_sc_01(
    inject: StationFault, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch)
    with pytest.raises(InvariantError, match=r"SC\.01"):
        LimitsExperiment(tmp_path, hours=1, seed=seed).run()
