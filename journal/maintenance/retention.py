"""Moving old entries from the journal's file to the archive without losing one.

The oldest go first, a segment at a time: the segment is written, synced, renamed, read back from
the disk and compared; only then do its entries leave the file, some at a time, each time in one
commit with the anchor that replaces them. Wherever that is interrupted, each entry is in the file,
in a segment, or in both, and the next call finds the segment and continues.

Damage does not stop it. A changed entry is archived as it is, a missing number stays missing. Only
entries that cannot be read from the file must be dealt with first: the caller rebuilds the file,
and then they are missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from journal.codec import Registry, format_time
from journal.format.hash_chain import COLUMN_TYPES, EntryRow
from journal.format.segments import (
    DIGEST_DIGITS,
    Segment,
    drop_page_cache,
    find_segments,
    pack_blocks,
    remove_unfinished_segments,
    segment_path,
)
from journal.state import State
from journal.storage.archive import Archive
from journal.storage.atomic_file import write_atomically
from journal.storage.errors import JournalDamaged, JournalFailed, translate_errors
from journal.storage.quarantine import find_quarantines
from journal.storage.reader import EntryDamage, Reader
from journal.storage.store import Store

SEGMENT_ENTRIES: Final = 8_192  # about two days of a busy station, 200 KB
SEGMENT_BYTES: Final = 4 << 20  # of text, in memory once
ENTRIES_PER_COMMIT: Final = 512  # that leave the file in one commit; other commits wait for it
CLOCK_VALID_FROM: Final = datetime(2018, 1, 1, tzinfo=UTC)  # earlier times: the clock was not set


class RetentionLimits(NamedTuple):
    """The entries that must stay in the file."""

    first_kept_seq: int  # this entry and all later ones: the state may need them
    unsent_transaction_ids: Collection[str]  # everything since the start of the first of these
    keep_since: datetime  # everything from this time on

    @classmethod
    def from_state(cls, state: State, head_seq: int, since: datetime) -> RetentionLimits:
        """The limits of a station in this state; `since` is the beginning of the retention period.

        Parked calls do not count: they can be read from the archive too, and a message that is
        never tried again must not keep ten years in the file.
        """
        outbox = state.outbox
        upload, update = state.logs.upload, state.firmware.running_update
        calls = (outbox.boot_call_seq, outbox.transaction.head)
        needed = [
            head_seq,  # the next run reads the last entry
            *(call for call in calls if call is not None),
            *outbox.general,
            *(transaction.started_seq for transaction in state.transactions.open),
            *(request.seq for request in state.customer_requests.pending),
            *(job.seq for job in (upload, update) if job is not None),
        ]
        unsent = {outbox.transaction_id_of(call) for call in outbox.transaction}
        return cls(min(needed), {name for name in unsent if name}, since)


class ArchiveResult(NamedTuple):
    """The result of archiving one segment."""

    segment: Segment
    entry_count: int  # entries that left the file
    text_bytes: int  # of their bodies, uncompressed; 0: the segment existed already


def archive_oldest_entries(
    store: Store,
    path: Path,
    limits: RetentionLimits,
    *,
    only_if_worthwhile: bool,
    segment_entries: int = SEGMENT_ENTRIES,
    before_removal: Callable[[], None] = lambda: None,
) -> ArchiveResult | None:
    """Move the oldest entries to a segment; None if there is nothing to move.

    Blocks meanwhile; other commits continue, except during commits of `ENTRIES_PER_COMMIT` entries.

    Args:
        store: the journal at `path`, open for writing.
        path: the journal's file.
        limits: what must stay.
        only_if_worthwhile: move nothing until half a segment is full, to keep segments few.
        segment_entries: entries that fill a segment.
        before_removal: called before the first entry leaves the file.

    Raises:
        JournalDamaged: entries to be moved cannot be read. Rebuild the file.
        JournalFailed: the segment cannot be written, or not be read back as written.
    """
    with translate_errors(path), Reader.open(path, Registry(())) as reader:
        archived, digest = _archived_position(path, reader)
        unfinished = _find_unfinished_segment(path, store.journal_id, reader, archived)
        if unfinished is not None:
            before_removal()
            return _drop_segment_entries(store, unfinished, archived, 0)
        rows, size, unread = _select_rows(reader, limits, archived, segment_entries)
        if not rows or (
            only_if_worthwhile and len(rows) < segment_entries // 2 and size < SEGMENT_BYTES // 2
        ):
            return None
        if unread:
            seq, reason = unread[0]
            raise JournalDamaged(f"{path}: entry {seq} is to be archived: {reason}.")
        segment = _write_segment(path, store.journal_id, archived, digest, rows)
        before_removal()
        return _drop_segment_entries(store, segment, archived, size)


def _write_segment(
    path: Path, journal_id: str, archived_seq: int, digest: bytes, rows: list[EntryRow]
) -> Segment:
    """Write rows to a new segment, and read it back from the disk.

    Raises:
        JournalFailed: it is not read back as written.
        OSError: it cannot be written.
    """
    first, last = archived_seq + 1, rows[-1].seq
    segment = Segment(segment_path(path, journal_id, first, last), first, last)
    remove_unfinished_segments(path, journal_id)
    write_atomically(segment.path, pack_blocks(journal_id, archived_seq, digest, rows))
    drop_page_cache(segment.path)
    if segment.last_digest(journal_id) != rows[-1].digest:
        raise JournalFailed(f"{segment.path}: not as it was written. Check the disk.")
    return segment


def _archived_position(path: Path, reader: Reader) -> tuple[int, bytes]:
    """Number and digest before the oldest entry to be moved: the anchor's, if it is plausible.

    Otherwise the anchor was damaged: an entry in the file has not been archived, and an entry in a
    segment is not missing.
    """
    anchor, digest = reader.archived_position()
    (first,) = reader.connection.execute("SELECT min(seq) FROM entry").fetchone()
    if first is None or first == anchor + 1:
        return anchor, digest
    segments = Archive(path, reader.journal_id)
    archived = min(first - 1, max(anchor, segments.last_seq()))
    return archived, (segments.digest_at(archived) if archived != anchor else None) or digest


def _find_unfinished_segment(
    path: Path, journal_id: str, reader: Reader, archived_seq: int
) -> Segment | None:
    """A segment that exists, while some of its entries are still in the file.

    A segment that differs from the file is removed if none of its entries has left the file;
    otherwise it stays, and `verify` reports the difference.
    """
    for segment in find_segments(path, journal_id):
        if not segment.first_seq <= archived_seq + 1 <= segment.last_seq:
            continue
        if segment.last_digest(journal_id) == reader.digest_at(segment.last_seq):
            return segment
        if segment.first_seq == archived_seq + 1:
            segment.path.unlink()
    return None


def _select_rows(
    reader: Reader, limits: RetentionLimits, archived_seq: int, entries_max: int
) -> tuple[list[EntryRow], int, list[EntryDamage]]:
    """The oldest rows that may be moved, the bytes of their bodies, and unreadable entries.

    An entry with a newer time is moved if an older one follows: the clock was set in between.
    """
    clock_set, since = format_time(CLOCK_VALID_FROM), format_time(limits.keep_since)
    rows, size, old_count, old_size = list[EntryRow](), 0, 0, 0
    unread: list[EntryDamage] = []
    for row in reader.iter_rows(
        archived_seq + 1, limits.first_kept_seq - 1, on_damage=unread.append
    ):
        if not _has_column_types(row):
            unread.append(
                EntryDamage(row.seq, "a column has another type than it was written with")
            )
            continue
        started = row.kind == "TransactionStarted"
        if started and any(each in row.body for each in limits.unsent_transaction_ids):
            break
        rows.append(row)
        size += len(row.body)
        if clock_set <= row.at < since:
            old_count, old_size = len(rows), size
        if size >= SEGMENT_BYTES or len(rows) == entries_max:
            break
    movable = rows[:old_count]
    damages = [damage for damage in unread if movable and damage.seq < movable[-1].seq]
    return movable, old_size, damages


def _has_column_types(row: EntryRow) -> bool:
    """Whether a segment can hold the row. `Salvage.iter_rows` drops the same rows."""
    typed = all(isinstance(value, type) for value, type in zip(row, COLUMN_TYPES, strict=True))
    return typed and len(row.digest) == DIGEST_DIGITS // 2


def _drop_segment_entries(
    store: Store, segment: Segment, archived_seq: int, text_bytes: int
) -> ArchiveResult:
    steps = (
        *range(archived_seq + ENTRIES_PER_COMMIT, segment.last_seq, ENTRIES_PER_COMMIT),
        segment.last_seq,
    )
    return ArchiveResult(segment, sum(map(store.drop_archived, steps)), text_bytes)


def remove_older_quarantines(journal: Path, cutoff: datetime) -> list[Path]:
    """Remove damaged journals that were set aside before `cutoff`, by the host's clock.

    Returns:
        The directories that were removed.

    Raises:
        OSError: one cannot be removed.
    """
    removed = []
    for directory in find_quarantines(journal):
        at = datetime.fromtimestamp(directory.stat().st_mtime, UTC)
        if at < CLOCK_VALID_FROM:
            os.utime(directory)  # its age counts from the setting of the clock
        elif at < cutoff:
            shutil.rmtree(directory)
            removed.append(directory)
    return removed
