"""Generated tests (`station to-test`): they run, contain no private data, and find broken rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from station.core import evse_status, outbox_rules
from station.core.blocks import (
    c_authorization,
    c_connection,
    e_start_stop_points,
    e_transactions,
    l_firmware,
)
from station.core.blocks.c_local_authorization import LocalInfo
from station.history.regression.replayed_case import DecisionDiffers
from tests.ground_truth.analyst import Analyst, CommandResult, run_station
from tests.ground_truth.days import plan_day
from tests.ground_truth.recorded_run import SIGNER, record_run, time_at
from tests.ground_truth.scene import Scene
from tests.ground_truth.scene_checks import RecordedDay

SEED: Final = 5
START_OFFSET_S: Final = {"firmware_not_running": 5.0}  # starts after the certificate is redacted
NAMES: Final = ("SIM-1", "csms.invalid", "files.invalid", "001122334455", "Maker root")


def stop_causes_without(*codes: str) -> object:
    return tuple(cause for cause in e_start_stop_points.STOP_CAUSES if cause.code not in codes)


# Scene -> the function or table that decided it, and its replacement in a broken station.
BROKEN: Final[dict[str, tuple[object, str, object]]] = {
    "stopped_by_id_token": (c_authorization, "authorization_of_token", lambda ctx, id_token: None),
    "stopped_by_group_member_of_csms": (
        c_authorization,
        "group_of_authorization",
        lambda ctx, authorization: None,
    ),
    "ev_unplugged_and_not_back": (
        c_connection,
        "connection_due_ms",
        lambda ctx, authorization: None,
    ),
    "device_fault": (e_start_stop_points, "STOP_CAUSES", stop_causes_without("fault")),
    "deauthorized_after_offline_start": (
        e_transactions,
        "end_authorization",
        lambda authorization, trigger, stopped, because: None,
    ),
    "offline_and_other_evses_only": (LocalInfo, "allows_evse", lambda info, evse_id: True),
    "evse_inoperative": (
        evse_status,
        "is_connector_usable",
        lambda availability, evse_id, connector_id: True,
    ),
    "samples_dropped": (outbox_rules, "THINNED_CALLS_MAX", 0),
    "firmware_not_running": (l_firmware, "_reported_status", lambda event, update: None),
    "power_loss": (
        e_start_stop_points,
        "STOP_CAUSES",
        stop_causes_without("interrupted", "interrupted_for_unknown_time", "evse_lost"),
    ),
}


@pytest.fixture(scope="module")
def recorded_day(tmp_path_factory: pytest.TempPathFactory) -> RecordedDay:
    plan, scenes = plan_day(SEED, list(BROKEN))
    run = record_run(plan, tmp_path_factory.mktemp("day"))
    return RecordedDay(run, scenes, Analyst(run.final_journal))


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=list(BROKEN))
def test_a_generated_test_fails_in_a_broken_station(
    recorded_day: RecordedDay, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = recorded_day.scenes[number]
    result = _generated_test(recorded_day, scene)
    assert "with this release the test passes." in result.stderr
    test = _load_test(result.stdout)
    test()
    assert _private_names_in(recorded_day, scene, result.stdout) == []
    monkeypatch.setattr(*BROKEN[scene.name])
    with pytest.raises(DecisionDiffers):
        test()
    assert "with this release the test fails" in _generated_test(recorded_day, scene).stderr


def test_a_range_that_depends_on_a_certificate_is_refused(recorded_day: RecordedDay) -> None:
    scene = next(scene for scene in recorded_day.scenes if scene.name in START_OFFSET_S)
    result = _run_to_test(recorded_day, scene, scene.events[0].at_s)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "depend on a value that must be redacted" in result.stderr


def _generated_test(recorded_day: RecordedDay, scene: Scene) -> CommandResult:
    result = _run_to_test(recorded_day, scene, _range_start_s(scene))
    assert result.exit_code == 0, result.stderr
    return result


def _run_to_test(recorded_day: RecordedDay, scene: Scene, since_s: float) -> CommandResult:
    since, until = time_at(since_s).isoformat(), time_at(scene.ends_s).isoformat()
    return run_station("to-test", recorded_day.analyst.journal, "--from", since, "--to", until)


def _range_start_s(scene: Scene) -> float:
    return scene.events[0].at_s + START_OFFSET_S.get(scene.name, 0)


def _load_test(text: str) -> Callable[[], None]:
    names: dict[str, Any] = {}
    exec(compile(text, "test_field.py", "exec"), names)
    [test] = [value for name, value in names.items() if name.startswith("test_")]
    function: Callable[[], None] = test
    return function


def _private_names_in(recorded_day: RecordedDay, scene: Scene, text: str) -> list[str]:
    """Names of persons, stations, hosts and keys that are in the text."""
    lines = recorded_day.analyst.matching_lines("", time_at(0), time_at(scene.ends_s))
    references = {name for line in lines for name in re.findall(r"#[0-9a-f]{16}", line.sentence)}
    assert references
    certificate = SIGNER.pem.splitlines()[1]
    return [name for name in (*NAMES, *references, certificate) if name in text]
