"""Energy that was allowed for one EV never charges the next."""

from __future__ import annotations

import pytest

from journal.observations import CableReported
from station.core.desired import DesiredEvse, DesiredState
from station.runtime.hardware.control_loop import _desired_evse
from tests.support.story import BOOTED, cable_plugged, cable_unplugged, given


def desired_state(cable_reports: int | None) -> DesiredState:
    return DesiredState(
        evses=(DesiredEvse(1, True, False, None, cable_report_count=cable_reports),)
    )


@pytest.mark.parametrize(("decided_with", "allowed"), [(3, True), (2, False), (4, False)])
def test_energy_is_for_the_cable_it_was_decided_with(decided_with: int, allowed: bool) -> None:
    evse = _desired_evse(desired_state(decided_with), 1, shutting_down=False, cable_report_count=3)
    assert (evse is not None and evse.energy_allowed) is allowed


def test_a_stop_counts_for_any_cable() -> None:
    stop = DesiredState(evses=(DesiredEvse(1, False, False, None, cable_report_count=2),))
    assert _desired_evse(stop, 1, shutting_down=False, cable_report_count=3) == stop.evses[0]


def test_no_energy_is_allowed_while_shutting_down() -> None:
    evse = _desired_evse(desired_state(3), 1, shutting_down=True, cable_report_count=3)
    assert evse is not None
    assert not evse.energy_allowed


def test_the_journal_counts_the_reports_of_the_cable_as_the_hardware_does() -> None:
    station = given(BOOTED, cable_unplugged(1), cable_plugged(1), CableReported(2, 1, True))
    assert [evse.cable_report_count for evse in station.desired.evses] == [2, 1]
    station.when(BOOTED)
    assert [evse.cable_report_count for evse in station.desired.evses] == [0, 0]
