"""The tables of a journal: migrations to this release, and the statements that insert rows."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import migrations
from journal.format.hash_chain import JOURNAL_FORMAT
from journal.storage.atomic_file import sync_directory
from journal.storage.connection import StoreSettings, connect_writable
from journal.storage.errors import JournalFailed, translate_errors

MIGRATION_SET = "journal"
MIGRATIONS = Path(migrations.__file__).parent
MIGRATION_TIMEOUT_S = 60.0  # of their process; usually 0.3 s
INSERT_ENTRY = (
    "INSERT INTO entry (seq, at, uptime_ms, kind, version, cause, body, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_TOKEN = "INSERT INTO id_token (ref, type, value, folded, salt) VALUES (?, ?, ?, ?, ?)"


def prepare_schema(path: Path, journal_id: str, settings: StoreSettings) -> None:
    """Run the migrations that the file has not had, and give a new journal its id."""
    connection = connect_writable(path, settings)
    try:
        pending = left = _pending_migrations(path, connection)
        if pending and settings.migrates_apart:
            _run_migrations_apart(path, settings)
            left = _pending_migrations(path, connection)
        if left:
            _run_migrations(path, left, settings)
        if connection.execute("SELECT count(*) FROM meta").fetchone() == (0,):
            connection.execute("INSERT INTO meta VALUES (?, ?)", (JOURNAL_FORMAT, journal_id))
    finally:
        connection.close()
    if pending:
        sync_directory(path.parent)


def _pending_migrations(path: Path, connection: sqlite3.Connection) -> list[Path]:
    """The migrations this file has not had. Without sqlite_utils: importing it takes longer."""
    known = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    if not connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'"
    ).fetchone():
        return known
    done = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (MIGRATION_SET,)
        )
    }
    if newer := done - {step.stem for step in known}:
        raise JournalFailed(
            f"{path}: a newer release wrote this journal ({max(newer)}). Install that release."
        )
    return [step for step in known if step.stem not in done]


def check_release(path: Path, connection: sqlite3.Connection) -> None:
    """Check that this release can write a journal.

    Raises:
        JournalFailed: a newer release wrote it.
    """
    with translate_errors(path):
        _pending_migrations(path, connection)


def _run_migrations_apart(path: Path, settings: StoreSettings) -> None:
    """Run `main` in a process of its own. What it leaves out for any reason is still pending."""
    arguments = (str(path), str(int(settings.powersafe_overwrite)))
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            (sys.executable, "-m", __name__, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MIGRATION_TIMEOUT_S,
        )


def _run_migrations(path: Path, pending: list[Path], settings: StoreSettings) -> None:
    from sqlite_utils import Database, Migrations

    steps = Migrations(MIGRATION_SET)
    for step in pending:
        script = step.read_text(encoding="utf-8")
        steps(name=step.stem)(lambda db, script=script: db.executescript(script))
    psow = int(settings.powersafe_overwrite)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?psow={psow}", uri=True)
    try:
        steps.apply(Database(connection, execute_plugins=False))
    finally:
        connection.close()


def main(path: Path, settings: StoreSettings) -> None:
    """Run the migrations that the file has not had."""
    connection = connect_writable(path, settings)
    try:
        if pending := _pending_migrations(path, connection):
            _run_migrations(path, pending, settings)
    finally:
        connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), StoreSettings(powersafe_overwrite=sys.argv[2] == "1"))
