"""Which entries may leave the journal's file, and how do they without being lost?

The oldest go first, a segment at a time: it is written, synced, given its name, read back from
the disk and compared; only then do its entries leave the file, some at a time, each time in one
commit with the anchor that takes their place. Wherever that is cut off, each entry is in the
file, in a segment, or in both, and whoever comes next finds the segment and goes on.

Damage stops nothing. A changed entry goes as it is, a missing number stays missing. Only what
cannot be read from the file has to be: its owner makes the file anew, and then it is missing.
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
ENTRIES_PER_COMMIT: Final = 512  # entries that leave the file in one commit, which others wait for
CLOCK_VALID_FROM: Final = datetime(
    2018, 1, 1, tzinfo=UTC
)  # older than OCPP 2.0: nobody had set the clock


class RetentionLimits(NamedTuple):
    """What must stay in the file."""

    first_kept_seq: int  # entry that must: the memory may still ask for it
    unsent_transaction_ids: Collection[str]  # and everything since these began
    keep_since: datetime  # and everything that is newer

    @classmethod
    def from_state(cls, state: State, head_seq: int, since: datetime) -> RetentionLimits:
        """What a station with this memory needs; `since` is where the legal period begins.

        What is parked may go: the archive is read as the file is, and one message that is never
        tried again must not keep ten years in the file.
        """
        outbox = state.outbox
        upload, update = state.logs.upload, state.firmware.running_update
        needed = [
            head_seq,  # how the next run knows what happened last
            *(one for one in (outbox.boot_call_seq,) if one is not None),
            *(one for one in (outbox.transaction.head,) if one is not None),
            *outbox.general,
            *(one.started_seq for one in state.transactions.open),
            *(one.seq for one in state.customer_requests.pending),
            *(one.seq for one in (upload, update) if one is not None),
        ]
        waiting = {outbox.transaction_id_of(call) for call in outbox.transaction}
        return cls(min(needed), {name for name in waiting if name}, since)


class ArchiveResult(NamedTuple):
    """What one step came to."""

    segment: Segment
    entry_count: int  # that left the file
    text_bytes: int  # of them, before they were compressed; 0: the segment was there already


def archive_oldest_entries(
    store: Store,
    path: Path,
    limits: RetentionLimits,
    *,
    only_if_worthwhile: bool,
    segment_entries: int = SEGMENT_ENTRIES,
    before_removal: Callable[[], None] = lambda: None,
) -> ArchiveResult | None:
    """Move the oldest segment's worth of entries; None: nothing may go.

    Blocks for as long as that takes; commits go on meanwhile, with pauses of one of `ENTRIES_PER_COMMIT`.

    Args:
        store: the journal at `path`, open for writing.
        limits: what must stay.
        worth: not before there is half a segment, that there may be few.
        entries: that fill one.
        before: is called before the first entry leaves the file.

    Raises:
        JournalDamaged: entries that would go cannot be read. Make the file anew.
        JournalFailed: the disk does not take it, or does not give back what it took.
    """
    with translate_errors(path), Reader.open(path, Registry(())) as reader:
        gone, digest = _archived_position(path, reader)
        there = _find_unfinished_segment(path, store.journal_id, reader, gone)
        if there is not None:
            before_removal()
            return _drop_segment_entries(store, there, gone, 0)
        rows, size, unread = _select_rows(reader, limits, gone, segment_entries)
        if not rows or (
            only_if_worthwhile and len(rows) < segment_entries // 2 and size < SEGMENT_BYTES // 2
        ):
            return None
        if unread:
            seq, why = unread[0]
            raise JournalDamaged(f"{path}: entry {seq} is to be archived: {why}.")
        first, last = gone + 1, rows[-1].seq
        segment = Segment(segment_path(path, store.journal_id, first, last), first, last)
        remove_unfinished_segments(path, store.journal_id)
        write_atomically(segment.path, pack_blocks(store.journal_id, gone, digest, rows))
        drop_page_cache(segment.path)
        if segment.last_digest(store.journal_id) != rows[-1].digest:
            raise JournalFailed(f"{segment.path}: not as it was written. Check the disk.")
        before_removal()
        return _drop_segment_entries(store, segment, gone, size)


def _archived_position(path: Path, reader: Reader) -> tuple[int, bytes]:
    """Number and digest before the oldest entry that has to go: the anchor's, if it can be right.

    Else it was damaged: what is in the file has not gone, whatever an anchor says, and what is
    in a segment is not missing.
    """
    anchor, digest = reader.archived_position()
    (first,) = reader.connection.execute("SELECT min(seq) FROM entry").fetchone()
    if first is None or first == anchor + 1:
        return anchor, digest
    segments = Archive(path, reader.journal_id)
    gone = min(first - 1, max(anchor, segments.last_seq()))
    return gone, (segments.digest_at(gone) if gone != anchor else None) or digest


def _find_unfinished_segment(
    path: Path, journal_id: str, reader: Reader, archived_seq: int
) -> Segment | None:
    """A segment that was written before, and whose entries have not all left the file.

    One that does not hold what the file holds is taken away where nothing has left yet; where
    something has, it is left to `verify`.
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
    """The oldest rows that may go, how much text they are, and what cannot be read among them.

    An entry that says it is newer goes with an older one behind it: the clock was set in between.
    """
    clock_set, since = format_time(CLOCK_VALID_FROM), format_time(limits.keep_since)
    rows, size, old, old_size = list[EntryRow](), 0, 0, 0
    unread: list[EntryDamage] = []
    for row in reader.iter_rows(
        archived_seq + 1, limits.first_kept_seq - 1, on_damage=unread.append
    ):
        if not _has_column_types(row):
            unread.append(
                EntryDamage(row.seq, "a column has another type than it was written with")
            )
            continue
        began = row.kind == "TransactionStarted"
        if began and any(one in row.body for one in limits.unsent_transaction_ids):
            break
        rows.append(row)
        size += len(row.body)
        if clock_set <= row.at < since:
            old, old_size = len(rows), size
        if size >= SEGMENT_BYTES or len(rows) == entries_max:
            break
    settled = rows[:old]
    return settled, old_size, [one for one in unread if settled and one.seq < settled[-1].seq]


def _has_column_types(row: EntryRow) -> bool:
    """Whether a segment can hold it; what cannot, no new file holds either. `Salvage.iter_rows`"""
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
    """Take away what was set aside longer ago, by the host's clock; what was.

    Raises:
        OSError: it cannot be removed.
    """
    gone = []
    for aside in find_quarantines(journal):
        at = datetime.fromtimestamp(aside.stat().st_mtime, UTC)
        if at < CLOCK_VALID_FROM:
            os.utime(aside)  # its age counts from when the clock is set
        elif at < cutoff:
            shutil.rmtree(aside)
            gone.append(aside)
    return gone
