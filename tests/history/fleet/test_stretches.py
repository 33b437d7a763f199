"""Is any scene of a journal a test that runs, tells nobody's name, and fails when it should?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from station import delivery
from station.blocks import c_authorization, e_transactions, g_availability, l_firmware
from station.history.retelling import Differs
from tests.history.fleet.answers import Day
from tests.history.fleet.asking import Analyst, Answer, ask
from tests.history.fleet.film import SIGNER, filmed, moment
from tests.history.fleet.scenes import day as planned_day
from tests.history.fleet.stage import Scene

SEED: Final = 5
BEHIND_S: Final = {"firmware_does_not_run": 5.0}  # what hangs on a certificate cannot be told
NAMES: Final = ("SIM-1", "csms.invalid", "files.invalid", "001122334455", "Maker root")

# scene -> what decided it, and how it is in a station that has a fault there
BROKEN: Final[dict[str, tuple[object, str, object]]] = {
    "card_ends": (c_authorization, "_own", lambda case, seen: None),
    "family_ends_as_the_csms_says": (c_authorization, "_group_at", lambda case, held: None),
    "ev_leaves_and_is_not_back": (c_authorization, "due_ms", lambda case, held: None),
    "device_breaks": (e_transactions, "_fault_cause", lambda case, transaction: None),
    "csms_thinks_again": (e_transactions, "end_of", lambda held, trigger, stopped: None),
    "elsewhere_only_by_the_cache": (c_authorization, "_allowed", lambda known, evse_id: True),
    "out_of_service": (g_availability, "usable", lambda case, evse_id, connector_id: True),
    "samples_are_thinned": (delivery, "THINNED_AT_ONCE", 0),
    "firmware_does_not_run": (l_firmware, "_reported", lambda event, update: None),
    "supply_fails": (e_transactions, "_interruption_cause", lambda case, transaction: None),
}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    plan, scenes = planned_day(SEED, list(BROKEN))
    film = filmed(plan, tmp_path_factory.mktemp("stretches"))
    return Day(film, scenes, Analyst(film.final))


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=list(BROKEN))
def test_a_scene_is_a_test_that_fails_where_the_station_is_broken(
    day: Day, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = day.scenes[number]
    told = _told(day, scene)
    assert "with this release the test passes." in told.err
    test = _test_in(told.out)
    test()
    assert _names_in(day, scene, told.out) == []
    monkeypatch.setattr(*BROKEN[scene.name])
    with pytest.raises(Differs):
        test()
    assert "with this release the test fails" in _told(day, scene).err


def test_what_hangs_on_a_certificate_is_named_and_not_told(day: Day) -> None:
    scene = next(one for one in day.scenes if one.name in BEHIND_S)
    told = _asked(day, scene, scene.happenings[0].at_s)
    assert (told.code, told.out) == (1, "")
    assert "on something that must not be told" in told.err


def _told(day: Day, scene: Scene) -> Answer:
    told = _asked(day, scene, _from(scene))
    assert told.code == 0, told.err
    return told


def _asked(day: Day, scene: Scene, since_s: float) -> Answer:
    since, until = moment(since_s).isoformat(), moment(scene.ends_s).isoformat()
    return ask("to-test", day.analyst.journal, "--from", since, "--to", until)


def _from(scene: Scene) -> float:
    return scene.happenings[0].at_s + BEHIND_S.get(scene.name, 0)


def _test_in(text: str) -> Callable[[], None]:
    names: dict[str, Any] = {}
    exec(compile(text, "test_field.py", "exec"), names)
    [test] = [one for name, one in names.items() if name.startswith("test_")]
    found: Callable[[], None] = test
    return found


def _names_in(day: Day, scene: Scene, text: str) -> list[str]:
    """What names a person, the station, a place or a key."""
    lines = day.analyst.lines("", moment(0), moment(scene.ends_s))
    references = {name for one in lines for name in re.findall(r"#[0-9a-f]{16}", one.sentence)}
    assert references
    certificate = SIGNER.pem.splitlines()[1]
    return [name for name in (*NAMES, *references, certificate) if name in text]
