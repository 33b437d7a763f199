"""SQLite connections to a journal, for the writer and for readers."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import msgspec

from journal.format.sqlite_pages import ROW_BYTES_MAX
from journal.storage.errors import JournalDamaged, JournalFailed

CHECKPOINT_PAGES = 1000  # default; 4 MB of log, which fill GROW_BYTES once
GROW_BYTES = 4 << 20  # default; 4 MiB
BUSY_TIMEOUT_MS = 5_000  # of one attempt to get a lock that another program holds
PAGE_BYTES = 4096  # the unit of eMMC file systems; smaller pages are written as whole ones


class StoreSettings(msgspec.Struct, frozen=True):
    """The keys of `[journal]` in station.toml that concern the file, and its connections."""

    checkpoint_pages: int = CHECKPOINT_PAGES  # of the log, before they are moved into the file
    grow_bytes: int = GROW_BYTES  # of log written in advance and kept, so that commits overwrite
    powersafe_overwrite: bool = True  # False: the disk may harm bytes next to those it writes
    is_one_thread: bool = False  # uses the store, as in simulations: one connection is enough
    migrates_apart: bool = False  # in a process of its own: sqlite-utils takes 2 MiB


def connect_writable(path: Path, settings: StoreSettings) -> sqlite3.Connection:
    """Open or create the file for writing: WAL, every commit synced, erased bytes overwritten."""
    psow = int(settings.powersafe_overwrite)
    connection = open_connection(path, mode="rwc", options=f"&psow={psow}")
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {settings.grow_bytes}",
        "secure_delete = ON",
        "foreign_keys = OFF",
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
    ):
        try:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
    return connection


# A view may take for ever to read, and so may a table that computes its columns.
_TABLES = "('meta', 'entry', 'anchor', 'id_token', '_sqlite_migrations')"
_NO_TABLES_QUERY = f"""
    SELECT name FROM sqlite_schema
    WHERE lower(name) IN {_TABLES} AND (type IS NOT 'table' OR coalesce(rootpage, 0) < 1)
"""
_COMPUTED_QUERY = "SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden > 0"
CACHE_KIB = 256  # SQLite's page cache per connection; a journal is read once, in order
CACHED_STATEMENTS = 8  # per connection, 5 KiB each; a commit and its checkpoint use five


def open_connection(
    path: Path, *, mode: str, options: str = "", exclusive: bool = False
) -> sqlite3.Connection:
    """Open the file, `mode` ro or rwc, for any thread, without implicit transactions.

    `exclusive`: no other process has it open, so that the log's index needs no shared memory.

    Raises:
        JournalFailed: a file is no regular file; JournalDamaged: a table is no table.
        sqlite3.Error: it cannot be opened.
    """
    for name in (path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal"))):
        if name.exists() and not name.is_file():
            raise JournalFailed(f"{name}: not a regular file. Move it away.")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        if exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX)
        _require_tables(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_tables(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a file in which a table of ours is a view, or computes its columns."""
    names = [name for (name,) in connection.execute(_NO_TABLES_QUERY)]
    for (table,) in connection.execute(
        f"SELECT name FROM sqlite_schema WHERE type = 'table' AND lower(name) IN {_TABLES}"
    ).fetchall():
        if connection.execute(_COMPUTED_QUERY, (table,)).fetchone():
            names.append(table)
    if names:
        raise JournalDamaged(f"{path}: {names[0]} is no table as a station creates it.")


def connect_readable(path: Path) -> sqlite3.Connection:
    """Connect for reading, also in a read-only directory.

    A file in WAL mode needs a `-shm` beside it, which a read-only directory does not allow. No
    process can write there: without a `-wal` the file is read as immutable; with one, the log's
    index is kept in memory, which SQLite does for an exclusive connection.
    """
    try:
        return open_connection(path, mode="ro")
    except sqlite3.OperationalError:
        if os.access(path.parent, os.W_OK, effective_ids=True) or Path(f"{path}-shm").exists():
            raise
    if not Path(f"{path}-wal").exists():
        return open_connection(path, mode="ro", options="&immutable=1")
    return open_connection(path, mode="ro", options="&vfs=unix-none", exclusive=True)
