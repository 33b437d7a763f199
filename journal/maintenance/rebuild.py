"""Rebuilding a damaged journal from everything in it that is whole.

The new file is written as `<name>.rebuilding`, synced and renamed to `<name>.rebuilt`; then the old
files are set aside and the new one takes their place. A power cut leaves the old journal, or a
finished rebuild that the next start completes (`is_rebuild_unfinished`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from journal.format.hash_chain import origin_digest
from journal.maintenance.salvage import Anchor, Salvage
from journal.storage.archive import Archive
from journal.storage.atomic_file import sync_directory
from journal.storage.connection import (
    StoreSettings,
    connect_writable,
    open_connection,
)
from journal.storage.errors import translate_errors
from journal.storage.quarantine import find_quarantines, quarantine_journal, remove_half_made
from journal.storage.schema import INSERT_ENTRY, INSERT_TOKEN, prepare_schema

QUARANTINES_MAX = 8  # damaged journals kept: a dying disk may damage one after the other


class RebuildResult(NamedTuple):
    """The result of a rebuild."""

    quarantine: Path  # path of the damaged journal in its directory
    last_seq: int  # the last entry that was saved
    missing_ranges: list[tuple[int, int]]  # first and last number of each range that is lost
    id_recovered: bool  # whether the journal's own id was found


def rebuild(path: Path, journal_id_if_lost: str) -> RebuildResult:
    """Rebuild the journal from everything in it that is whole; the old one is set aside.

    Digests, numbers and the side table are as they were; a missing entry is a gap that `verify`
    reports. The power may fail at any moment: the old journal or the new one exists.

    Raises:
        JournalFailed: it is in use, or the disk is at fault.
    """
    done = path.with_suffix(".rebuilt")
    with translate_errors(path):
        if not done.exists():
            _write_rebuilt(path, journal_id_if_lost)
        with Salvage(done) as rebuilt:
            id_recovered = rebuilt.journal_id != journal_id_if_lost
        missing, last = _find_missing_ranges(done)
    quarantine = _swap_in_rebuilt(path)
    return RebuildResult(quarantine, last, missing, id_recovered)


def _swap_in_rebuilt(path: Path) -> Path:
    quarantine = quarantine_journal(path).parent
    with translate_errors(path):
        path.with_suffix(".rebuilt").replace(path)
        sync_directory(path.parent)
        for old in find_quarantines(path)[:-QUARANTINES_MAX]:
            shutil.rmtree(old)
    return quarantine


def _write_rebuilt(path: Path, journal_id_if_lost: str) -> None:
    draft = path.with_suffix(".rebuilding")
    remove_half_made(path)
    with Salvage(path) as salvage:
        prepare_schema(draft, salvage.journal_id or journal_id_if_lost, StoreSettings())
        if salvage.journal_id is not None:
            salvage.anchor = _recover_anchor(path, salvage.journal_id, salvage.anchor)
        with closing(connect_writable(draft, StoreSettings())) as connection:
            _insert_salvaged(connection, salvage)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path.with_suffix(".rebuilt"))
    sync_directory(path.parent)


def _recover_anchor(path: Path, journal_id: str, salvaged: Anchor | None) -> Anchor | None:
    """The end of the archive by the anchor, or by the segments if the anchor is damaged."""
    segments = Archive(path, journal_id)
    if salvaged is None or segments.digest_at(salvaged.seq) != salvaged.digest:
        last = segments.last_seq()
        digest = segments.digest_at(last)
        if digest is not None:
            return Anchor(last, digest, origin_digest(journal_id))
    return salvaged


def _insert_salvaged(connection: sqlite3.Connection, salvage: Salvage) -> None:
    """Insert everything that is whole, with gaps, in one commit."""
    connection.execute("BEGIN IMMEDIATE")
    (guard,) = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'entry_gapless'"
    ).fetchone()
    connection.execute("DROP TRIGGER entry_gapless")
    or_ignore = INSERT_ENTRY.replace("INSERT", "INSERT OR IGNORE", 1)
    connection.executemany(or_ignore, salvage.iter_rows())
    last = connection.execute("SELECT seq, digest FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
    connection.executemany(
        or_ignore, salvage.iter_hidden_rows(*(last or salvage.position_before_first))
    )
    connection.executemany(INSERT_TOKEN.replace("INSERT", "INSERT OR IGNORE", 1), salvage.tokens)
    if salvage.anchor is not None:
        connection.execute("INSERT INTO anchor VALUES (?, ?, ?)", salvage.anchor)
    connection.execute(guard)
    connection.execute("COMMIT")


def _find_missing_ranges(path: Path) -> tuple[list[tuple[int, int]], int]:
    """The ranges of missing numbers, and the last number that is present."""
    missing: list[tuple[int, int]] = []
    with closing(open_connection(path, mode="ro", options="&immutable=1")) as connection:
        (expected,) = connection.execute("SELECT 1 + coalesce(max(seq), 0) FROM anchor").fetchone()
        for (seq,) in connection.execute("SELECT seq FROM entry ORDER BY seq"):
            if seq > expected:
                missing.append((expected, seq - 1))
            expected = seq + 1
    return missing, expected - 1
