"""Does a wish that was judged for one EV ever charge the next?"""

from __future__ import annotations

import pytest

from journal.observations import CableReported
from station.runtime.body import _wish
from station.wanted import Wanted, WantedEvse
from tests.story import BOOTED, given, plugged, unplugged


def level(cables: int | None) -> Wanted:
    return Wanted(evses=(WantedEvse(1, True, False, None, "", cables=cables),))


@pytest.mark.parametrize(("judged_with", "counts"), [(3, True), (2, False), (4, False)])
def test_energy_is_for_the_cable_it_was_judged_with(judged_with: int, counts: bool) -> None:
    wish = _wish(level(judged_with), 1, leaving=False, cables=3)
    assert (wish is not None and wish.energy) is counts


def test_to_stop_the_judgement_need_not_know_the_cable() -> None:
    stop = Wanted(evses=(WantedEvse(1, False, False, None, "", cables=2),))
    assert _wish(stop, 1, leaving=False, cables=3) == stop.evses[0]


def test_nothing_is_wanted_on_the_way_out() -> None:
    wish = _wish(level(3), 1, leaving=True, cables=3)
    assert wish is not None
    assert not wish.energy


def test_the_journal_counts_the_reports_of_the_cable_as_the_body_does() -> None:
    station = given(BOOTED, unplugged(1), plugged(1), CableReported(2, 1, True))
    assert [evse.cables for evse in station.level.evses] == [2, 1]
    station.when(BOOTED)
    assert [evse.cables for evse in station.level.evses] == [0, 0]
