"""Does `station verify` say yes to a whole journal, and no to any other?"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from journal.reader import Reader
from station.runtime.memory import registry
from tests.commands.journals import Command, opened, written
from tests.story import Station


def head_of(path: Path, seq: int | None = None) -> str:
    """SEQ:DIGEST of an entry, the last one unless told otherwise."""
    with Reader.open(path, registry()) as reader:
        at = seq or reader.head().seq
        digest = reader.digest_at(at)
        assert digest is not None
        return f"{at}:{digest.hex()}"


def test_a_whole_journal_gives_its_head(station: Command, journal: Path, story: Station) -> None:
    verified = station("verify", journal)
    assert (verified.code, verified.err) == (0, "")
    assert verified.out == (
        f"{journal}: whole. {len(story.entries)} entries, the last is {head_of(journal)}\n"
    )


def test_what_it_prints_is_what_head_takes(station: Command, journal: Path) -> None:
    said = station("verify", journal).out.split()[-1]
    assert station("verify", journal, "--head", said).code == 0
    assert station("verify", journal.parent, "--head", said.upper()).code == 0


def test_a_live_journal_and_a_copy_of_it(station: Command, tmp_path: Path, story: Station) -> None:
    live, copy = tmp_path / "live.db", tmp_path / "copy.db"
    with opened(live) as store:
        store.append(story.entries)
        assert station("verify", live).code == 0
        shutil.copy(live, copy)
        shutil.copy(f"{live}-wal", f"{copy}-wal")
    assert station("verify", copy).code == 0


def test_a_changed_entry_is_one_line_that_names_it(station: Command, journal: Path) -> None:
    with sqlite3.connect(journal) as db:
        sql = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_not_updated'")
        [(trigger,)] = sql.fetchall()
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute("UPDATE entry SET uptime_ms = uptime_ms + 1 WHERE seq = 7")
        db.execute(trigger)
    db.close()
    verified = station("verify", journal)
    assert (verified.code, verified.out) == (1, "")
    assert verified.err.startswith("entry 7: ")
    assert verified.err.count("\n") == 1


def test_a_cut_tail_shows_against_a_head_seen_outside(
    station: Command, tmp_path: Path, story: Station
) -> None:
    whole = written(tmp_path / "whole.db", story.entries)
    cut = written(tmp_path / "cut.db", story.entries[:-3])
    witness = head_of(whole)
    assert station("verify", cut).code == 0
    verified = station("verify", cut, "--head", witness)
    assert verified.code == 1
    assert verified.err.startswith(f"entry {len(story.entries) - 2}: missing")


def test_another_head_than_the_witness_saw(station: Command, journal: Path) -> None:
    seq, _, digest = head_of(journal).partition(":")
    other = f"{seq}:{digest[:-1]}{'0' if digest[-1] != '0' else '1'}"
    verified = station("verify", journal, "--head", other)
    assert verified.code == 1
    assert f"entry {seq}" in verified.err


@pytest.mark.parametrize("text", ["", "7", "7:abc", "x:" + "0" * 64])
def test_a_head_of_another_form_is_a_usage_error(
    station: Command, journal: Path, text: str
) -> None:
    verified = station("verify", journal, "--head", text)
    assert verified.code == 2
    assert "SEQ:DIGEST" in verified.err
    assert verified.err.count("\n") == 1


def test_no_file_is_a_usage_error(station: Command, tmp_path: Path) -> None:
    assert station("verify", tmp_path / "none.db").code == 2


@pytest.mark.parametrize("content", [b"", b"no journal" * 1000])
def test_another_file_is_no_journal(station: Command, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    verified = station("verify", path)
    assert (verified.code, verified.out) == (1, "")
    assert verified.err


def test_an_empty_journal_has_no_entries(station: Command, tmp_path: Path) -> None:
    verified = station("verify", written(tmp_path / "journal.db", []))
    assert (verified.code, verified.err) == (1, "no entries\n")
