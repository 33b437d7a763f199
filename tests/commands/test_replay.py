"""`station replay` prints the entries of a journal, or the state at a point."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from journal.events import Entry
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted
from journal.state import State, apply_entry, decode_state, encode_state
from journal.storage.reader import Reader
from station.commands import replay
from station.runtime.loop.startup import event_registry
from station.transcript.lines import format_entry
from tests.commands.fixtures_journals import (
    CommandResult,
    StationCommand,
    open_writable,
    start_command,
    write_journal,
)
from tests.support.story import (
    ALICE,
    BOB,
    JOURNAL_ID,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    cable_plugged,
    cable_unplugged,
    called,
    given,
    in_transaction,
    presented,
    time_passed,
)


def transcript_body(lines: list[str]) -> list[str]:
    """The transcript without the dates."""
    return [line for line in lines if line[2] == ":"]


def state_at(entries: list[Entry], last: int) -> State:
    state = State(JOURNAL_ID)
    for entry in entries[:last]:
        state = apply_entry(state, entry)
    return state


def test_each_entry_is_a_line(run_station: StationCommand, journal: Path, story: Station) -> None:
    result = run_station("replay", journal)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.lines[0] == "2026-03-01 UTC"
    assert transcript_body(result.lines) == [format_entry(entry) for entry in story.entries]
    assert "\x1b" not in result.stdout


def test_a_data_directory_names_its_journal(run_station: StationCommand, journal: Path) -> None:
    assert run_station("replay", journal.parent) == run_station("replay", journal)


def test_to_a_number_ends_with_that_entry(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    result = run_station("replay", journal, "--to", "7")
    assert transcript_body(result.lines) == [format_entry(entry) for entry in story.entries[:7]]


@pytest.mark.parametrize("text", ["2026-03-01T12:00:10Z", "2026-03-01T13:00:10+01:00"])
def test_to_a_time_ends_at_it(
    run_station: StationCommand, tmp_path: Path, story: Station, text: str
) -> None:
    before = len(story.entries)
    story.when(time_passed(seconds=30))
    journal = write_journal(tmp_path / "later.db", story.entries)
    assert len(story.entries) > before
    result = run_station("replay", journal, "--to", text)
    assert len(transcript_body(result.lines)) == before


@pytest.mark.parametrize(
    ("point", "code", "message"),
    [
        ("9999", 1, "no entry 9999; the journal has entries 1 to"),
        ("0", 1, "no entry 0"),
        ("1999-01-01", 1, "no entry up to 1999-01-01T00:00:00.000Z"),
        ("yesterday", 2, "'yesterday' is neither an entry number nor a time"),
    ],
)
def test_an_unknown_point_is_one_line(
    run_station: StationCommand, journal: Path, point: str, code: int, message: str
) -> None:
    result = run_station("replay", journal, "--to", point)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_state_is_one_canonical_document(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    last = len(story.entries)
    for seq in (1, last // 2, last):
        result = run_station("replay", journal, "--to", str(seq), "--state")
        assert result.exit_code == 0
        document = json.loads(result.stdout)
        encoded = encode_state(state_at(story.entries, seq))
        with Reader.open(journal, event_registry()) as reader:
            digest = reader.digest_at(seq)
        assert digest is not None
        assert list(document) == ["seq", "digest", "state_digest", "state"]
        assert (document["seq"], document["digest"]) == (seq, digest.hex())
        assert document["state_digest"] == hashlib.sha256(encoded).hexdigest()
        raw = msgspec.json.decode(result.stdout, type=dict[str, msgspec.Raw])["state"]
        assert bytes(raw) == encoded
        assert decode_state(bytes(raw)) == state_at(story.entries, seq)


def test_without_a_point_the_state_is_the_last(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    document = json.loads(run_station("replay", journal, "--state").stdout)
    assert document["seq"] == len(story.entries)


def test_values_are_shown_only_with_the_option(run_station: StationCommand, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        token = store.reference_for("ISO14443", "04A224B2")
        store.append(given(ONLINE, presented(token)).entries)
    references, values = run_station("replay", path), run_station("replay", path, "--values")
    assert token.ref in references.stdout
    assert "04A224B2" not in references.stdout
    assert "ISO14443/04A224B2" in values.stdout


def test_options_that_exclude_each_other_are_a_usage_error(
    run_station: StationCommand, journal: Path
) -> None:
    assert run_station("replay", journal, "--follow", "--state").exit_code == 2
    assert run_station("replay", journal, "--follow", "--to", "3").exit_code == 2
    assert run_station("replay", journal, "--state", "--values").exit_code == 2


def test_no_journal_is_a_usage_error(run_station: StationCommand, tmp_path: Path) -> None:
    for path in (tmp_path / "none.db", tmp_path):
        result = run_station("replay", path)
        assert result.exit_code == 2
        assert "no such file" in result.stderr


def test_another_file_is_one_line(run_station: StationCommand, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"something else, and long enough to be read as a page" * 100)
    result = run_station("replay", path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


def test_an_empty_journal_is_exit_code_1(run_station: StationCommand, tmp_path: Path) -> None:
    result = run_station("replay", write_journal(tmp_path / "journal.db", []))
    assert result.exit_code == 1
    assert "no entries yet" in result.stderr


@pytest.fixture
def damaged_journal(journal: Path) -> Path:
    """A journal with an unreadable entry 5 and without 8 and 9."""
    with sqlite3.connect(journal) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE entry SET body = '{' WHERE seq = 5")
        db.execute("DELETE FROM entry WHERE seq IN (8, 9)")
    db.close()
    return journal


def test_damage_is_reported_in_its_place_and_the_rest_is_printed(
    run_station: StationCommand, damaged_journal: Path, story: Station
) -> None:
    result = run_station("replay", damaged_journal)
    assert result.exit_code == 1
    assert "station verify" in result.stderr
    assert len(transcript_body(result.lines)) == len(story.entries) - 3
    marks = [line.split()[:4] for line in result.lines if " ! " in line]
    assert [mark[0] for mark in marks] == ["5", "8"]
    assert "8 ! missing up to 9" in result.stdout


def test_after_damage_there_is_no_state(run_station: StationCommand, damaged_journal: Path) -> None:
    result = run_station("replay", damaged_journal, "--state")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "entry 5" in result.stderr
    assert run_station("replay", damaged_journal, "--state", "--to", "4").exit_code == 0


def test_an_impossible_history_is_no_traceback(run_station: StationCommand, journal: Path) -> None:
    with sqlite3.connect(journal) as db:
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute(
            "UPDATE entry SET kind = 'CallQueued', version = 1, body = "
            """'{"lane":"transaction","action":"TransactionEvent","payload":{}}' WHERE seq = 6"""
        )
    db.close()
    result = run_station("replay", journal, "--state")
    assert (result.exit_code, result.stderr) == (0, "")  # the station itself would continue too
    [failure, *_] = json.loads(result.stdout)["state"]["health"]["projection_failures"]
    assert failure["seq"] == 6


def test_a_copy_needs_only_its_wal(
    run_station: StationCommand, tmp_path: Path, story: Station
) -> None:
    live = tmp_path / "live.db"
    with open_writable(live) as store:
        store.append(story.entries)
        copy = tmp_path / "copy" / "journal.db"
        copy.parent.mkdir()
        shutil.copy(live, copy)
        shutil.copy(f"{live}-wal", f"{copy}-wal")
    result = run_station("replay", copy)
    assert len(transcript_body(result.lines)) == len(story.entries)


def test_reading_changes_nothing(run_station: StationCommand, journal: Path) -> None:
    before = journal.read_bytes()
    run_station("replay", journal)
    run_station("replay", journal, "--state")
    assert journal.read_bytes() == before


def test_follow_prints_new_entries_and_ends_with_ctrl_c(tmp_path: Path, story: Station) -> None:
    path = tmp_path / "journal.db"
    written_before = len(story.entries)
    with ExitStack() as stack:
        store = stack.enter_context(open_writable(path))
        store.append(story.entries)
        follow = stack.enter_context(start_command("replay", path, "--follow"))
        assert follow.stdout is not None
        lines = [follow.stdout.readline() for _ in range(written_before + 1)]
        story.when(LINK_LOST)
        store.append(story.entries[written_before:])
        lines += [follow.stdout.readline() for _ in story.entries[written_before:]]
        os.kill(follow.pid, signal.SIGINT)
        _, errors = follow.communicate(timeout=10)
    assert lines[-1].rstrip() == format_entry(story.entries[-1])
    assert (follow.returncode, errors) == (0, "")


def test_follow_may_begin_in_the_future(
    run_station: StationCommand, tmp_path: Path, story: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    coming: list[Entry] = []

    def waits(_: float) -> None:
        if not coming:
            raise KeyboardInterrupt
        store.append(coming)
        coming.clear()

    monkeypatch.setattr(replay, "time", SimpleNamespace(sleep=waits))
    with open_writable(path) as store:
        store.append(story.entries)
        count = len(story.entries)
        now = (story.entries[-1].at + timedelta(seconds=1)).isoformat()
        assert run_station("replay", path, "--from", now).exit_code == 1
        story.when(time_passed(seconds=2), LINK_LOST)
        coming += story.entries[count:]
        result = run_station("replay", path, "--follow", "--from", now)
    assert (result.exit_code, result.stderr) == (0, "")
    assert transcript_body(result.lines) == [format_entry(entry) for entry in story.entries[count:]]


# --- Filters -------------------------------------------------------------------------------------


@pytest.fixture
def busy_journal(tmp_path: Path) -> tuple[Path, list[Entry]]:
    """Two transactions at once, a CALL of the CSMS, and a lost link."""
    station = given(
        ONLINE,
        in_transaction(1, ALICE),
        in_transaction(2, BOB),
        called("UnlockConnector", evseId=2, connectorId=1),
        LINK_LOST,
        time_passed(seconds=30),
    )
    return write_journal(tmp_path / "journal.db", station.entries), station.entries


def transcript_seqs(result: CommandResult) -> list[int]:
    return [int(line[12:20]) for line in transcript_body(result.lines)]


def transaction_id_on(evse_id: int, entries: list[Entry]) -> str:
    [found] = [
        entry.event.transaction_id
        for entry in entries
        if isinstance(entry.event, TransactionStarted) and entry.event.evse_id == evse_id
    ]
    return found


def test_from_a_number_begins_with_it(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    result = run_station("replay", journal, "--from", "7", "--to", "9")
    assert transcript_body(result.lines) == [format_entry(entry) for entry in story.entries[6:9]]


@pytest.mark.parametrize(("text", "before"), [("12:00:30Z", 0), ("13:00:30.0004+01:00", 1)])
def test_from_a_time_begins_with_the_first_entry_not_earlier(
    run_station: StationCommand, busy_journal: tuple[Path, list[Entry]], text: str, before: int
) -> None:
    path, entries = busy_journal
    last = [entry.seq for entry in entries if entry.at == entries[-1].at]
    later = Entry(len(entries) + 1, entries[-1].at + timedelta(seconds=1), 99_000, LINK_OPENED)
    with open_writable(path) as store:
        store.append([later])
    result = run_station("replay", path, "--from", f"2026-03-01T{text}")
    assert transcript_seqs(result) == [*(last if not before else []), later.seq]


@pytest.mark.parametrize("verb", ["replay", "to-test"])
def test_a_time_without_entries_is_exit_code_1(
    run_station: StationCommand, tmp_path: Path, story: Station, verb: str
) -> None:
    story.when(time_passed(seconds=60), LINK_LOST)
    journal = write_journal(tmp_path / "later.db", story.entries)
    quiet = next(
        entry.at + timedelta(milliseconds=1)
        for entry, following in pairwise(story.entries)
        if following.at - entry.at > timedelta(milliseconds=2)
    )
    later = quiet + timedelta(milliseconds=1)
    result = run_station(verb, journal, "--from", quiet.isoformat(), "--to", later.isoformat())
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "no entry in that time" in result.stderr
    reversed_range = run_station(
        verb, journal, "--from", later.isoformat(), "--to", quiet.isoformat()
    )
    assert (reversed_range.exit_code, reversed_range.stdout, reversed_range.stderr.count("\n")) == (
        2,
        "",
        1,
    )


def test_the_kinds_are_listed_without_a_journal(run_station: StationCommand) -> None:
    result = run_station("replay", "--kinds")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split()[0] for line in result.lines] == sorted(event_registry().kinds)
    assert all(len(line.split()) > 2 for line in result.lines), "each has a meaning"


def test_only_the_given_kinds_are_printed(
    run_station: StationCommand, busy_journal: tuple[Path, list[Entry]]
) -> None:
    path, entries = busy_journal
    result = run_station("replay", path, "--kind", "CallQueued", "--kind", "transactionstarted")
    matching = [
        entry for entry in entries if isinstance(entry.event, CallQueued | TransactionStarted)
    ]
    assert transcript_body(result.lines) == [format_entry(entry) for entry in matching]


def test_only_the_given_evse_is_printed(
    run_station: StationCommand, busy_journal: tuple[Path, list[Entry]]
) -> None:
    path, entries = busy_journal
    first, second = (run_station("replay", path, "--evse", str(evse_id)) for evse_id in (1, 2))
    names = [transaction_id_on(evse_id, entries)[:8] for evse_id in (1, 2)]
    assert names[0] in first.stdout
    assert names[1] not in first.stdout
    assert names[1] in second.stdout
    assert names[0] not in second.stdout
    both = run_station("replay", path, "--evse", "1", "--evse", "2")
    assert transcript_seqs(both) == sorted({*transcript_seqs(first), *transcript_seqs(second)})


def test_a_transaction_is_given_by_a_prefix_of_its_id(
    run_station: StationCommand, busy_journal: tuple[Path, list[Entry]]
) -> None:
    path, entries = busy_journal
    name = transaction_id_on(2, entries)
    result = run_station("replay", path, "--transaction", name)
    assert result.stdout
    assert run_station("replay", path, "--transaction", name[:6].upper()) == result
    assert set(transcript_seqs(result)) < set(
        transcript_seqs(run_station("replay", path, "--evse", "2"))
    )


def test_a_block_includes_what_followed_from_its_messages(
    run_station: StationCommand, busy_journal: tuple[Path, list[Entry]]
) -> None:
    path, _ = busy_journal
    result = run_station("replay", path, "--block", "f")
    what = [" ".join(line.split()[2:5]) for line in transcript_body(result.lines)]
    assert what == ["> CSMS requests", "station answers UnlockConnector", "> link wrote"]


def test_filters_combine_with_each_other_and_with_from(
    run_station: StationCommand, busy_journal: tuple[Path, list[Entry]]
) -> None:
    path, _ = busy_journal
    alone = [
        run_station("replay", path, *filters) for filters in (["--evse", "2"], ["--block", "E"])
    ]
    both = set.intersection(*(set(transcript_seqs(filters)) for filters in alone))
    middle = sorted(both)[len(both) // 2]
    result = run_station("replay", path, "--evse", "2", "--block", "E", "--from", str(middle))
    assert transcript_seqs(result) == sorted(seq for seq in both if seq >= middle)
    assert len(transcript_seqs(result)) > 2


def test_follow_applies_the_filters(
    run_station: StationCommand, tmp_path: Path, story: Station
) -> None:
    path = tmp_path / "journal.db"
    with ExitStack() as stack:
        store = stack.enter_context(open_writable(path))
        store.append(story.entries)
        follow = stack.enter_context(start_command("replay", path, "--follow", "--evse", "1"))
        count = len(story.entries)
        before = transcript_body(run_station("replay", path, "--evse", "1").lines)
        assert follow.stdout is not None
        lines = [follow.stdout.readline() for _ in range(len(before) + 1)]
        story.when(cable_plugged(2), cable_unplugged(1))
        store.append(story.entries[count:])
        lines.append(follow.stdout.readline())
        os.kill(follow.pid, signal.SIGINT)
        follow.communicate(timeout=10)
    assert [line.rstrip() for line in lines[1:-1]] == before
    assert "EVSE 1 connector 1" in lines[-1]


def test_values_are_shown_in_what_is_filtered(run_station: StationCommand, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        event = presented(store.reference_for("ISO14443", "04A224B2C81190"), evse_id=1)
        store.append(given(ONLINE, event).entries)
    result = run_station("replay", path, "--kind", "IdTokenPresented", "--values")
    assert "04A224B2C81190" in result.stdout
    assert len(result.lines) == 2


def test_no_matching_entry_is_exit_code_1(run_station: StationCommand, journal: Path) -> None:
    result = run_station("replay", journal, "--evse", "2", "--kind", "TransactionStarted")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "filters",
    [
        ["--kind", "CallQueud"],
        ["--block", "Q"],
        ["--block", "EF"],
        ["--transaction", ""],
        ["--evse", "0"],
        ["--state", "--evse", "1"],
        ["--state", "--from", "3"],
        ["--from", "soon"],
        ["--from", "9", "--to", "7"],
    ],
)
def test_an_invalid_filter_is_a_usage_error(
    run_station: StationCommand, journal: Path, filters: list[str]
) -> None:
    result = run_station("replay", journal, *filters)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_a_misspelled_kind_gets_a_suggestion(run_station: StationCommand, journal: Path) -> None:
    assert (
        "Did you mean CallQueued?" in run_station("replay", journal, "--kind", "CallQueud").stderr
    )


def test_damage_is_reported_whatever_the_filter(
    run_station: StationCommand, damaged_journal: Path
) -> None:
    result = run_station("replay", damaged_journal, "--evse", "1")
    assert result.exit_code == 1
    numbers = [int(line[12:20]) for line in result.lines if line[12:20].strip().isdigit()]
    assert numbers == sorted(numbers)
    assert any(" ! " in line for line in result.lines)


# --- On a terminal -------------------------------------------------------------------------------


def on_a_terminal(path: Path, **environment: str) -> str:
    """What `station replay` shows on a terminal of 80 columns."""
    terminal, process_end = pty.openpty()
    output = b""
    with subprocess.Popen(
        [sys.executable, "-m", "station", "replay", path],
        stdout=process_end,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
    ):
        os.close(process_end)
        while part := _read_terminal(terminal):
            output += part
    os.close(terminal)
    return output.decode().replace("\r\n", "\n")


def _read_terminal(terminal: int) -> bytes:
    """The next output; empty after the other end is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_a_terminal_gets_colors_and_the_same_text(tmp_path: Path, story: Station) -> None:
    story.when(called("DataTransfer", vendorId=":100: [red]:"))
    path = write_journal(tmp_path / "journal.db", story.entries)
    output = on_a_terminal(path)
    assert "\x1b[" in output
    words = re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines()
    assert transcript_body(words) == [format_entry(entry) for entry in story.entries]
    assert ":100: [red]:" in output


def test_no_color_is_respected(journal: Path) -> None:
    assert "\x1b[3" not in on_a_terminal(journal, NO_COLOR="1")
