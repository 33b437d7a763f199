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

from journal.archive import Archive
from journal.aside import set_aside_beside
from journal.chain import ROW_TYPES, Row
from journal.codec import Registry, at_text
from journal.reader import Damage, JournalDamaged, JournalFailed, Reader, failing
from journal.segments import (
    DIGEST_DIGITS,
    Segment,
    forget_cached,
    name_of,
    packed,
    segments_beside,
    without_unfinished,
    written,
)
from journal.state import State
from journal.store import Store

SEGMENT_ENTRIES: Final = 8_192  # about two days of a busy station, 200 KB
SEGMENT_BYTES: Final = 4 << 20  # of text, in memory once
AT_ONCE: Final = 512  # entries that leave the file in one commit, which others wait for
CLOCK_SET: Final = datetime(2018, 1, 1, tzinfo=UTC)  # older than OCPP 2.0: nobody had set the clock


class Limits(NamedTuple):
    """What must stay in the file."""

    first: int  # entry that must: the memory may still ask for it
    transactions: Collection[str]  # and everything since these began
    since: datetime  # and everything that is newer

    @classmethod
    def of(cls, state: State, head: int, since: datetime) -> Limits:
        """What a station with this memory needs; `since` is where the legal period begins.

        What is parked may go: the archive is read as the file is, and one message that is never
        tried again must not keep ten years in the file.
        """
        outbox = state.outbox
        upload, update = state.logs.upload, state.firmware.running
        needed = [
            head,  # how the next run knows what happened last
            *(one for one in (outbox.boot,) if one is not None),
            *(one for one in (outbox.transaction.head,) if one is not None),
            *outbox.rest,
            *(one.started_seq for one in state.transactions.open),
            *(one.seq for one in state.customers.inquiries),
            *(one.seq for one in (upload, update) if one is not None),
        ]
        waiting = {outbox.owner_of(call) for call in outbox.transaction}
        return cls(min(needed), {name for name in waiting if name}, since)


class Moved(NamedTuple):
    """What one step came to."""

    segment: Segment
    entries: int  # that left the file
    text_bytes: int  # of them, before they were compressed; 0: the segment was there already


def archive(
    store: Store,
    path: Path,
    limits: Limits,
    *,
    worth: bool,
    entries: int = SEGMENT_ENTRIES,
    before: Callable[[], None] = lambda: None,
) -> Moved | None:
    """Move the oldest segment's worth of entries; None: nothing may go.

    Blocks for as long as that takes; commits go on meanwhile, with pauses of one of `AT_ONCE`.

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
    with failing(path), Reader.open(path, Registry(())) as reader:
        gone, digest = _gone(path, reader)
        there = _unfinished(path, store.journal_id, reader, gone)
        if there is not None:
            before()
            return _retired(store, there, gone, 0)
        rows, size, unread = _settled(reader, limits, gone, entries)
        if not rows or (worth and len(rows) < entries // 2 and size < SEGMENT_BYTES // 2):
            return None
        if unread:
            seq, why = unread[0]
            raise JournalDamaged(f"{path}: entry {seq} is to be archived: {why}.")
        first, last = gone + 1, rows[-1].seq
        segment = Segment(name_of(path, store.journal_id, first, last), first, last)
        without_unfinished(path, store.journal_id)
        written(segment.path, packed(store.journal_id, gone, digest, rows))
        forget_cached(segment.path)
        if segment.end(store.journal_id) != rows[-1].digest:
            raise JournalFailed(f"{segment.path}: not as it was written. Check the disk.")
        before()
        return _retired(store, segment, gone, size)


def _gone(path: Path, reader: Reader) -> tuple[int, bytes]:
    """Number and digest before the oldest entry that has to go: the anchor's, if it can be right.

    Else it was damaged: what is in the file has not gone, whatever an anchor says, and what is
    in a segment is not missing.
    """
    anchor, digest = reader.archived()
    (first,) = reader.connection.execute("SELECT min(seq) FROM entry").fetchone()
    if first is None or first == anchor + 1:
        return anchor, digest
    segments = Archive(path, reader.journal_id)
    gone = min(first - 1, max(anchor, segments.last()))
    return gone, (segments.digest_at(gone) if gone != anchor else None) or digest


def _unfinished(path: Path, journal_id: str, reader: Reader, gone: int) -> Segment | None:
    """A segment that was written before, and whose entries have not all left the file.

    One that does not hold what the file holds is taken away where nothing has left yet; where
    something has, it is left to `verify`.
    """
    for segment in segments_beside(path, journal_id):
        if not segment.first <= gone + 1 <= segment.last:
            continue
        if segment.end(journal_id) == reader.digest_at(segment.last):
            return segment
        if segment.first == gone + 1:
            segment.path.unlink()
    return None


def _settled(
    reader: Reader, limits: Limits, gone: int, entries: int
) -> tuple[list[Row], int, list[Damage]]:
    """The oldest rows that may go, how much text they are, and what cannot be read among them.

    An entry that says it is newer goes with an older one behind it: the clock was set in between.
    """
    clock_set, since = at_text(CLOCK_SET), at_text(limits.since)
    rows, size, old, old_size = list[Row](), 0, 0, 0
    unread: list[Damage] = []
    for row in reader.rows(gone + 1, limits.first - 1, damaged=unread.append):
        if not _as_typed(row):
            unread.append(Damage(row.seq, "a column has another type than it was written with"))
            continue
        began = row.kind == "TransactionStarted"
        if began and any(one in row.body for one in limits.transactions):
            break
        rows.append(row)
        size += len(row.body)
        if clock_set <= row.at < since:
            old, old_size = len(rows), size
        if size >= SEGMENT_BYTES or len(rows) == entries:
            break
    settled = rows[:old]
    return settled, old_size, [one for one in unread if settled and one.seq < settled[-1].seq]


def _as_typed(row: Row) -> bool:
    """Whether a segment can hold it; what cannot, no new file holds either. `Salvage.rows`"""
    typed = all(isinstance(value, type) for value, type in zip(row, ROW_TYPES, strict=True))
    return typed and len(row.digest) == DIGEST_DIGITS // 2


def _retired(store: Store, segment: Segment, gone: int, size: int) -> Moved:
    steps = (*range(gone + AT_ONCE, segment.last, AT_ONCE), segment.last)
    return Moved(segment, sum(map(store.retire, steps)), size)


def without_older(journal: Path, than: datetime) -> list[Path]:
    """Take away what was set aside longer ago, by the host's clock; what was.

    Raises:
        OSError: it cannot be removed.
    """
    gone = []
    for aside in set_aside_beside(journal):
        at = datetime.fromtimestamp(aside.stat().st_mtime, UTC)
        if at < CLOCK_SET:
            os.utime(aside)  # its age counts from when the clock is set
        elif at < than:
            shutil.rmtree(aside)
            gone.append(aside)
    return gone
