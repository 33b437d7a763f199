"""Damaged pages that lead a search by number past entries that are whole."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from journal.maintenance.verify import verify
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.reader import EntryDamage, Reader
from journal.storage.store import Store
from station.runtime.loop.startup import Startup, event_registry
from station.simulation.world import JOURNAL_FILE
from tests.durability.damage.sweep import PAGE_BYTES
from tests.durability.damage.worlds import (
    NAMES,
    STORE_SETTINGS,
    Original,
    has_charged,
    make_original,
    run_on_damaged,
)

INTERIOR_TABLE_PAGE = 0x05
CELLS_START = 12  # in an interior page: its header is before the cell pointers


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=True)


@pytest.fixture
def damaged(original: Original, tmp_path: Path) -> Path:
    """A journal of which the keys of the entries' root page send every search to the last page."""
    directory = tmp_path / "damaged"
    directory.mkdir()
    for name in NAMES:
        if (original.directory / name).exists():
            shutil.copyfile(original.directory / name, directory / name)
    path = directory / JOURNAL_FILE
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'entry'"
        (root,) = connection.execute(query).fetchone()
    for name in (f"{JOURNAL_FILE}-wal", "journal.lock", "snapshot"):
        (directory / name).unlink(missing_ok=True)
    lower_keys(path, root)
    return path


def lower_keys(path: Path, page: int) -> None:
    """Set the keys of an interior page to 1, except those of the first two cells."""
    data = bytearray(path.read_bytes())
    start = (page - 1) * PAGE_BYTES
    assert data[start] == INTERIOR_TABLE_PAGE
    (count,) = struct.unpack_from(">H", data, start + 3)
    assert count > 3
    for cell in range(2, count):
        (at,) = struct.unpack_from(">H", data, start + CELLS_START + 2 * cell)
        key = start + at + 4  # after the number of the child page
        data[key : key + 2] = b"\x80\x01" if data[key] & 0x80 else b"\x01\x00"
    path.write_bytes(data)


def seqs_by_scan(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM entry")]


def seqs_by_number(path: Path, head: int) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT 1 FROM entry WHERE seq = ?"
        return [seq for seq in range(1, head + 1) if connection.execute(query, (seq,)).fetchone()]


def test_the_damage_hides_entries_without_an_error(original: Original, damaged: Path) -> None:
    assert seqs_by_scan(damaged) == list(range(1, original.head + 1))
    assert 0 < len(seqs_by_number(damaged, original.head)) < original.head


def test_verify_names_the_first_hidden_entry(original: Original, damaged: Path) -> None:
    found = seqs_by_number(damaged, original.head)
    first_hidden = min(set(range(1, original.head + 1)) - set(found))
    named = [problem.seq for problem in verify(damaged) if problem.seq is not None]
    assert min(named) == first_hidden


def test_each_entry_is_read_or_reported(original: Original, damaged: Path) -> None:
    damages: list[EntryDamage] = []
    with Reader.open(damaged, event_registry()) as reader:
        for first in range(1, original.head, 7):
            damages.clear()
            entries = reader.iter_entries(first, on_damage=damages.append)
            seen = [*(entry.seq for entry in entries), *(damage.seq for damage in damages)]
            assert sorted(seen) == list(range(first, original.head + 1))


def test_a_search_finds_or_reports_each_entry(original: Original, damaged: Path) -> None:
    damages: list[EntryDamage] = []
    with Reader.open(damaged, event_registry()) as reader:
        for before in range(2, original.head + 2, 7):
            damages.clear()
            seqs = reader.find_seqs(
                count_max=original.head, before_seq=before, on_damage=damages.append
            )
            seen = {*seqs, *(damage.seq for damage in damages)}
            assert seen == set(range(1, before))


def test_reading_that_accepts_no_damage_ends_at_a_hidden_entry(
    original: Original, damaged: Path
) -> None:
    hidden = min(set(range(1, original.head + 1)) - set(seqs_by_number(damaged, original.head)))
    with Reader.open(damaged, event_registry()) as reader:
        with pytest.raises(JournalFailed, match=f"entry {hidden}: .*hides"):
            list(reader.iter_entries(hidden))
        with pytest.raises(JournalDamaged, match=f"entry {hidden}: .*hides"):
            reader.read_entry(hidden)


def test_the_writer_does_not_continue_after_hidden_entries(
    damaged: Path, original: Original
) -> None:
    hidden = min(set(range(1, original.head + 1)) - set(seqs_by_number(damaged, original.head)))
    with (
        Store.open(
            damaged, event_registry(), journal_id_if_new="", settings=STORE_SETTINGS
        ) as store,
        pytest.raises(JournalDamaged),
    ):
        list(store.reader.iter_entries(hidden, on_damage=lambda _: None))


def test_a_start_rebuilds_the_journal_with_every_entry(original: Original, damaged: Path) -> None:
    startup = Startup(damaged.parent, STORE_SETTINGS)
    with closing(startup):
        (damage,) = startup.damage_found
        assert (damage.first_seq, damage.quarantine_directory) == (None, "journal.damaged-1")
        assert list(startup.store.iter_entries()) == original.entries


def test_a_station_delivers_what_the_damage_hid(original: Original, damaged: Path) -> None:
    aftermath = run_on_damaged(damaged.parent)
    assert has_charged(aftermath)
    assert not len(aftermath.state.outbox)
    for _, transaction_id, seq_no in original.undelivered:
        assert seq_no in aftermath.seq_nos_by_transaction[transaction_id]


def test_a_number_that_is_in_no_page_is_missing_and_no_damage(
    original: Original, tmp_path: Path
) -> None:
    path = tmp_path / JOURNAL_FILE
    shutil.copyfile(original.directory / JOURNAL_FILE, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER entry_not_deleted")
        connection.execute("DELETE FROM entry WHERE seq BETWEEN 20 AND 30")
        connection.commit()
        (head,) = connection.execute("SELECT max(seq) FROM entry").fetchone()
    damages: list[EntryDamage] = []
    with Reader.open(path, event_registry()) as reader:
        seqs = [row.seq for row in reader.iter_rows(on_damage=damages.append)]
        with pytest.raises(LookupError):
            reader.read_entry(25)
    assert seqs == [*range(1, 20), *range(31, head + 1)]
    assert damages == []
