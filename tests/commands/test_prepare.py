"""Does a new release that was prepared start without a replay, and to the same memory?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from journal.reader import Reader
from journal.state import encode_state
from journal.store import StoreSettings
from station.runtime import memory
from station.runtime.memory import Memory
from tests.commands.journals import Command, without, written
from tests.runtime.test_archiving import TICK, lived
from tests.story import ONLINE, given

SMALL = StoreSettings(grow_bytes=0)


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process goes on after the command."""
    monkeypatch.setattr(os, "nice", lambda _: 0)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """With a snapshot of the release that wrote it."""
    path = written(tmp_path / "journal.db", given(ONLINE).entries)
    with_snapshot(tmp_path)
    return path


def with_snapshot(data: Path) -> bytes:
    """A life without events; its memory."""
    life = Memory(data, SMALL)
    life.snapshot(life.store.head, life.state)
    life.close()
    return encode_state(life.state)


def another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "REMEMBERING", (*memory.REMEMBERING, "journal.verify"))


def test_what_was_prepared_beside_the_release_that_runs_is_where_the_next_begins(
    station: Command, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = journal.parent
    old = (data / "snapshot").read_bytes()
    with monkeypatch.context() as patched:
        another_release(patched)
        done = station("prepare", journal)
        assert (done.code, done.err) == (0, "")
    assert (data / "snapshot").read_bytes() == old
    running = Memory(data, SMALL)
    state = lived(running, [TICK] * 3)
    running.snapshot(running.store.head, state)
    running.close()
    another_release(monkeypatch)
    read: list[int] = []
    entries = Reader.entries

    def counting(reader: Reader, first: int = 1, last: int | None = None, **more: object) -> object:
        read.append(first)
        return entries(reader, first, last, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "entries", counting)
    assert with_snapshot(data) == encode_state(state)
    assert read == [len(given(ONLINE).entries) + 1]


def test_a_release_that_has_a_snapshot_needs_no_other(station: Command, journal: Path) -> None:
    done = station("prepare", journal)
    assert (done.code, done.err) == (0, "")
    assert "already" in done.out
    assert not (journal.parent / "snapshot.next").exists()


def test_what_is_missing_is_for_the_start_to_tell(
    station: Command, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(journal, 3)
    another_release(monkeypatch)
    done = station("prepare", journal)
    assert (done.code, done.out) == (1, "")
    assert "entry 3 is missing" in done.err
    assert not (journal.parent / "snapshot.next").exists()
