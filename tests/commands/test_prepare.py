"""A prepared release starts without a replay, and with the same state."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.events import Entry
from journal.state import encode_state
from journal.storage.connection import StoreSettings
from journal.storage.reader import Reader
from station.runtime.loop.startup import Startup
from tests.commands.fixtures_journals import StationCommand, delete_entry, write_journal
from tests.runtime.disk.test_archiver import TICK, append_events
from tests.support.other_release import pretend_other_release
from tests.support.story import ONLINE, given

SMALL = StoreSettings(grow_bytes=0)


@pytest.fixture(autouse=True)
def keep_nice_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process continues after the command."""
    monkeypatch.setattr(os, "nice", lambda _: 0)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with a snapshot of the release that wrote it."""
    path = write_journal(tmp_path / "journal.db", given(ONLINE).entries)
    write_snapshot(tmp_path)
    return path


def write_snapshot(data: Path) -> bytes:
    """Start and stop without events; returns the encoded state."""
    startup = Startup(data, SMALL)
    startup.save_snapshot(startup.store.head, startup.state)
    startup.close()
    return encode_state(startup.state)


@pytest.fixture
def ranges_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Each reading of entries: all of them from a number on, or those of some kinds up to one."""
    ranges: list[tuple[str, int]] = []
    entries, entries_of = Reader.iter_entries, Reader.iter_entries_of

    def iter_entries(
        reader: Reader, first: int = 1, last: int | None = None, **more: Any
    ) -> Iterator[Entry]:
        ranges.append(("from", first))
        return entries(reader, first, last, **more)

    def iter_entries_of(reader: Reader, kinds: Collection[str], last: int) -> Iterator[Entry]:
        ranges.append(("up to", last))
        return entries_of(reader, kinds, last)

    monkeypatch.setattr(Reader, "iter_entries", iter_entries)
    monkeypatch.setattr(Reader, "iter_entries_of", iter_entries_of)
    return ranges


def test_the_next_release_starts_from_the_prepared_snapshot(
    run_station: StationCommand,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
    ranges_read: list[tuple[str, int]],
) -> None:
    data = journal.parent
    old = (data / "snapshot").read_bytes()
    with monkeypatch.context() as patched:
        pretend_other_release(patched)
        result = run_station("prepare", journal)
        assert (result.exit_code, result.stderr) == (0, "")
    assert (data / "snapshot").read_bytes() == old
    running = Startup(data, SMALL)
    state = append_events(running, [TICK] * 3)
    running.save_snapshot(running.store.head, state)
    running.close()
    pretend_other_release(monkeypatch)
    ranges_read.clear()
    assert write_snapshot(data) == encode_state(state)
    assert ranges_read == [("from", len(given(ONLINE).entries) + 1)]


def test_only_changed_projections_are_replayed(
    run_station: StationCommand,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
    ranges_read: list[tuple[str, int]],
) -> None:
    last = len(given(ONLINE).entries)
    state = write_snapshot(journal.parent)
    pretend_other_release(monkeypatch, "outbox", "evses")
    ranges_read.clear()
    assert run_station("prepare", journal).exit_code == 0
    assert ranges_read == [("up to", last), ("from", last + 1)]
    (journal.parent / "snapshot").unlink()
    assert write_snapshot(journal.parent) == state


def test_a_release_that_has_a_snapshot_needs_no_other(
    run_station: StationCommand, journal: Path
) -> None:
    result = run_station("prepare", journal)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "already" in result.stdout
    assert not (journal.parent / "snapshot.next").exists()


def test_a_missing_entry_prevents_a_snapshot(
    run_station: StationCommand, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_entry(journal, 3)
    pretend_other_release(monkeypatch)
    result = run_station("prepare", journal)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "entry 3 is missing" in result.stderr
    assert not (journal.parent / "snapshot.next").exists()
