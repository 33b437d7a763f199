"""Journals on disk for tests of commands, and a runner of `station` in this process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from journal.events import Entry
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from station import cli
from station.history.export.manifest import find_manifests, key_fingerprint, read_manifest
from station.runtime.loop.startup import event_registry
from tests.support.story import JOURNAL_ID

SMALL_JOURNAL = StoreSettings(grow_bytes=0)


def open_writable(path: Path) -> Store:
    """The journal at `path`, for writing."""
    return Store.open(path, event_registry(), journal_id_if_new=JOURNAL_ID, settings=SMALL_JOURNAL)


def write_journal(path: Path, entries: Iterable[Entry]) -> Path:
    """A closed journal of these entries."""
    with open_writable(path) as store:
        store.append(list(entries))
    return path


def delete_entry(path: Path, seq: int) -> Path:
    """The journal at `path` without this entry."""
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER entry_not_deleted")
        db.execute("DELETE FROM entry WHERE seq = ?", (seq,))
    db.close()
    return path


@contextmanager
def start_command(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """`station` as a process; killed at the end of the context if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "station", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


class StationCommand:
    """Runs `station` in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str | Path) -> CommandResult:
        self._capture.readouterr()
        code = cli.run_cli([str(argument) for argument in arguments])
        captured = self._capture.readouterr()
        return CommandResult(code, captured.out, captured.err)


def own_keys(export: Path) -> list[str]:
    """The options --key that accept the keys which signed an export."""
    keys = [read_manifest(path)[0].public_key for path in find_manifests(export)]
    return [option for key in keys for option in ("--key", key_fingerprint(key))]
