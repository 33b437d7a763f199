"""`station verify` accepts an intact journal and no other."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from journal.storage.reader import Reader
from station.runtime.loop.startup import event_registry
from tests.commands.fixtures_journals import StationCommand, open_writable, write_journal
from tests.support.story import Station


def head_of(path: Path, seq: int | None = None) -> str:
    """SEQ:DIGEST of an entry, by default the last one."""
    with Reader.open(path, event_registry()) as reader:
        at = seq or reader.read_head().seq
        digest = reader.digest_at(at)
        assert digest is not None
        return f"{at}:{digest.hex()}"


def test_a_whole_journal_gives_its_head(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    verified = run_station("verify", journal)
    assert (verified.exit_code, verified.stderr) == (0, "")
    assert verified.stdout == (
        f"{journal}: intact. {len(story.entries)} entries, the last is {head_of(journal)}\n"
    )


def test_the_printed_head_is_accepted_by_head(run_station: StationCommand, journal: Path) -> None:
    output = run_station("verify", journal).stdout.split()[-1]
    assert run_station("verify", journal, "--head", output).exit_code == 0
    assert run_station("verify", journal.parent, "--head", output.upper()).exit_code == 0


def test_a_live_journal_and_a_copy_of_it(
    run_station: StationCommand, tmp_path: Path, story: Station
) -> None:
    live, copy = tmp_path / "live.db", tmp_path / "copy.db"
    with open_writable(live) as store:
        store.append(story.entries)
        assert run_station("verify", live).exit_code == 0
        shutil.copy(live, copy)
        shutil.copy(f"{live}-wal", f"{copy}-wal")
    assert run_station("verify", copy).exit_code == 0


def test_a_changed_entry_is_one_line_that_names_it(
    run_station: StationCommand, journal: Path
) -> None:
    with sqlite3.connect(journal) as db:
        sql = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_not_updated'")
        [(trigger,)] = sql.fetchall()
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute("UPDATE entry SET uptime_ms = uptime_ms + 1 WHERE seq = 7")
        db.execute(trigger)
    db.close()
    verified = run_station("verify", journal)
    assert (verified.exit_code, verified.stdout) == (1, "")
    assert verified.stderr.startswith("entry 7: ")
    assert verified.stderr.count("\n") == 1


def test_a_cut_tail_shows_against_a_head_seen_outside(
    run_station: StationCommand, tmp_path: Path, story: Station
) -> None:
    whole = write_journal(tmp_path / "whole.db", story.entries)
    cut = write_journal(tmp_path / "cut.db", story.entries[:-3])
    witness = head_of(whole)
    assert run_station("verify", cut).exit_code == 0
    verified = run_station("verify", cut, "--head", witness)
    assert verified.exit_code == 1
    assert verified.stderr.startswith(f"entry {len(story.entries) - 2}: missing")


def test_a_head_that_differs_from_the_witness(run_station: StationCommand, journal: Path) -> None:
    seq, _, digest = head_of(journal).partition(":")
    other = f"{seq}:{digest[:-1]}{'0' if digest[-1] != '0' else '1'}"
    verified = run_station("verify", journal, "--head", other)
    assert verified.exit_code == 1
    assert f"entry {seq}" in verified.stderr


@pytest.mark.parametrize("text", ["", "7", "7:abc", "x:" + "0" * 64])
def test_a_head_of_another_form_is_a_usage_error(
    run_station: StationCommand, journal: Path, text: str
) -> None:
    verified = run_station("verify", journal, "--head", text)
    assert verified.exit_code == 2
    assert "SEQ:DIGEST" in verified.stderr
    assert verified.stderr.count("\n") == 1


def test_no_file_is_a_usage_error(run_station: StationCommand, tmp_path: Path) -> None:
    assert run_station("verify", tmp_path / "none.db").exit_code == 2


@pytest.mark.parametrize("content", [b"", b"no journal" * 1000])
def test_another_file_is_no_journal(
    run_station: StationCommand, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    verified = run_station("verify", path)
    assert (verified.exit_code, verified.stdout) == (1, "")
    assert verified.stderr


def test_an_empty_journal_has_no_entries(run_station: StationCommand, tmp_path: Path) -> None:
    verified = run_station("verify", write_journal(tmp_path / "journal.db", []))
    assert (verified.exit_code, verified.stderr) == (1, "no entries\n")
