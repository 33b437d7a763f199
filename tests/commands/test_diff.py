"""`station diff` prints what changed between two points, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from journal.observations import ClockStepped, LinkClosed, StorageReported
from journal.state import State, apply_entry, encode_state
from station.history.json_diff import diff_json
from station.transcript.phrases import escape_json_text
from tests.commands.fixtures_journals import StationCommand, delete_entry, write_journal
from tests.support.story import (
    JOURNAL_ID,
    LINK_LOST,
    ONLINE,
    Station,
    cable_plugged,
    called,
    charging_started,
    given,
    time_passed,
)


def state_at(story: Station, last: int) -> bytes:
    state = State(JOURNAL_ID)
    for entry in story.entries[:last]:
        state = apply_entry(state, entry)
    return encode_state(state)


def test_changes_are_listed_in_the_order_of_their_paths(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    last = len(story.entries)
    result = run_station("diff", journal, "20", str(last))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.lines == [
        str(change) for change in diff_json(state_at(story, 20), state_at(story, last))
    ]
    assert "evses.all_evses[1].contactor_closed: false -> true" in result.lines
    paths = [line.partition(": ")[0] for line in result.lines]
    assert len(set(paths)) == len(paths)
    assert run_station("diff", journal, "20", str(last)) == result


def test_a_change_is_one_line_without_control_characters(
    run_station: StationCommand, tmp_path: Path
) -> None:
    text = "a\x7f\x9b2K\u202eb"
    story = given(ONLINE, LinkClosed(text), StorageReported("full", 0))
    story.when(called("DataTransfer", vendorId="x", messageId=text))
    path = write_journal(tmp_path / "journal.db", story.entries)
    result = run_station("diff", path, "0", str(len(story.entries)))
    assert all(line.isprintable() for line in result.stdout.split("\n"))
    assert escape_json_text(f'{{\n"{text}"}}') == '{\n"a\\u007f\\u009b2K\\u202eb"}'


def test_swapped_points_swap_old_and_new(run_station: StationCommand, journal: Path) -> None:
    result = run_station("diff", journal, "44", "20")
    back = run_station("diff", journal, "20", "44")
    assert result.exit_code == back.exit_code == 0
    reversed_lines = [f"{p}: {new} -> {old}" for p, old, new in map(_split_change, result.lines)]
    assert reversed_lines == back.lines


def _split_change(line: str) -> tuple[str, str, str]:
    path, _, what = line.partition(": ")
    old, _, new = what.partition(" -> ")
    return path, old, new


def test_0_is_before_the_first_entry(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    result = run_station("diff", journal, "0", "3")
    assert result.lines == [
        str(change) for change in diff_json(state_at(story, 0), state_at(story, 3))
    ]
    assert 'lifecycle.identity: "" -> "CS001"' in result.lines


def test_no_change_is_exit_code_1(run_station: StationCommand, journal: Path) -> None:
    result = run_station("diff", journal, "20", "20")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "nothing changed" in result.stderr


def test_a_time_is_the_last_entry_not_later(run_station: StationCommand, tmp_path: Path) -> None:
    story = given(ONLINE, cable_plugged(1))
    before = len(story.entries)
    story.when(time_passed(seconds=30), charging_started(1), LINK_LOST)
    path = write_journal(tmp_path / "journal.db", story.entries)
    result = run_station("diff", path, "2026-03-01T12:00:29Z", "2026-03-01T13:01+01:00")
    assert result == run_station("diff", path, str(before), str(len(story.entries)))
    assert "link.online: true -> false" in result.lines


def test_an_ambiguous_time_is_reported(run_station: StationCommand, tmp_path: Path) -> None:
    story = given(ONLINE, time_passed(seconds=60), cable_plugged(1))
    story.host_at -= timedelta(seconds=50)
    story.when(ClockStepped(-50_000), charging_started(1), time_passed(seconds=60))
    path = write_journal(tmp_path / "journal.db", story.entries)
    twice = run_station("diff", path, "1", "2026-03-01T12:00:30Z")
    assert (twice.exit_code, twice.stderr.count("\n")) == (0, 1)
    assert twice.stderr.startswith("2026-03-01T12:00:30.000Z occurred more than once")
    for once in ("2026-03-01T12:00:05Z", "2026-03-01T12:01:05Z"):
        assert run_station("diff", path, "1", once).stderr == ""


@pytest.mark.parametrize("points", [["1", "9999"], ["2026-01-01T00:00Z", "5"]])
def test_a_point_outside_the_journal_is_one_line(
    run_station: StationCommand, journal: Path, points: list[str]
) -> None:
    result = run_station("diff", journal, *points)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("points", [["1"], ["1", "soon"], ["-1", "5"]])
def test_an_invalid_point_is_a_usage_error(
    run_station: StationCommand, journal: Path, points: list[str]
) -> None:
    result = run_station("diff", journal, *points)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_a_damaged_journal_has_no_state(run_station: StationCommand, tmp_path: Path) -> None:
    story = given(ONLINE)
    path = tmp_path / "journal.db"
    delete_entry(write_journal(path, story.entries), 9)
    result = run_station("diff", path, "3", "20")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "entry 9" in result.stderr
    assert run_station("diff", path, "3", "8").exit_code == 0


def test_reading_changes_nothing(run_station: StationCommand, journal: Path) -> None:
    before = journal.read_bytes()
    run_station("diff", journal, "3", "20")
    assert journal.read_bytes() == before
