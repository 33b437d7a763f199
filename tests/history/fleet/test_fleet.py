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

from journal.state import state_digest
from station.messages import parse_timestamp
from station.simulation.plans import OFTEN, planned
from station.simulation.storm import Happening, Plan
from tests.history.fleet.answers import Day, wrong
from tests.history.fleet.asking import Analyst, ask
from tests.history.fleet.film import filmed, moment
from tests.history.fleet.scenes import DIRECTORS, SCENES, days
from tests.history.fleet.stage import About
from tests.history.fleet.storms import Storm

SEED: Final = 20
DAYS: Final = -(-len(DIRECTORS) // SCENES)  # so that every scene is played
SOME: Final = range(4)  # of the days, for what is asked of any journal
STORMS: Final = (
    3,
    4,
    23,
    40,
    59,
)  # seeds: samples, lives, a full disk, parked messages, early starts


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Day]:
    """The days of a fleet, each made when it is first asked for."""
    plans = list(days(SEED, DAYS))
    made: dict[int, Day] = {}

    def one(number: int) -> Day:
        if number not in made:
            plan, scenes = plans[number]
            film = filmed(plan, tmp_path_factory.mktemp("day"))
            made[number] = Day(film, scenes, Analyst(film.final))
        return made[number]

    return one


# --- Why? ----------------------------------------------------------------------------------------


def test_every_scene_has_its_day() -> None:
    played = {scene.name for _, scenes in days(SEED, DAYS) for scene in scenes}
    assert played == set(DIRECTORS)
    asked = {one.about for _, scenes in days(SEED, DAYS)
             for scene in scenes for one in scene.questions}  # fmt: skip
    assert asked == set(get_args(About))


@pytest.mark.parametrize("number", range(DAYS))
def test_why_answers_what_the_day_knows(day: Callable[[int], Day], number: int) -> None:
    assert list(wrong(day(number))) == []


@pytest.mark.parametrize("seed", STORMS)
def test_nothing_is_answered_that_was_not_so(seed: int, tmp_path: Path) -> None:
    film = filmed(planned(seed), tmp_path)
    storm = Storm(film, Analyst(film.final))
    assert list(storm.wrong()) == []
    assert storm.asked
    assert ask("verify", film.final, "--redecide").code == 0
    told = ask("to-test", film.final, "--from", max(1, film.witness.seq - 1_000))
    assert "with this release the test passes." in told.err


# --- What happened, how did things stand, and is it whole? ---------------------------------------


@pytest.mark.parametrize("number", SOME)
def test_replay_tells_all_of_it_and_how_it_ended(day: Callable[[int], Day], number: int) -> None:
    film, _, analyst = day(number)
    witness = film.witness
    assert [line.seq for line in analyst.transcript] == list(range(1, witness.seq + 1))
    assert witness.state is not None
    told = ask("replay", film.final, "--state")
    assert f'"state_digest":"{state_digest(witness.state)}"' in told.out


@pytest.mark.parametrize("number", SOME)
def test_it_is_whole_and_would_be_decided_so_again(day: Callable[[int], Day], number: int) -> None:
    film = day(number).film
    told = ask("verify", film.final, "--redecide")
    assert (told.code, told.err) == (0, "")
    assert f"whole. {film.witness.seq} entries" in told.out


def test_diff_tells_what_a_scene_changed(day: Callable[[int], Day]) -> None:
    film, scene = next(
        (day(number).film, scene)
        for number in range(DAYS)
        for scene in day(number).scenes
        if scene.name == "all_out_of_service"
    )
    begins_s = scene.happenings[0].at_s
    before, closed = (moment(begins_s + more).isoformat() for more in (-1, 30))
    told = ask("diff", film.final, before, closed)
    assert told.code == 0, told.err
    assert any(line.startswith("availability.inoperative") for line in told.lines)
    assert any(line.endswith('"Available" -> "Unavailable"') for line in told.lines)


# --- What was delivered, and what not yet? -------------------------------------------------------


@pytest.mark.parametrize("number", SOME)
def test_the_export_is_what_the_csms_was_told(day: Callable[[int], Day], number: int) -> None:
    film, _, analyst = day(number)
    assert list(Storm(film, analyst).totals()) == []


def test_the_outbox_is_what_the_csms_has_not(tmp_path: Path) -> None:
    session = {"evse_id": 1, "who": "04A224B2", "stays_s": 200.0, "power_w": 60_000}
    plan = Plan(
        11,
        {OFTEN: "5"},
        (
            Happening(5, "session", session),
            Happening(60, "network", {"mode": "down", "seconds": 600}),
            Happening(150, "rest", {}),
        ),
    )
    film = filmed(plan, tmp_path)
    told = ask("outbox", film.journal, "list")
    listed = re.findall(r"TransactionEvent  (\S+) seqNo (\d+) ", told.out)
    due = [
        (name, str(seq_no))
        for name, account in film.ledger.items()
        for seq_no, event in account.events.items()
        if seq_no not in film.taken_by_then.get(name, ())
        and parse_timestamp(event.timestamp) < moment(150) - timedelta(milliseconds=1)
    ]
    assert len(due) > 10
    assert listed == due
    after = ask("outbox", film.final, "list")
    assert (after.code, after.out) == (1, "")
    assert "the CSMS confirmed everything" in after.err


# --- For the reader, and for ten years -----------------------------------------------------------


def test_the_report_has_every_session_with_its_energy(
    day: Callable[[int], Day], tmp_path: Path
) -> None:
    film = day(0).film
    page = tmp_path / "report.html"
    told = ask("report", film.final, "--out", page)
    assert told.code == 0, told.err
    text = page.read_text()
    for account in film.ledger.values():
        assert account.energy_wh is not None
        assert f"{account.energy_wh:,}" in text, account.transaction_id
    total = sum((one.energy_wh or Decimal(0) for one in film.ledger.values()), Decimal(0))
    assert f"{total:,}" in text


def test_an_archived_journal_answers_the_same(day: Callable[[int], Day], tmp_path: Path) -> None:
    film, scenes, analyst = day(1)
    place = tmp_path / "archived"
    shutil.copytree(film.final.parent, place)
    told = ask("archive", place, "--days", 1)
    assert told.code == 0, told.err
    archived = Analyst(place / "journal.db")
    assert archived.transcript == analyst.transcript
    assert list(wrong(Day(film, scenes, archived))) == []
    tables = [ask("export", one.journal, "transactions") for one in (analyst, archived)]
    assert tables[0] == tables[1]
