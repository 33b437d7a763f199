"""Does a wish that was judged for one EV ever charge the next?"""

from __future__ import annotations

import pytest

from journal.observations import CableReported
from station.core.desired import DesiredEvse, DesiredState
from station.runtime.hardware.control_loop import _desired_evse
from tests.support.story import BOOTED, cable_plugged, cable_unplugged, given


def desired_state(cables: int | None) -> DesiredState:
    return DesiredState(evses=(DesiredEvse(1, True, False, None, "", cable_report_count=cables),))


@pytest.mark.parametrize(("judged_with", "counts"), [(3, True), (2, False), (4, False)])
def test_energy_is_for_the_cable_it_was_judged_with(judged_with: int, counts: bool) -> None:
    wish = _desired_evse(desired_state(judged_with), 1, shutting_down=False, cable_report_count=3)
    assert (wish is not None and wish.energy_allowed) is counts


def test_to_stop_the_judgement_need_not_know_the_cable() -> None:
    stop = DesiredState(evses=(DesiredEvse(1, False, False, None, "", cable_report_count=2),))
    assert _desired_evse(stop, 1, shutting_down=False, cable_report_count=3) == stop.evses[0]


def test_nothing_is_wanted_on_the_way_out() -> None:
    wish = _desired_evse(desired_state(3), 1, shutting_down=True, cable_report_count=3)
    assert wish is not None
    assert not wish.energy_allowed


def test_the_journal_counts_the_reports_of_the_cable_as_the_body_does() -> None:
    station = given(BOOTED, cable_unplugged(1), cable_plugged(1), CableReported(2, 1, True))
    assert [evse.cable_report_count for evse in station.desired.evses] == [2, 1]
    station.when(BOOTED)
    assert [evse.cable_report_count for evse in station.desired.evses] == [0, 0]
