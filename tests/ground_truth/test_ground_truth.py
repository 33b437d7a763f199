"""Do the commands answer, from a journal alone, what those who were there know to be true?"""

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
from tests.ground_truth.answers import PlayedDay, find_wrong_answers
from tests.ground_truth.asking import Analyst, run_station
from tests.ground_truth.film import record_run, time_at
from tests.ground_truth.scenes import SCENE_BUILDERS, SCENES_PER_DAY, plan_days
from tests.ground_truth.stage import QuestionKind
from tests.ground_truth.storms import StormCheck

SEED: Final = 20
DAYS: Final = -(-len(SCENE_BUILDERS) // SCENES_PER_DAY)  # so that every scene is played
SAMPLED_DAYS: Final = range(4)  # of the days, for what is asked of any journal
STORMS: Final = (
    3,
    4,
    23,
    40,
    59,
)  # seeds: samples, lives, a full disk, parked messages, early starts


@pytest.fixture(scope="module")
def play_day(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], PlayedDay]:
    """The days of a fleet, each made when it is first asked for."""
    plans = list(plan_days(SEED, DAYS))
    made: dict[int, PlayedDay] = {}

    def one(number: int) -> PlayedDay:
        if number not in made:
            plan, scenes = plans[number]
            film = record_run(plan, tmp_path_factory.mktemp("day"))
            made[number] = PlayedDay(film, scenes, Analyst(film.final_journal))
        return made[number]

    return one


# --- Why? ----------------------------------------------------------------------------------------


def test_every_scene_has_its_day() -> None:
    played = {scene.name for _, scenes in plan_days(SEED, DAYS) for scene in scenes}
    assert played == set(SCENE_BUILDERS)
    asked = {one.kind for _, scenes in plan_days(SEED, DAYS)
             for scene in scenes for one in scene.questions}  # fmt: skip
    assert asked == set(get_args(QuestionKind))


@pytest.mark.parametrize("number", range(DAYS))
def test_why_answers_what_the_day_knows(play_day: Callable[[int], PlayedDay], number: int) -> None:
    assert list(find_wrong_answers(play_day(number))) == []


@pytest.mark.parametrize("seed", STORMS)
def test_nothing_is_answered_that_was_not_so(seed: int, tmp_path: Path) -> None:
    film = record_run(make_plan(seed), tmp_path)
    storm = StormCheck(film, Analyst(film.final_journal))
    assert list(storm.find_wrong_answers()) == []
    assert storm.question_count
    assert run_station("verify", film.final_journal, "--redecide").exit_code == 0
    told = run_station("to-test", film.final_journal, "--from", max(1, film.checker.seq - 1_000))
    assert "with this release the test passes." in told.stderr


# --- What happened, how did things stand, and is it whole? ---------------------------------------


@pytest.mark.parametrize("number", SAMPLED_DAYS)
def test_replay_tells_all_of_it_and_how_it_ended(
    play_day: Callable[[int], PlayedDay], number: int
) -> None:
    film, _, analyst = play_day(number)
    witness = film.checker
    assert [line.seq for line in analyst.transcript] == list(range(1, witness.seq + 1))
    assert witness.state is not None
    told = run_station("replay", film.final_journal, "--state")
    assert f'"state_digest":"{digest_state(witness.state)}"' in told.stdout


@pytest.mark.parametrize("number", SAMPLED_DAYS)
def test_it_is_whole_and_would_be_decided_so_again(
    play_day: Callable[[int], PlayedDay], number: int
) -> None:
    film = play_day(number).film
    told = run_station("verify", film.final_journal, "--redecide")
    assert (told.exit_code, told.stderr) == (0, "")
    assert f"intact. {film.checker.seq} entries" in told.stdout


def test_diff_tells_what_a_scene_changed(play_day: Callable[[int], PlayedDay]) -> None:
    film, scene = next(
        (play_day(number).film, scene)
        for number in range(DAYS)
        for scene in play_day(number).scenes
        if scene.name == "all_out_of_service"
    )
    begins_s = scene.events[0].at_s
    before, closed = (time_at(begins_s + more).isoformat() for more in (-1, 30))
    told = run_station("diff", film.final_journal, before, closed)
    assert told.exit_code == 0, told.stderr
    assert any(line.startswith("availability.inoperative") for line in told.lines)
    assert any(line.endswith('"Available" -> "Unavailable"') for line in told.lines)


# --- What was delivered, and what not yet? -------------------------------------------------------


@pytest.mark.parametrize("number", SAMPLED_DAYS)
def test_the_export_is_what_the_csms_was_told(
    play_day: Callable[[int], PlayedDay], number: int
) -> None:
    film, _, analyst = play_day(number)
    assert list(StormCheck(film, analyst).check_totals()) == []


def test_the_outbox_is_what_the_csms_has_not(tmp_path: Path) -> None:
    session = {"evse_id": 1, "id_token": "04A224B2", "stays_s": 200.0, "power_w": 60_000}
    plan = Plan(
        11,
        {SAMPLE_INTERVAL: "5"},
        (
            ScheduledEvent(5, "start_session", session),
            ScheduledEvent(60, "switch_network", {"mode": "down", "seconds": 600}),
            ScheduledEvent(150, "rest", {}),
        ),
    )
    film = record_run(plan, tmp_path)
    told = run_station("outbox", film.journal, "list")
    listed = re.findall(r"TransactionEvent  (\S+) seqNo (\d+) ", told.stdout)
    due = [
        (name, str(seq_no))
        for name, account in film.csms_accounts.items()
        for seq_no, event in account.events.items()
        if seq_no not in film.delivered_seq_nos.get(name, ())
        and parse_timestamp(event.timestamp) < time_at(150) - timedelta(milliseconds=1)
    ]
    assert len(due) > 10
    assert listed == due
    after = run_station("outbox", film.final_journal, "list")
    assert (after.exit_code, after.stdout) == (1, "")
    assert "the CSMS confirmed all of them" in after.stderr


# --- For the reader, and for ten years -----------------------------------------------------------


def test_the_report_has_every_session_with_its_energy(
    play_day: Callable[[int], PlayedDay], tmp_path: Path
) -> None:
    film = play_day(0).film
    page = tmp_path / "report.html"
    told = run_station("report", film.final_journal, "--out", page)
    assert told.exit_code == 0, told.stderr
    text = page.read_text()
    for account in film.csms_accounts.values():
        assert account.energy_wh is not None
        assert f"{account.energy_wh:,}" in text, account.transaction_id
    total = sum((one.energy_wh or Decimal(0) for one in film.csms_accounts.values()), Decimal(0))
    assert f"{total:,}" in text


def test_an_archived_journal_answers_the_same(
    play_day: Callable[[int], PlayedDay], tmp_path: Path
) -> None:
    film, scenes, analyst = play_day(1)
    place = tmp_path / "archived"
    shutil.copytree(film.final_journal.parent, place)
    told = run_station("archive", place, "--days", 1)
    assert told.exit_code == 0, told.stderr
    archived = Analyst(place / "journal.db")
    assert archived.transcript == analyst.transcript
    assert list(find_wrong_answers(PlayedDay(film, scenes, archived))) == []
    tables = [run_station("export", one.journal, "transactions") for one in (analyst, archived)]
    assert tables[0] == tables[1]
