"""TODO."""

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

QUARANTINES_MAX = 8  # damaged journals that are kept: a dying disk may harm one after the other


class RebuildResult(NamedTuple):
    """A journal that was made anew from what a damaged one still held."""

    quarantine: Path  # the directory that keeps the damaged one
    last_seq: int  # the last entry that was found
    missing_ranges: list[tuple[int, int]]  # numbers that were not: first and last of each stretch
    id_recovered: bool  # whether the journal's own name was found


def rebuild(path: Path, journal_id_if_lost: str) -> RebuildResult:
    """Make the journal anew from whatever stands whole in it; the old one is set aside.

    Digests, numbers and the side table are as they were; what is missing is a gap that `verify`
    tells. The power may go at any moment: the old one or the new one is there.

    Raises:
        JournalFailed: it is in use, or the disk is at fault.
    """
    done = path.with_suffix(".rebuilt")
    with translate_errors(path):
        if not done.exists():
            _write_rebuilt(path, journal_id_if_lost)
        with Salvage(done) as made:
            named = made.journal_id != journal_id_if_lost
        gaps, last = _find_missing_ranges(done)
    aside = _swap_in_rebuilt(path)
    return RebuildResult(aside, last, gaps, named)


def is_rebuild_unfinished(path: Path) -> bool:
    """Whether the power went when `rebuild` was all but done; call it again."""
    return path.with_suffix(".rebuilt").exists()


def _swap_in_rebuilt(path: Path) -> Path:
    aside = quarantine_journal(path).parent
    with translate_errors(path):
        path.with_suffix(".rebuilt").replace(path)
        sync_directory(path.parent)
        for old in find_quarantines(path)[:-QUARANTINES_MAX]:
            shutil.rmtree(old)
    return aside


def _write_rebuilt(path: Path, journal_id_if_lost: str) -> None:
    making = path.with_suffix(".rebuilding")
    remove_half_made(path)
    with Salvage(path) as found:
        prepare_schema(making, found.journal_id or journal_id_if_lost, StoreSettings())
        if found.journal_id is not None:
            found.anchor = _recover_anchor(path, found.journal_id, found.anchor)
        with closing(connect_writable(making, StoreSettings())) as connection:
            _insert_salvaged(connection, found)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with making.open("rb") as file:
        os.fsync(file.fileno())
    making.replace(path.with_suffix(".rebuilt"))
    sync_directory(path.parent)


def _recover_anchor(path: Path, journal_id: str, salvaged: Anchor | None) -> Anchor | None:
    """Where the archive ends: as the anchor says, or, if that is damaged, as the segments do."""
    segments = Archive(path, journal_id)
    if salvaged is None or segments.digest_at(salvaged.seq) != salvaged.digest:
        last = segments.last_seq()
        digest = segments.digest_at(last)
        if digest is not None:
            return Anchor(last, digest, origin_digest(journal_id))
    return salvaged


def _insert_salvaged(connection: sqlite3.Connection, salvage: Salvage) -> None:
    """Write what was found, gaps and all, in one commit."""
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
    """Stretches of numbers that are missing, and the last that is not."""
    gaps: list[tuple[int, int]] = []
    with closing(open_connection(path, mode="ro", options="&immutable=1")) as connection:
        (due,) = connection.execute("SELECT 1 + coalesce(max(seq), 0) FROM anchor").fetchone()
        for (seq,) in connection.execute("SELECT seq FROM entry ORDER BY seq"):
            if seq > due:
                gaps.append((due, seq - 1))
            due = seq + 1
    return gaps, due - 1
