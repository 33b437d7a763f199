"""The commands answer, from a journal alone, what is known to be true of its world."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, get_args

import pytest

from journal.state import digest_state
from station.ocpp.messages import parse_timestamp
from station.simulation.fault_plan import Plan, ScheduledEvent
from station.simulation.seeds import SAMPLE_INTERVAL, make_plan
from tests.ground_truth.analyst import Analyst, run_station
from tests.ground_truth.days import SCENE_BUILDERS, SCENES_PER_DAY, plan_days
from tests.ground_truth.recorded_run import record_run, time_at
from tests.ground_truth.scene import QuestionKind
from tests.ground_truth.scene_checks import RecordedDay, find_wrong_answers
from tests.ground_truth.world_checks import WorldCheck

SEED: Final = 20
DAYS: Final = -(-len(SCENE_BUILDERS) // SCENES_PER_DAY)  # so that every scene takes place
SAMPLED_DAYS: Final = range(4)  # for questions that suit any journal
WORLDS: Final = (3, 4, 23, 40, 59)  # seeds: samples, restarts, full disk, parked, early starts


@pytest.fixture(scope="module")
def record_day(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], RecordedDay]:
    """Returns a day by its number; each is run once."""
    plans = list(plan_days(SEED, DAYS))
    days: dict[int, RecordedDay] = {}

    def record(number: int) -> RecordedDay:
        if number not in days:
            plan, scenes = plans[number]
            run = record_run(plan, tmp_path_factory.mktemp("day"))
            days[number] = RecordedDay(run, scenes, Analyst(run.final_journal))
        return days[number]

    return record


# --- why -----------------------------------------------------------------------------------------


def test_the_days_have_every_scene_and_every_kind_of_question() -> None:
    scenes = [scene for _, day_scenes in plan_days(SEED, DAYS) for scene in day_scenes]
    assert {scene.name for scene in scenes} == set(SCENE_BUILDERS)
    kinds = {question.kind for scene in scenes for question in scene.questions}
    assert kinds == set(get_args(QuestionKind))


@pytest.mark.parametrize("number", range(DAYS))
def test_why_gives_the_expected_reasons(
    record_day: Callable[[int], RecordedDay], number: int
) -> None:
    assert list(find_wrong_answers(record_day(number))) == []


@pytest.mark.parametrize("seed", WORLDS)
def test_why_gives_only_reasons_that_were_true(seed: int, tmp_path: Path) -> None:
    run = record_run(make_plan(seed), tmp_path)
    world = WorldCheck(run, Analyst(run.final_journal))
    assert list(world.find_wrong_answers()) == []
    assert world.question_count
    assert run_station("verify", run.final_journal, "--redecide").exit_code == 0
    result = run_station("to-test", run.final_journal, "--from", max(1, run.checker.seq - 1_000))
    assert "with this release the test passes." in result.stderr


# --- replay, verify, diff ------------------------------------------------------------------------


@pytest.mark.parametrize("number", SAMPLED_DAYS)
def test_replay_prints_every_entry_and_the_final_state(
    record_day: Callable[[int], RecordedDay], number: int
) -> None:
    run, _, analyst = record_day(number)
    checker = run.checker
    assert [line.seq for line in analyst.transcript] == list(range(1, checker.seq + 1))
    assert checker.state is not None
    result = run_station("replay", run.final_journal, "--state")
    assert f'"state_digest":"{digest_state(checker.state)}"' in result.stdout


@pytest.mark.parametrize("number", SAMPLED_DAYS)
def test_verify_finds_no_damage_and_the_same_decisions(
    record_day: Callable[[int], RecordedDay], number: int
) -> None:
    run = record_day(number).run
    result = run_station("verify", run.final_journal, "--redecide")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"intact. {run.checker.seq} entries" in result.stdout


def test_diff_shows_what_a_scene_changed(record_day: Callable[[int], RecordedDay]) -> None:
    run, scene = next(
        (record_day(number).run, scene)
        for number in range(DAYS)
        for scene in record_day(number).scenes
        if scene.name == "station_inoperative"
    )
    begins_s = scene.events[0].at_s
    before, after = (time_at(begins_s + offset_s).isoformat() for offset_s in (-1, 30))
    result = run_station("diff", run.final_journal, before, after)
    assert result.exit_code == 0, result.stderr
    assert any(line.startswith("availability.inoperative") for line in result.lines)
    assert any(line.endswith('"Available" -> "Unavailable"') for line in result.lines)


# --- export, outbox ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SAMPLED_DAYS)
def test_the_export_equals_what_the_csms_received(
    record_day: Callable[[int], RecordedDay], number: int
) -> None:
    run, _, analyst = record_day(number)
    assert list(WorldCheck(run, analyst).check_totals()) == []


def test_the_outbox_lists_what_the_csms_has_not_received(tmp_path: Path) -> None:
    session = {"evse_id": 1, "id_token": "04A224B2", "stays_s": 200.0, "power_w": 60_000}
    plan = Plan(
        11,
        {SAMPLE_INTERVAL: "5"},
        (
            ScheduledEvent(5, "start_session", session),
            ScheduledEvent(60, "switch_network", {"mode": "down", "seconds": 600}),
            ScheduledEvent(150, "wait", {}),
        ),
    )
    run = record_run(plan, tmp_path)
    result = run_station("outbox", run.journal, "list")
    listed = re.findall(r"TransactionEvent  (\S+) seqNo (\d+) ", result.stdout)
    undelivered = [
        (transaction_id, str(seq_no))
        for transaction_id, record in run.csms_records.items()
        for seq_no, event in record.events.items()
        if seq_no not in run.delivered_seq_nos.get(transaction_id, ())
        and parse_timestamp(event.timestamp) < time_at(150) - timedelta(milliseconds=1)
    ]
    assert len(undelivered) > 10
    assert listed == undelivered
    after = run_station("outbox", run.final_journal, "list")
    assert (after.exit_code, after.stderr) == (0, "")
    assert after.stdout.startswith("nothing waits: the CSMS confirmed every call")


# --- report, archive -----------------------------------------------------------------------------


def test_the_report_has_every_session_with_its_energy(
    record_day: Callable[[int], RecordedDay], tmp_path: Path
) -> None:
    run = record_day(0).run
    page = tmp_path / "report.html"
    result = run_station("report", run.final_journal, "--out", page)
    assert result.exit_code == 0, result.stderr
    text = page.read_text()
    energies_wh = [record.energy_wh for record in run.csms_records.values()]
    for energy_wh in energies_wh:
        assert energy_wh is not None
        assert f"{energy_wh:,}" in text
    total_wh = sum((energy_wh or Decimal(0) for energy_wh in energies_wh), Decimal(0))
    assert f"{total_wh:,}" in text


def test_an_archived_journal_gives_the_same_answers(
    record_day: Callable[[int], RecordedDay], tmp_path: Path
) -> None:
    run, scenes, analyst = record_day(1)
    directory = tmp_path / "archived"
    shutil.copytree(run.final_journal.parent, directory)
    result = run_station("archive", directory, "--days", 1)
    assert result.exit_code == 0, result.stderr
    archived = Analyst(directory / "journal.db")
    assert archived.transcript == analyst.transcript
    assert list(find_wrong_answers(RecordedDay(run, scenes, archived))) == []
    tables = [
        run_station("export", journal, "transactions")
        for journal in (analyst.journal, archived.journal)
    ]
    assert tables[0] == tables[1]
