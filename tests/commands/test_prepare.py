"""A prepared release starts without a replay, and with the same state."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from journal.state import encode_state
from journal.storage.connection import StoreSettings
from journal.storage.reader import Reader
from station.runtime.loop import startup
from station.runtime.loop.startup import Startup
from tests.commands.fixtures_journals import StationCommand, delete_entry, write_journal
from tests.runtime.disk.test_archiver import TICK, append_events
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


def pretend_other_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        startup, "STATE_MODULES", (*startup.STATE_MODULES, "journal.maintenance.verify")
    )


def test_the_next_release_starts_from_the_prepared_snapshot(
    run_station: StationCommand, journal: Path, monkeypatch: pytest.MonkeyPatch
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
    read: list[int] = []
    entries = Reader.iter_entries

    def counting(reader: Reader, first: int = 1, last: int | None = None, **more: object) -> object:
        read.append(first)
        return entries(reader, first, last, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "iter_entries", counting)
    assert write_snapshot(data) == encode_state(state)
    assert read == [len(given(ONLINE).entries) + 1]


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
