"""Does `station diff` tell what changed between two points, and only that?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from journal.observations import ClockStepped
from journal.state import State, encode_state, evolve
from station.history.differences import changes
from tests.commands.journals import Command, without, written
from tests.story import (
    JOURNAL_ID,
    LINK_LOST,
    ONLINE,
    Station,
    after,
    charging,
    given,
    plugged,
)


def state_at(story: Station, last: int) -> bytes:
    state = State(JOURNAL_ID)
    for entry in story.entries[:last]:
        state = evolve(state, entry)
    return encode_state(state)


def test_what_changed_is_told_by_path_and_in_order(
    station: Command, journal: Path, story: Station
) -> None:
    last = len(story.entries)
    told = station("diff", journal, "20", str(last))
    assert (told.code, told.err) == (0, "")
    assert told.lines == [str(one) for one in changes(state_at(story, 20), state_at(story, last))]
    assert "hardware.evses[1].contactor_closed: false -> true" in told.lines
    paths = [each.partition(": ")[0] for each in told.lines]
    assert len(set(paths)) == len(paths)
    assert station("diff", journal, "20", str(last)) == told


def test_the_other_way_round_it_is_told_the_other_way_round(
    station: Command, journal: Path
) -> None:
    told = station("diff", journal, "44", "20")
    back = station("diff", journal, "20", "44")
    assert told.code == back.code == 0
    turned = [f"{p}: {new} -> {old}" for p, old, new in map(_parts, told.lines)]
    assert turned == back.lines


def _parts(line: str) -> tuple[str, str, str]:
    path, _, what = line.partition(": ")
    old, _, new = what.partition(" -> ")
    return path, old, new


def test_0_is_before_everything(station: Command, journal: Path, story: Station) -> None:
    told = station("diff", journal, "0", "3")
    assert told.lines == [str(one) for one in changes(state_at(story, 0), state_at(story, 3))]
    assert 'lifecycle.identity: "" -> "CS001"' in told.lines


def test_nothing_changed_is_the_answer_no(station: Command, journal: Path) -> None:
    told = station("diff", journal, "20", "20")
    assert (told.code, told.out) == (1, "")
    assert told.err.count("\n") == 1
    assert "nothing changed" in told.err


def test_a_moment_is_the_last_entry_not_later(station: Command, tmp_path: Path) -> None:
    story = given(ONLINE, plugged(1))
    before = len(story.entries)
    story.when(after(seconds=30), charging(1), LINK_LOST)
    path = written(tmp_path / "journal.db", story.entries)
    told = station("diff", path, "2026-03-01T12:00:29Z", "2026-03-01T13:01+01:00")
    assert told == station("diff", path, str(before), str(len(story.entries)))
    assert "links.online: true -> false" in told.lines


def test_a_moment_that_was_twice_is_said_to_be(station: Command, tmp_path: Path) -> None:
    story = given(ONLINE, after(seconds=60), plugged(1))
    story.host_at -= timedelta(seconds=50)
    story.when(ClockStepped(-50_000), charging(1), after(seconds=60))
    path = written(tmp_path / "journal.db", story.entries)
    twice = station("diff", path, "1", "2026-03-01T12:00:30Z")
    assert (twice.code, twice.err.count("\n")) == (0, 1)
    assert twice.err.startswith("2026-03-01T12:00:30.000Z was passed more than once")
    for once in ("2026-03-01T12:00:05Z", "2026-03-01T12:01:05Z"):
        assert station("diff", path, "1", once).err == ""


@pytest.mark.parametrize("points", [["1", "9999"], ["2026-01-01T00:00Z", "5"]])
def test_a_point_that_is_not_there_is_one_line(
    station: Command, journal: Path, points: list[str]
) -> None:
    told = station("diff", journal, *points)
    assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("points", [["1"], ["1", "soon"], ["-1", "5"]])
def test_what_is_no_point_is_a_usage_error(
    station: Command, journal: Path, points: list[str]
) -> None:
    told = station("diff", journal, *points)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)


def test_no_state_follows_from_what_is_not_whole(station: Command, tmp_path: Path) -> None:
    story = given(ONLINE)
    path = tmp_path / "journal.db"
    without(written(path, story.entries), 9)
    told = station("diff", path, "3", "20")
    assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)
    assert "entry 9" in told.err
    assert station("diff", path, "3", "8").code == 0


def test_reading_changes_nothing(station: Command, journal: Path) -> None:
    before = journal.read_bytes()
    station("diff", journal, "3", "20")
    assert journal.read_bytes() == before
