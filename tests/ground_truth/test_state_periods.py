"""Is any scene of a journal a test that runs, tells nobody's name, and fails when it should?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from station.core import evse_status, outbox_rules
from station.core.blocks import c_authorization, e_start_stop_points, e_transactions, l_firmware
from station.history.regression.replayed_case import DecisionDiffers
from tests.ground_truth.answers import PlayedDay
from tests.ground_truth.asking import Analyst, CommandResult, run_station
from tests.ground_truth.film import SIGNER, record_run, time_at
from tests.ground_truth.scenes import plan_day as planned_day
from tests.ground_truth.stage import Scene

SEED: Final = 5
START_OFFSET_S: Final = {"firmware_does_not_run": 5.0}  # what hangs on a certificate cannot be told
NAMES: Final = ("SIM-1", "csms.invalid", "files.invalid", "001122334455", "Maker root")


# scene -> what decided it, and how it is in a station that has a fault there
def stop_causes_without(requirement: str) -> object:
    return tuple(
        cause for cause in e_start_stop_points.STOP_CAUSES if cause.requirement != requirement
    )


BROKEN: Final[dict[str, tuple[object, str, object]]] = {
    "card_ends": (c_authorization, "authorization_of_token", lambda case, seen: None),
    "family_ends_as_the_csms_says": (
        c_authorization,
        "group_of_authorization",
        lambda case, held: None,
    ),
    "ev_leaves_and_is_not_back": (c_authorization, "connection_due_ms", lambda case, held: None),
    "device_breaks": (e_start_stop_points, "STOP_CAUSES", stop_causes_without("E06.FR.16")),
    "csms_thinks_again": (e_transactions, "end_authorization", lambda held, trigger, stopped: None),
    "elsewhere_only_by_the_cache": (c_authorization, "evse_allowed", lambda known, evse_id: True),
    "out_of_service": (
        evse_status,
        "is_connector_usable",
        lambda availability, evse_id, connector_id: True,
    ),
    "samples_are_thinned": (outbox_rules, "THINNED_CALLS_MAX", 0),
    "firmware_does_not_run": (l_firmware, "_reported_status", lambda event, update: None),
    "supply_fails": (
        e_start_stop_points,
        "STOP_CAUSES",
        stop_causes_without("OCPP 2.1 E17.FR.20 to 22"),
    ),
}


@pytest.fixture(scope="module")
def played_day(tmp_path_factory: pytest.TempPathFactory) -> PlayedDay:
    plan, scenes = planned_day(SEED, list(BROKEN))
    film = record_run(plan, tmp_path_factory.mktemp("stretches"))
    return PlayedDay(film, scenes, Analyst(film.final_journal))


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=list(BROKEN))
def test_a_scene_is_a_test_that_fails_where_the_station_is_broken(
    played_day: PlayedDay, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = played_day.scenes[number]
    told = _generated_test(played_day, scene)
    assert "with this release the test passes." in told.stderr
    test = _load_test(told.stdout)
    test()
    assert _private_names_in(played_day, scene, told.stdout) == []
    monkeypatch.setattr(*BROKEN[scene.name])
    with pytest.raises(DecisionDiffers):
        test()
    assert "with this release the test fails" in _generated_test(played_day, scene).stderr


def test_what_hangs_on_a_certificate_is_named_and_not_told(played_day: PlayedDay) -> None:
    scene = next(one for one in played_day.scenes if one.name in START_OFFSET_S)
    told = _run_to_test(played_day, scene, scene.events[0].at_s)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "depend on a value that must be redacted" in told.stderr


def _generated_test(played_day: PlayedDay, scene: Scene) -> CommandResult:
    told = _run_to_test(played_day, scene, _stretch_start_s(scene))
    assert told.exit_code == 0, told.stderr
    return told


def _run_to_test(played_day: PlayedDay, scene: Scene, since_s: float) -> CommandResult:
    since, until = time_at(since_s).isoformat(), time_at(scene.ends_s).isoformat()
    return run_station("to-test", played_day.analyst.journal, "--from", since, "--to", until)


def _stretch_start_s(scene: Scene) -> float:
    return scene.events[0].at_s + START_OFFSET_S.get(scene.name, 0)


def _load_test(text: str) -> Callable[[], None]:
    names: dict[str, Any] = {}
    exec(compile(text, "test_field.py", "exec"), names)
    [test] = [one for name, one in names.items() if name.startswith("test_")]
    found: Callable[[], None] = test
    return found


def _private_names_in(played_day: PlayedDay, scene: Scene, text: str) -> list[str]:
    """What names a person, the station, a place or a key."""
    lines = played_day.analyst.matching_lines("", time_at(0), time_at(scene.ends_s))
    references = {name for one in lines for name in re.findall(r"#[0-9a-f]{16}", one.sentence)}
    assert references
    certificate = SIGNER.pem.splitlines()[1]
    return [name for name in (*NAMES, *references, certificate) if name in text]
