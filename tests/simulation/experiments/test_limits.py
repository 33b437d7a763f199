"""Limits are never exceeded while they change and the power is cut: half an hour here.

`python -m station.simulation.experiments.limits --hours 24` for a day.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from station.simulation.experiments.limits import LimitsExperiment
from station.simulation.invariants import InvariantError
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
