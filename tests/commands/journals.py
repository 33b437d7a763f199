"""How does a test put a story on disk and run a command on it?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from journal.store import Store, StoreSettings
from journal.terms import Entry
from station import cli
from station.runtime.memory import registry
from tests.story import JOURNAL_ID

SMALL = StoreSettings(grow_bytes=0)


def opened(path: Path) -> Store:
    """The journal at `path`, for writing."""
    return Store.open(path, registry(), journal_id_if_new=JOURNAL_ID, settings=SMALL)


def written(path: Path, entries: Iterable[Entry]) -> Path:
    """A closed journal of these entries."""
    with opened(path) as store:
        store.append(list(entries))
    return path


def without(path: Path, seq: int) -> Path:
    """The journal at `path`, one entry of it taken out."""
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER entry_not_deleted")
        db.execute("DELETE FROM entry WHERE seq = ?", (seq,))
    db.close()
    return path


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Command:
    """`station`, within this process."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *arguments: str | Path) -> Ran:
        self._captured.readouterr()
        code = cli.ended([str(each) for each in arguments])
        found = self._captured.readouterr()
        return Ran(code, found.out, found.err)
