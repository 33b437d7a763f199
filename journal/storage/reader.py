"""What does the journal hold, in its file and in the archive beside it?

Reading never blocks the writer and never changes the file. It is done in short strokes, so a
slow reader does not keep the write-ahead log from being reused. Entries that have gone to the
archive are read from there, and nobody who reads needs to know; those that go while somebody
reads, too, for they are in a segment before they leave the file.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

from journal.codec import DECODE_ERRORS, Registry, describe_decode_error, format_time, parse_time
from journal.events import Entry, IdToken
from journal.format.hash_chain import EntryRow, origin_digest
from journal.format.id_tokens import fold_case
from journal.format.segments import Block, MissingRange
from journal.storage.archive import Archive
from journal.storage.connection import connect_readable
from journal.storage.errors import READ_ERRORS, JournalDamaged, JournalFailed, translate_errors

BATCH_ROWS = 256  # a stroke of reading: about 100 KiB, under a millisecond

_COLUMNS = "seq, at, uptime_ms, kind, version, cause, body, digest"
_BATCH_QUERY = "SELECT {} FROM entry WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
_ROWS_QUERY = _BATCH_QUERY.format(_COLUMNS)
_ENTRIES_QUERY = _BATCH_QUERY.format(
    _COLUMNS.removesuffix(", digest")
)  # a twentieth faster without
_ROW_QUERY = f"SELECT {_COLUMNS} FROM entry WHERE seq = ?"
_LAST_ROW_QUERY = (
    "SELECT seq, digest, CAST(at AS BLOB), uptime_ms FROM entry ORDER BY seq DESC LIMIT 1"
)

_SEQ_MAX = 2**63 - 1
_LATEST_TIME_TEXT = "9999-99"  # later than any time of an entry, as text
_ENTRY_BYTES_MIN = 64  # a digest, a time and the least of the rest
_PROBED_SEQS_MAX = 64 * BATCH_ROWS  # behind a damaged head, before giving up: a tenth of a second


class EntryDamage(NamedTuple):
    """An entry that cannot be read."""

    seq: int
    reason: str


class Head(NamedTuple):
    """The end of the chain. Before the first entry: 0, the origin's digest, no time, 0."""

    seq: int
    digest: bytes
    at: datetime | None
    uptime_ms: int


OnDamage = Callable[[EntryDamage], None]


def _ignore_damage(damage: EntryDamage) -> None:
    """Whoever searches is told of what is there; `verify` tells of the rest."""


class Reader:
    """A journal, open for reading: a live one, a closed one, or a copy of either.

    Safe in any thread, one at a time. A context manager.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, registry: Registry) -> None:
        self._path = path
        self.connection = connection
        self._registry = registry

    @classmethod
    def open(cls, path: Path, registry: Registry) -> Self:
        """Open `path` for reading. A copy needs its `-wal` beside it, if there was one.

        Raises:
            JournalFailed: there is no such file, or it is no journal.
        """
        if not path.is_file():
            raise JournalFailed(f"{path}: no such file. Name the journal, as in DATA/journal.db.")
        with translate_errors(path):
            return cls(path, connect_readable(path), registry)

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def journal_id(self) -> str:
        """The UUID the journal was given at the first start.

        Raises:
            JournalFailed: it has none, or cannot be read.
        """
        with translate_errors(self._path):
            row = self.connection.execute("SELECT journal_id FROM meta").fetchone()
        if row is None:
            raise JournalDamaged(f"{self._path}: the journal has no name. Run `station verify`.")
        return str(row[0])

    def position_before_first(self) -> tuple[int, bytes]:
        """Number and digest before the first entry that is here: 0 and the origin for the first.

        More only where archived segments have been put elsewhere. The digest is empty where a
        damaged segment does not tell it.
        """
        with translate_errors(self._path):
            return self._segments.position_before_first(*self.archived_position())

    def archived_position(self) -> tuple[int, bytes]:
        """Number and digest of the last entry that has left the file; 0 and origin if none has."""
        with translate_errors(self._path):
            found = self.connection.execute(
                "SELECT seq, digest FROM anchor ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        return (found[0], found[1]) if found else (0, origin_digest(self.journal_id))

    def read_head(self) -> Head:
        """The end of the chain.

        A changed last entry does not stop the station: a column of it that cannot be read is as
        before the first entry, and the chain goes on, with `verify` to tell where it broke.

        Raises:
            JournalFailed: the end of the file cannot be read.
        """
        with translate_errors(self._path):
            last = self.connection.execute(_LAST_ROW_QUERY).fetchone()
        if last is None:
            return Head(*self.archived_position(), at=None, uptime_ms=0)
        seq, digest, at_bytes, uptime_ms = last
        try:
            at = parse_time(at_bytes.decode())
        except ValueError:
            at = None
        return Head(
            seq,
            digest if isinstance(digest, bytes) else b"",
            at,
            uptime_ms if isinstance(uptime_ms, int) else 0,
        )

    def iter_rows(
        self, first: int = 1, last: int | None = None, *, on_damage: OnDamage | None = None
    ) -> Iterator[EntryRow]:
        """Rows `first` to `last` in order, as they were written; `last` None: to the end.

        Rows on damaged pages are told to `damaged` and skipped; of those missing from the archive
        the first. Other missing numbers are not told: who cares compares `seq`.

        Raises:
            JournalFailed: on a damaged page, if nobody asked to be told.
        """
        for stroke in self._read_batches(_ROWS_QUERY, first, last, on_damage):
            yield from map(EntryRow._make, stroke)

    def iter_entries(
        self, first: int = 1, last: int | None = None, *, on_damage: OnDamage | None = None
    ) -> Iterator[Entry]:
        """Entries `first` to `last` in order; `last` None: to the end.

        Entries that cannot be read are told to `damaged` and skipped.

        Raises:
            JournalFailed: on an entry that cannot be read, if nobody asked to be told.
        """
        readers = self._registry.decoders
        for stroke in self._read_batches(_ENTRIES_QUERY, first, last, on_damage):
            for seq, at, uptime_ms, kind, version, cause, body in stroke:
                try:
                    entry = Entry(
                        seq, parse_time(at), uptime_ms, readers[kind, version](body), cause
                    )
                except DECODE_ERRORS as error:
                    self._report_damage(seq, describe_decode_error(kind, version, error), on_damage)
                else:
                    yield entry

    def read_entry(self, seq: int) -> Entry:
        """One entry by its number.

        Raises:
            LookupError: there is none.
            JournalFailed: it cannot be read.
        """
        row = self._find_row(seq)
        if row is None:
            raise LookupError(f"{self._path}: there is no entry {seq}")
        try:
            event = self._registry.decoders[row.kind, row.version](row.body)
            return Entry(row.seq, parse_time(row.at), row.uptime_ms, event, row.cause)
        except DECODE_ERRORS as error:
            why = describe_decode_error(row.kind, row.version, error)
            raise JournalFailed(f"{self._path}: entry {seq}: {why}.") from error

    def find_seqs(
        self,
        *,
        count_max: int,
        before_seq: int = _SEQ_MAX,
        oldest: datetime | None = None,
        latest: datetime | None = None,
        kinds: Collection[str] = (),
        containing: str = "",
    ) -> list[int]:
        """The numbers of the newest entries that fit, in order; for `entry`. Blocks for as long.

        Args:
            newest: at most so many.
            before: only lower numbers.
            oldest: only entries of this time and later; both ends by the wall clock, which may
                have been set in between.
            latest: only entries of this time and earlier.
            kinds: only these; none: all.
            containing: only bodies with this text in them.

        Entries on damaged pages are passed over.
        """
        query = (
            f"SELECT seq FROM entry WHERE seq < ? AND at >= ? AND at <= ? AND instr(body, ?) > 0"
            f" AND ({'kind IN (' + ', '.join('?' * len(kinds)) + ')' if kinds else '1'})"
            " ORDER BY seq DESC LIMIT ?"
        )
        span = (
            format_time(oldest) if oldest else "",
            format_time(latest) if latest else _LATEST_TIME_TEXT,
        )

        def fits(at: str, kind: str, body: str) -> bool:
            right = not kinds or kind in kinds
            return right and span[0] <= at <= span[1] and containing in body

        try:
            live = self.connection.execute(
                query, (before_seq, *span, containing, *kinds, count_max)
            )
            found = [int(seq) for (seq,) in live]
        except READ_ERRORS:  # a damaged page ends a query; row by row the others can be read
            rows = self.iter_rows(1, before_seq - 1, on_damage=_ignore_damage)
            return list(
                deque(
                    (row.seq for row in rows if fits(row.at, row.kind, row.body)), maxlen=count_max
                )
            )
        for seq in self._find_archived_seqs(found[-1] if found else before_seq, fits):
            if len(found) >= count_max:
                break
            found.append(seq)
        return found[::-1]

    def digest_at(self, seq: int) -> bytes | None:
        """The digest of one entry as it was written; None if there is no such entry."""
        row = self._find_row(seq)
        return row and bytes(row.digest)

    def value_of(self, ref: str) -> str | None:
        """The personal value behind a reference; None if it was erased or never was."""
        with translate_errors(self._path):
            found = self.connection.execute(
                "SELECT value FROM id_token WHERE ref = ?", (ref,)
            ).fetchone()
        return (
            (str(found[0]).strip("\0") or None) if found else None
        )  # zeros: `journal.maintenance.erase_quarantined`

    def find_references(self, value: str) -> list[IdToken]:
        """Every reference of a personal value, whatever its type; case counts where it does."""
        with translate_errors(self._path):
            found = self.connection.execute(
                "SELECT ref, type, folded FROM id_token WHERE folded IN (?, ?)",
                (value, value.casefold()),
            ).fetchall()
        return [
            IdToken(str(ref), kind) for ref, kind, own in found if own == fold_case(kind, value)
        ]

    def find_reference(self, type: str, value: str) -> IdToken | None:
        """The reference of a personal value, if the journal knows it."""
        with translate_errors(self._path):
            found = self.connection.execute(
                "SELECT ref FROM id_token WHERE type = ? AND folded = ?",
                (type, fold_case(type, value)),
            ).fetchone()
        return found and IdToken(str(found[0]), type)

    @cached_property
    def _segments(self) -> Archive:
        return Archive(self._path, self.journal_id)

    def _find_row(self, seq: int) -> EntryRow | None:
        """One row by its number, wherever it lies.

        Raises:
            JournalFailed: it cannot be read.
        """
        with translate_errors(self._path):
            found = self.connection.execute(_ROW_QUERY, (seq,)).fetchone()
            if found is not None:
                return EntryRow._make(found)
            if not 0 < seq <= self._last_archived_seq():
                return None
            block = self._segments.find_block(seq)
        if isinstance(block, MissingRange):
            raise JournalFailed(f"{self._path}: entry {seq}: {block.reason}. Run `station verify`.")
        return block and next((row for row in block.iter_rows() if row.seq == seq), None)

    def _find_archived_seqs(
        self, before_seq: int, fits: Callable[[str, str, str], bool]
    ) -> Iterator[int]:
        """The numbers of archived entries that fit, the newest first."""
        with translate_errors(self._path):
            for block in self._segments.iter_blocks_backwards(
                min(before_seq - 1, self._last_archived_seq())
            ):
                for seq, at, _, kind, _, _, body, _ in reversed(block.records):
                    if seq < before_seq and fits(at, kind, body):
                        before_seq = seq  # two segments may hold it
                        yield seq

    def _last_archived_seq(self) -> int:
        """Up to which number the entries are in the archive."""
        try:
            (found,) = self.connection.execute("SELECT max(seq) FROM anchor").fetchone()
        except READ_ERRORS:
            return self._segments.last_seq()  # what is in both is the same
        return found or self._segments.last_seq()  # a journal made anew may have lost its anchor

    def _report_damage(self, seq: int, reason: str, on_damage: OnDamage | None) -> None:
        if on_damage is None:
            raise JournalFailed(f"{self._path}: entry {seq}: {reason}. Run `station verify` on it.")
        on_damage(EntryDamage(seq, reason))

    def _read_batches(
        self, query: str, first: int, last: int | None, on_damage: OnDamage | None
    ) -> Iterator[list[Any]]:
        """The rows of `query` by strokes; each row begins with its number."""
        last = _SEQ_MAX if last is None else last
        behind = first - 1  # the last number that could be read
        while first <= last:
            stroke, error = self._try_read_batch(query, first, last)
            if not (stroke and stroke[0][0] == first) and first <= (
                moved := self._last_archived_seq()
            ):
                yield from self._read_archived_batches(query, first, min(last, moved), on_damage)
                behind = min(last, moved)
            elif error is not None:
                if on_damage is None:
                    raise JournalFailed(
                        f"{self._path}: {error} behind entry {first - 1}. Run `station verify`."
                    ) from error
                end = min(last, first + BATCH_ROWS - 1, self._highest_possible_seq(behind))
                for stroke in self._read_around_damage(query, first, end, on_damage):
                    yield stroke
                    behind = stroke[-1][0]
                if end < first:
                    return
                first = end + 1
                continue
            elif not stroke:
                return
            else:
                yield stroke
                behind = stroke[-1][0]
            first = behind + 1

    def _read_archived_batches(
        self, query: str, first: int, last: int, on_damage: OnDamage | None
    ) -> Iterator[list[Any]]:
        """What `query` would give, of entries that are in the archive."""
        with translate_errors(self._path):
            for found in self._segments.iter_blocks(first, last):
                if isinstance(found, MissingRange):
                    self._report_damage(found.first_seq, found.reason, on_damage)
                    continue
                stroke = _select_columns(query, found, first, last)
                if stroke:
                    yield stroke
                first = max(first, found.last_seq + 1)  # two segments may hold it

    def _try_read_batch(
        self, query: str, first: int, last: int
    ) -> tuple[list[Any], BaseException | None]:
        try:
            return self._read_batch(query, first, last), None
        except READ_ERRORS as error:
            return [], error

    def _read_batch(self, query: str, first: int, last: int) -> list[Any]:
        rows = min(BATCH_ROWS, last - first + 1)  # no step further: it may lead to a damaged page
        stroke = self.connection.execute(query, (first, last, rows)).fetchall()
        if stroke and not first <= stroke[0][0] <= stroke[-1][0] <= last:
            raise sqlite3.DatabaseError("rows are out of order")  # and would be read for ever
        return stroke

    def _read_around_damage(
        self, query: str, first: int, last: int, on_damage: OnDamage
    ) -> Iterator[list[tuple]]:  # type: ignore[type-arg]
        """Read what can be read of a damaged stretch, by halves."""
        if first > last:
            return
        try:
            stroke = self._read_batch(query, first, last)
        except READ_ERRORS as error:
            if first == last:
                on_damage(EntryDamage(first, str(error) or type(error).__name__))
                return
            middle = (first + last) // 2
            yield from self._read_around_damage(query, first, middle, on_damage)
            yield from self._read_around_damage(query, middle + 1, last, on_damage)
        else:
            if stroke:
                yield stroke

    def _highest_possible_seq(self, last_read_seq: int) -> int:
        """A number no entry behind a damage is above, given the last that could be read.

        The head's, unless the head itself is damaged, or a number that does not fit the file.
        """
        room = self._path.stat().st_size // _ENTRY_BYTES_MIN + _PROBED_SEQS_MAX
        try:
            (head,) = self.connection.execute("SELECT max(seq) FROM entry").fetchone()
        except READ_ERRORS:
            return last_read_seq + _PROBED_SEQS_MAX
        return min(int(head or 0), last_read_seq + room)


def _select_columns(query: str, block: Block, first: int, last: int) -> list[Any]:
    if query == _ROWS_QUERY:
        return [row for row in block.iter_rows() if first <= row.seq <= last]
    return [record[:-1] for record in block.records_within(first, last)]
