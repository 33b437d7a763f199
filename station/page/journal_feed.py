"""Follows a journal while the station writes it: new lines, sessions, and searches.

`JournalFeed.run` looks at the modification times of the journal's files and reads new entries in a
thread, in short transactions, so that it neither delays the station nor keeps its log from being
reused. The newest lines are kept encoded: a line is made once, however many browsers show it. What
a browser missed beyond these is read for it from the journal.

The journal may appear after the page, be rebuilt, or be replaced: then it is opened again, and
`generation` counts up, so that browsers start over.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import trio

from journal.events import Entry
from journal.observations import BusTraceWritten
from journal.projections.bus_traces import WRITTEN_MAX as TRACES_MAX
from journal.projections.outbox import CallQueued
from journal.storage.errors import JournalFailed
from journal.storage.reader import EntryDamage, Reader
from station.page.session_log import SessionLog
from station.page.transcript_lines import (
    WARM_UP_ENTRIES,
    LineBuilder,
    LineFilter,
    TranscriptLine,
    build_lines,
    damaged_line,
)
from station.runtime.loop.startup import event_registry

log = logging.getLogger("station.page")

JOURNAL_FILE: Final = "journal.db"
POLL_S: Final = 0.05  # between two looks at the files while a page is open
UNWATCHED_POLL_S: Final = 0.5  # while none is
FULL_CHECK_S: Final = 2.0  # between two looks at the journal itself
LINES_MAX: Final = 2_000  # kept
BATCH_MAX: Final = 500  # entries read at a time
SESSIONS_READ_MAX: Final = 40  # sessions looked for at the start
HISTORY_ENTRIES_MAX: Final = 30_000  # read for them at the start
SEARCH_CHUNK: Final = 5_000  # entries
SEARCH_CHUNKS_MAX: Final = 6  # of one search
SEARCH_LINES_MAX: Final = 300
SEARCHES_MAX: Final = 2  # at the same time

T = TypeVar("T")


class EncodedLine(NamedTuple):
    seq: int
    body: bytes  # JSON of a TranscriptLine


class _Opened(NamedTuple):
    journal_id: str
    head_seq: int
    start_seq: int  # the entry after which to read


class _Batch(NamedTuple):
    lines: list[EncodedLine]
    entries: list[Entry]
    last_seq: int
    has_more: bool


class SearchResult(msgspec.Struct):
    """Lines in ascending order; `before` continues the search, None: it reached the beginning."""

    lines: list[TranscriptLine]
    before: int | None


class JournalFeed:
    """The newest lines of a journal, its sessions, and access to the rest.

    Attributes:
        head_seq: the last line.
        generation: counts journals; 0 until the first is read up to its head.
        changed: set by the next change, then replaced.
        sessions: of the newest entries.
        trace_seqs: those of the newest entries that name a bus trace.
        failure: why the journal cannot be read; empty: it can.
    """

    def __init__(self, data_directory: Path) -> None:
        self._path = data_directory / JOURNAL_FILE
        self._log_path = self._path.with_name(JOURNAL_FILE + "-wal")
        self._registry = event_registry()
        self._reader: Reader | None = None
        self._inode = 0
        self._lines: deque[EncodedLine] = deque(maxlen=LINES_MAX)
        self._builder = LineBuilder()
        self._is_announced = False  # the newest entries of this journal are read
        self._viewers = 0
        self._viewer_came = trio.Event()
        self._searches = trio.CapacityLimiter(SEARCHES_MAX)
        self.head_seq = 0
        self.journal_id = ""
        self.generation = 0
        self.changed = trio.Event()
        self.sessions = SessionLog()
        self.trace_seqs: deque[int] = deque(maxlen=TRACES_MAX)
        self.failure = "not read yet"

    # --- Follow ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the journal until cancelled.

        A thread reads and touches only `_reader`, `_inode` and `_builder`; what others see changes
        here, between two of their turns.
        """
        seen: tuple[int, ...] = ()
        checked_at = float("-inf")
        try:
            while True:
                stamps = self._file_stamps()
                now = trio.current_time()
                if stamps != seen or now - checked_at >= FULL_CHECK_S:
                    seen, checked_at = stamps, now
                    while await self._read_new():
                        await trio.lowlevel.checkpoint()
                await self._pause()
        finally:
            self._close()

    async def _pause(self) -> None:
        """Wait until the files are to be looked at again."""
        if not self._viewers:
            with trio.move_on_after(UNWATCHED_POLL_S):
                await self._viewer_came.wait()
        else:
            await trio.sleep(POLL_S)

    @contextmanager
    def viewer(self) -> Iterator[None]:
        """While entered, new entries are read at once."""
        self._viewers += 1
        self._viewer_came.set()
        try:
            yield
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._viewer_came = trio.Event()

    def _file_stamps(self) -> tuple[int, ...]:
        """Identity and modification times of the journal's files; empty where there are none."""
        stamps: list[int] = []
        for path in (self._path, self._log_path):
            try:
                status = path.stat()
            except OSError:
                continue
            stamps += [status.st_ino, status.st_mtime_ns]
        return tuple(stamps)

    async def _read_new(self) -> bool:
        """Read entries that were not read yet; whether there may be more."""
        try:
            if not await trio.to_thread.run_sync(self._is_open):
                await self._open()
            assert self._reader is not None
            batch = await trio.to_thread.run_sync(self._read_batch, self.head_seq)
        except JournalFailed as error:
            self._close()
            if self.failure != str(error):
                log.warning("%s", error)
                self.failure = str(error)
                self._announce()
            return False
        if batch is None:  # shorter than before: another journal under the same inode
            self._close()
            self.journal_id = ""
            return True
        self._apply(batch)
        return batch.has_more

    async def _open(self) -> None:
        """Open the journal; continue where it was read before, or begin with its newest entries."""
        opened = await trio.to_thread.run_sync(self._open_file)
        self.failure = ""
        if opened.journal_id != self.journal_id or opened.head_seq < self.head_seq:
            self.journal_id = opened.journal_id
            self._lines.clear()
            self._builder, self.sessions = LineBuilder(), SessionLog()
            self.trace_seqs.clear()
            self.head_seq, self._is_announced = opened.start_seq, False

    def _apply(self, batch: _Batch) -> None:
        for line in batch.lines:
            self._lines.append(line)
        for entry in batch.entries:
            self.sessions.apply(entry)
            if isinstance(entry.event, BusTraceWritten):
                self.trace_seqs.append(entry.seq)
        self.head_seq = batch.last_seq
        if not self._is_announced and not batch.has_more:
            self._is_announced = True
            self.generation += 1
            self._announce()
        elif batch.lines and self._is_announced:
            self._announce()

    def _announce(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # --- In a thread -----------------------------------------------------------------------------

    def _is_open(self) -> bool:
        """Whether the open file is still the journal."""
        try:
            return self._reader is not None and self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _open_file(self) -> _Opened:
        self._close()
        try:
            self._inode = self._path.stat().st_ino
        except OSError as error:
            raise JournalFailed(f"{self._path}: {error.strerror}") from error
        reader = Reader.open(self._path, self._registry)
        try:
            head_seq = reader.read_head().seq
            opened = _Opened(reader.journal_id, head_seq, _find_start(reader, head_seq))
        except JournalFailed:
            reader.close()
            raise
        self._reader = reader
        return opened

    def _read_batch(self, after_seq: int) -> _Batch | None:
        """The next entries; None: the journal ends before that number."""
        assert self._reader is not None
        head_seq = self._reader.read_head().seq
        if head_seq < after_seq:
            return None
        last = min(head_seq, after_seq + BATCH_MAX)
        lines, entries = [], []
        if last > after_seq:
            for item in self._iter_entries(self._reader, after_seq + 1, last):
                if isinstance(item, EntryDamage):
                    line = damaged_line(item.seq, item.reason)
                else:
                    line = self._builder.build(item)
                    entries.append(item)
                lines.append(EncodedLine(line.seq, msgspec.json.encode(line)))
        return _Batch(lines, entries, last, last < head_seq)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @staticmethod
    def _iter_entries(reader: Reader, first: int, last: int) -> Iterator[Entry | EntryDamage]:
        """Entries in order; unreadable ones in their places."""
        damages: list[EntryDamage] = []
        for entry in reader.iter_entries(first, last, on_damage=damages.append):
            yield from damages
            damages.clear()
            yield entry
        yield from damages

    # --- Lines for browsers ----------------------------------------------------------------------

    @property
    def first_kept_seq(self) -> int:
        """The oldest line that is kept; after the head if there is none."""
        return self._lines[0].seq if self._lines else self.head_seq + 1

    def kept_lines(self, after_seq: int, count_max: int) -> list[EncodedLine]:
        """The kept lines after a number, at most `count_max` of them."""
        if not self._lines or after_seq >= self._lines[-1].seq:
            return []
        skip = 0
        if after_seq >= self._lines[0].seq:
            skip = len(self._lines)
            while skip and self._lines[skip - 1].seq > after_seq:
                skip -= 1
        return list(islice(self._lines, skip, skip + count_max))

    async def read_lines(self, after_seq: int, count_max: int) -> list[EncodedLine]:
        """Lines after a number from the journal, for a browser that missed more than is kept."""
        last = after_seq + count_max

        def read(reader: Reader) -> list[EncodedLine]:
            entries = reader.iter_entries(
                max(1, after_seq + 1 - WARM_UP_ENTRIES), last, on_damage=lambda _: None
            )
            return [
                EncodedLine(line.seq, msgspec.json.encode(line))
                for line in build_lines(entries, after_seq + 1)
            ]

        return await self.with_reader(read)

    async def search(
        self, before_seq: int | None, line_filter: LineFilter, count_max: int
    ) -> SearchResult:
        """The newest lines before a number that match; a long search returns what it has found.

        Args:
            before_seq: None: up to the head.
            line_filter: what is searched for.
            count_max: lines at most.
        """
        count_max = min(count_max, SEARCH_LINES_MAX)

        def read(reader: Reader) -> SearchResult:
            found: list[TranscriptLine] = []
            before = reader.read_head().seq + 1
            if before_seq is not None:
                before = min(before, before_seq)
            beginning = reader.position_before_first()[0] + 1
            for _ in range(SEARCH_CHUNKS_MAX):
                if before <= beginning or len(found) >= count_max:
                    break
                first = max(beginning, before - SEARCH_CHUNK)
                entries = reader.iter_entries(
                    max(beginning, first - WARM_UP_ENTRIES), before - 1, on_damage=lambda _: None
                )
                matching = deque(
                    filter(line_filter.matches, build_lines(entries, first)),
                    maxlen=count_max - len(found),
                )
                before = first
                if matching and len(matching) == count_max - len(found):
                    before = matching[0].seq
                found[:0] = matching
            return SearchResult(found, before if before > beginning else None)

        return await self.with_reader(read)

    async def describe_calls(self, call_seqs: list[int]) -> list[dict[str, Any]]:
        """Action and time of queued calls, by their entries; unreadable ones are left out."""

        def read(reader: Reader) -> list[dict[str, Any]]:
            return list(_describe_calls(reader, call_seqs))

        return await self.with_reader(read)

    async def value_of(self, reference: str) -> str | None:
        """The personal value of a reference; None if there is none."""
        return await self.with_reader(lambda reader: reader.value_of(reference))

    async def with_reader(
        self, read: Callable[[Reader], T], limiter: trio.CapacityLimiter | None = None
    ) -> T:
        """Read with a connection of its own, in a thread.

        Args:
            read: gets the connection.
            limiter: of the threads at the same time; None: that of all searches.
        """

        def work() -> T:
            with Reader.open(self._path, self._registry) as reader:
                return read(reader)

        return await trio.to_thread.run_sync(work, limiter=limiter or self._searches)


def _describe_calls(reader: Reader, call_seqs: list[int]) -> Iterator[dict[str, Any]]:
    for seq in call_seqs:
        try:
            entry = reader.read_entry(seq)
        except (LookupError, JournalFailed):
            continue
        if isinstance(entry.event, CallQueued):
            summary = entry.event.transaction_event
            yield {
                "seq": seq,
                "action": entry.event.action,
                "at": entry.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "transaction_id": summary.transaction_id if summary else None,
                "seq_no": summary.seq_no if summary else None,
            }


def _find_start(reader: Reader, head_seq: int) -> int:
    """The entry after which to read, so that the newest sessions and lines are known."""
    starts = reader.find_seqs(kinds=("TransactionStarted",), count_max=SESSIONS_READ_MAX)
    first = min(starts[0] if starts else head_seq, head_seq - LINES_MAX)
    oldest = max(first, head_seq - HISTORY_ENTRIES_MAX) - WARM_UP_ENTRIES
    return max(oldest, reader.position_before_first()[0], 0)
