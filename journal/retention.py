"""Which entries may leave the journal's file, and how do they without being lost?

The oldest go first, a segment at a time: it is written, synced, given its name, read back from
the disk and compared; only then do its entries leave the file, some at a time, each time in one
commit with the anchor that takes their place. Wherever that is cut off, each entry is in the
file, in a segment, or in both, and whoever comes next finds the segment and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from journal.chain import Row, digest_of
from journal.codec import Registry, at_text
from journal.reader import Damage, JournalFailed, Reader, failing
from journal.segments import (
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


class NotArchived(JournalFailed):
    """Entries that may not move, because they are not as they were written."""


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
        JournalFailed: the disk does not take it, or does not give back what it took.
        NotArchived: the oldest entries are damaged. They stay, with what follows them.
    """
    with failing(path), Reader.open(path, Registry(())) as reader:
        anchor, digest = reader.archived()
        there = _unfinished(path, store.journal_id, reader, anchor)
        if there is not None:
            before()
            return _retired(store, there, anchor, 0)
        rows, size = _settled(path, reader, limits, entries)
        if not rows or (worth and len(rows) < entries // 2 and size < SEGMENT_BYTES // 2):
            return None
        first, last = rows[0].seq, rows[-1].seq
        segment = Segment(name_of(path, store.journal_id, first, last), first, last)
        without_unfinished(path, store.journal_id)
        written(segment.path, packed(store.journal_id, anchor, digest, rows))
        forget_cached(segment.path)
        if segment.end(store.journal_id) != rows[-1].digest:
            raise JournalFailed(f"{segment.path}: not as it was written. Check the disk.")
        before()
        return _retired(store, segment, anchor, size)


def _unfinished(path: Path, journal_id: str, reader: Reader, anchor: int) -> Segment | None:
    """A segment that was written before, and whose entries have not all left the file.

    One that does not hold what the file holds is taken away where nothing has left yet; where
    something has, it is left to `verify`.
    """
    for segment in segments_beside(path, journal_id):
        if not segment.first <= anchor + 1 <= segment.last:
            continue
        if segment.end(journal_id) == reader.digest_at(segment.last):
            return segment
        if segment.first == anchor + 1:
            segment.path.unlink()
    return None


def _settled(path: Path, reader: Reader, limits: Limits, entries: int) -> tuple[list[Row], int]:
    """The oldest rows that may go, and how much text they are.

    An entry that says it is newer goes with an older one behind it: the clock was set in between.
    One from before the file begins says nothing: its clock was not set yet.
    """
    since, begin = at_text(limits.since), ""
    rows, size, old, old_size = list[Row](), 0, 0, 0
    for row in _whole(path, reader, min(limits.first - 1, reader.archived()[0] + entries)):
        began = row.kind == "TransactionStarted"
        if began and any(one in row.body for one in limits.transactions):
            break
        begin = begin or row.at
        rows.append(row)
        size += len(row.body)
        if begin <= row.at < since:
            old, old_size = len(rows), size
        if size >= SEGMENT_BYTES:
            break
    return rows[:old], old_size


def _whole(path: Path, reader: Reader, last: int) -> Iterator[Row]:
    """The oldest rows of the file up to `last`, as long as each follows the one before.

    Raises:
        NotArchived: the very first does not.
    """
    anchor, digest = reader.archived()
    seq, damages = anchor, list[Damage]()
    for row in reader.rows(seq + 1, last, damaged=damages.append):
        if row.seq != seq + 1 or digest_of(digest, *row[:-1]) != row.digest:
            break
        seq, digest = row.seq, row.digest
        yield row
    if seq == anchor < last:
        raise NotArchived(
            f"{path}: entry {seq + 1} is missing, changed or unreadable, so nothing from it on is "
            "archived. Run `station verify`."
        )


def _retired(store: Store, segment: Segment, anchor: int, size: int) -> Moved:
    for last in range(anchor + AT_ONCE, segment.last, AT_ONCE):
        store.retire(last)
    store.retire(segment.last)
    return Moved(segment, segment.last - anchor, size)
