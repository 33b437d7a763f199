"""Reading a journal: its file, and the archive beside it.

Reading never blocks the writer and never changes the file. It is done in short batches, so a slow
reader does not keep the write-ahead log from being reused. Archived entries are read from their
segments without the caller noticing, also when they are archived during the reading: a segment is
complete before its entries leave the file.

A damaged page may lead SQLite past entries that are whole, without an error. So every batch must
continue where the one before it ended, and the last one must reach the number of the head. Numbers
that were not found are compared with a scan of the table (`table_scan`): what the scan has is
damage, what it does not have either is missing, as after a rebuild.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
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
from journal.storage.table_scan import TableScan

BATCH_ROWS = 256  # rows read at a time: about 100 KiB, under a millisecond

_COLUMNS = "seq, at, uptime_ms, kind, version, cause, body, digest"
_BATCH_QUERY = "SELECT {} FROM entry WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
_ROWS_QUERY = _BATCH_QUERY.format(_COLUMNS)
_ENTRIES_QUERY = _BATCH_QUERY.format(_COLUMNS.removesuffix(", digest"))  # a twentieth faster
_ROW_QUERY = f"SELECT {_COLUMNS} FROM entry WHERE seq = ?"
_LAST_ROW_QUERY = (
    "SELECT seq, digest, CAST(at AS BLOB), uptime_ms FROM entry ORDER BY seq DESC LIMIT 1"
)

_SEQ_MAX = 2**63 - 1
_LATEST_TIME_TEXT = "9999-99"  # later than any time of an entry, as text
_ENTRY_BYTES_MIN = 64  # a digest, a time and the least for the other columns
_PROBED_SEQS_MAX = 64 * BATCH_ROWS  # tried after a damaged head: a tenth of a second
_NOT_FOUND = "a damaged page hides it from a search by number"


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
    """A search reports only entries it can read; `verify` reports damage."""


class Reader:
    """A journal, open for reading: in use, closed, or a copy of either.

    May be used in any thread, by one at a time. A context manager.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        registry: Registry,
        *,
        is_rebuildable: bool = False,
    ) -> None:
        """Read through an open connection; `Reader.open` opens one.

        Args:
            path: the file.
            connection: to it.
            registry: the kinds of event.
            is_rebuildable: an entry that a damaged page hides raises JournalDamaged, even where
                damage is accepted, because `rebuild` finds it.
        """
        self._path = path
        self.connection = connection
        self._registry = registry
        self._is_rebuildable = is_rebuildable

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
        """Close the file."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def journal_id(self) -> str:
        """The UUID that the journal got at the first start.

        Raises:
            JournalFailed: it has none, or cannot be read.
        """
        with translate_errors(self._path):
            row = self.connection.execute("SELECT journal_id FROM meta").fetchone()
        if row is None:
            raise JournalDamaged(f"{self._path}: the journal has no id. Run `station verify`.")
        return str(row[0])

    def position_before_first(self) -> tuple[int, bytes]:
        """Number and digest before the first entry: 0 and the origin.

        Higher only if archived segments were moved elsewhere. The digest is empty if the segment
        with it is damaged.
        """
        with translate_errors(self._path):
            return self._segments.position_before_first(*self.archived_position())

    def archived_position(self) -> tuple[int, bytes]:
        """Number and digest of the last entry that has left the file; 0 and origin if none has.

        The digest is empty if the table was altered and holds none.
        """
        with translate_errors(self._path):
            anchor = self.connection.execute(
                "SELECT seq, digest FROM anchor ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        match anchor:
            case (int(seq), digest):
                return seq, digest if isinstance(digest, bytes) else b""
            case _:
                return 0, origin_digest(self.journal_id)

    def read_head(self) -> Head:
        """The end of the chain.

        A changed last entry does not stop the station: a column that cannot be read gets the value
        before the first entry, and the chain continues; `verify` reports where it is broken.

        Raises:
            JournalFailed: the end of the file cannot be read.
        """
        with translate_errors(self._path):
            last = self.connection.execute(_LAST_ROW_QUERY).fetchone()
        if last is None:
            return Head(*self.archived_position(), at=None, uptime_ms=0)
        seq, digest, at_bytes, uptime_ms = last
        if self._is_rebuildable and not self._is_found_by_number(seq):
            raise JournalDamaged(f"{self._path}: entry {seq}: {_NOT_FOUND}.")
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

        Rows on damaged pages, or hidden by one, are passed to `on_damage` and skipped; of a range
        missing from the archive, the first. Other missing numbers are not reported: compare `seq`.

        Raises:
            JournalFailed: on a damaged page, without `on_damage`.
        """
        for batch in self._read_batches(_ROWS_QUERY, first, last, on_damage):
            yield from map(EntryRow._make, batch)

    def iter_entries(
        self, first: int = 1, last: int | None = None, *, on_damage: OnDamage | None = None
    ) -> Iterator[Entry]:
        """Entries `first` to `last` in order; `last` None: to the end.

        Entries that cannot be read are passed to `on_damage` and skipped.

        Raises:
            JournalFailed: on an entry that cannot be read, without `on_damage`.
        """
        batches = self._read_batches(_ENTRIES_QUERY, first, last, on_damage)
        return self._decode_batches(batches, on_damage)

    def iter_entries_of(self, kinds: Collection[str], last: int) -> Iterator[Entry]:
        """The entries of some kinds from 1 to `last`, in order. Bodies of others are not decoded.

        Raises:
            JournalFailed: an entry of any kind is missing or cannot be read from the file, has a
                kind that this release does not have, or is one of `kinds` and does not decode.
        """
        batches = self._read_batches(_ENTRIES_QUERY, 1, last, None)
        return self._decode_batches(self._select_kinds(batches, kinds, last), None)

    def _select_kinds(
        self, batches: Iterable[list[Any]], kinds: Collection[str], last: int
    ) -> Iterator[list[Any]]:
        """The rows of some kinds, if every row up to `last` is there."""
        expected, known_kinds = 1, self._registry.kinds.keys()
        for batch in batches:
            following = range(expected, expected + len(batch))
            if [row[0] for row in batch] != list(following) or not known_kinds >= {
                row[3] for row in batch
            }:
                break
            expected = following.stop
            yield [row for row in batch if row[3] in kinds]
        if expected <= last:
            reason = "this entry or one soon after it is missing or of an unknown kind"
            self._report_damage(expected, reason, None)

    def _decode_batches(
        self, batches: Iterable[list[Any]], on_damage: OnDamage | None
    ) -> Iterator[Entry]:
        decoders = self._registry.decoders
        for batch in batches:
            for seq, at, uptime_ms, kind, version, cause, body in batch:
                try:
                    entry = Entry(
                        seq, parse_time(at), uptime_ms, decoders[kind, version](body), cause
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
            reason = describe_decode_error(row.kind, row.version, error)
            raise JournalFailed(f"{self._path}: entry {seq}: {reason}.") from error

    def find_seqs(
        self,
        *,
        count_max: int,
        before_seq: int = _SEQ_MAX,
        oldest: datetime | None = None,
        latest: datetime | None = None,
        kinds: Collection[str] = (),
        containing: str = "",
        on_damage: OnDamage = _ignore_damage,
    ) -> list[int]:
        """The numbers of the newest matching entries, in ascending order. Blocks meanwhile.

        Entries on damaged pages are passed to `on_damage` and skipped. Every number must follow the
        one before it; numbers that were not found are compared with a scan of the table.

        Args:
            count_max: at most this many.
            before_seq: only lower numbers.
            oldest: only entries of this time and later; both ends by the wall clock, which may
                have been set in between.
            latest: only entries of this time and earlier.
            kinds: only these; empty: all.
            containing: only bodies that contain this text.
            on_damage: of entries in the file that cannot be searched.

        Raises:
            JournalDamaged: a damaged page hides entries, and a rebuild finds them.
        """
        query = (
            "SELECT seq, at >= ? AND at <= ? AND instr(body, ?) > 0"
            f" AND ({'kind IN (' + ', '.join('?' * len(kinds)) + ')' if kinds else '1'})"
            " FROM entry WHERE seq < ? ORDER BY seq DESC"
        )
        span = (
            format_time(oldest) if oldest else "",
            format_time(latest) if latest else _LATEST_TIME_TEXT,
        )

        def fits(at: str, kind: str, body: str) -> bool:
            kind_matches = not kinds or kind in kinds
            return kind_matches and span[0] <= at <= span[1] and containing in body

        try:
            live = self.connection.execute(query, (*span, containing, *kinds, before_seq))
            seqs = self._take_matching(live, before_seq, count_max, on_damage)
        except READ_ERRORS:  # a damaged page ends a query; row by row the others can be read
            rows = self.iter_rows(1, before_seq - 1, on_damage=on_damage)
            return list(
                deque(
                    (row.seq for row in rows if fits(row.at, row.kind, row.body)), maxlen=count_max
                )
            )
        for seq in self._find_archived_seqs(seqs[-1] if seqs else before_seq, fits):
            if len(seqs) >= count_max:
                break
            seqs.append(seq)
        return seqs[::-1]

    def _take_matching(
        self,
        rows: Iterable[tuple[int, int]],
        before_seq: int,
        count_max: int,
        on_damage: OnDamage,
    ) -> list[int]:
        """The numbers of the first `count_max` rows that match.

        Args:
            rows: number, and whether it matches; from the newest before `before_seq` on.

        Raises:
            _RowsOutOfOrder: a damaged page led to a number that is not lower than the one before.
        """
        seqs, gaps = list[int](), _GapCheck(self, on_damage)
        expected, highest = min(before_seq - 1, self._head_seq() or 0), before_seq - 1
        for seq, matches in rows:
            if seq > highest:
                raise _RowsOutOfOrder("rows are out of order")
            highest = seq - 1
            if seq < expected:
                gaps.check(seq + 1, expected)
            expected = seq - 1
            if matches:
                seqs.append(seq)
                if len(seqs) == count_max:
                    return seqs
        gaps.check(1, expected)
        return seqs

    def digest_at(self, seq: int) -> bytes | None:
        """The digest of one entry as it was written; None if there is no such entry."""
        row = self._find_row(seq)
        return row and bytes(row.digest)

    def value_of(self, ref: str) -> str | None:
        """The personal value of a reference; None if it was erased or never existed."""
        with translate_errors(self._path):
            row = self.connection.execute(
                "SELECT value FROM id_token WHERE ref = ?", (ref,)
            ).fetchone()
        # Zeros: erased by `journal.maintenance.erase_quarantined`
        return (str(row[0]).strip("\0") or None) if row else None

    def find_references(self, value: str) -> list[IdToken]:
        """Every reference of a personal value, of any type."""
        with translate_errors(self._path):
            rows = self.connection.execute(
                "SELECT ref, type, folded FROM id_token WHERE folded IN (?, ?)",
                (value, value.casefold()),
            ).fetchall()
        return [
            IdToken(str(ref), type)
            for ref, type, folded in rows
            if folded == fold_case(type, value)
        ]

    def find_reference(self, type: str, value: str) -> IdToken | None:
        """The reference of a personal value; None if the journal has none."""
        with translate_errors(self._path):
            row = self.connection.execute(
                "SELECT ref FROM id_token WHERE type = ? AND folded = ?",
                (type, fold_case(type, value)),
            ).fetchone()
        return row and IdToken(str(row[0]), type)

    @cached_property
    def _segments(self) -> Archive:
        return Archive(self._path, self.journal_id)

    def _find_row(self, seq: int) -> EntryRow | None:
        """One row by its number, from the file or the archive.

        Raises:
            JournalFailed: it cannot be read.
        """
        with translate_errors(self._path):
            columns = self.connection.execute(_ROW_QUERY, (seq,)).fetchone()
            if columns is not None:
                return EntryRow._make(columns)
            if not 0 < seq <= self._last_archived_seq():
                if 0 < seq <= (self._head_seq() or 0) and self._is_in_table(seq):
                    raise JournalDamaged(f"{self._path}: entry {seq}: {_NOT_FOUND}.")
                return None
            block = self._segments.find_block(seq)
        if isinstance(block, MissingRange):
            raise JournalFailed(f"{self._path}: entry {seq}: {block.reason}. Run `station verify`.")
        return block and next((row for row in block.iter_rows() if row.seq == seq), None)

    def _is_found_by_number(self, seq: int) -> bool:
        query = "SELECT 1 FROM entry WHERE seq = ?"
        with translate_errors(self._path):
            return self.connection.execute(query, (seq,)).fetchone() is not None

    def _find_archived_seqs(
        self, before_seq: int, fits: Callable[[str, str, str], bool]
    ) -> Iterator[int]:
        """The numbers of matching archived entries, the newest first."""
        with translate_errors(self._path):
            for block in self._segments.iter_blocks_backwards(
                min(before_seq - 1, self._last_archived_seq())
            ):
                for seq, at, _, kind, _, _, body, _ in reversed(block.records):
                    if seq < before_seq and fits(at, kind, body):
                        before_seq = seq  # two segments may contain it
                        yield seq

    def _last_archived_seq(self) -> int:
        """The last archived entry."""
        try:
            (last,) = self.connection.execute("SELECT max(seq) FROM anchor").fetchone()
        except READ_ERRORS:
            return self._segments.last_seq()  # entries in both are the same
        return last or self._segments.last_seq()  # a rebuilt journal may have lost its anchor

    def _report_damage(self, seq: int, reason: str, on_damage: OnDamage | None) -> None:
        if on_damage is None:
            raise JournalFailed(f"{self._path}: entry {seq}: {reason}. Run `station verify` on it.")
        on_damage(EntryDamage(seq, reason))

    def _read_batches(
        self, query: str, first: int, last: int | None, on_damage: OnDamage | None
    ) -> Iterator[list[Any]]:
        """The rows of `query` in batches; each row begins with its number.

        Every entry that is in the file is in a batch, or reported.
        """
        last = _SEQ_MAX if last is None else last
        expected, head = first, 0
        gaps = _GapCheck(self, on_damage)
        while expected <= last:
            for batch in self._read_found_batches(query, expected, last, gaps.on_damage):
                if batch[-1][0] - expected >= len(batch):
                    for row in batch:
                        gaps.check(expected, row[0] - 1)
                        expected = row[0] + 1
                expected = batch[-1][0] + 1
                yield batch
            gaps.check(expected, gaps.last_reported_seq)
            expected = max(expected, gaps.last_reported_seq + 1)
            if expected <= head:  # committed before the last search began, and not found by it
                gaps.check(expected, min(last, head))
                return
            head = self._head_seq() or 0
            if expected > head:
                return

    def _read_found_batches(
        self, query: str, first: int, last: int, on_damage: OnDamage | None
    ) -> Iterator[list[Any]]:
        """As `_read_batches`, without the entries that a damaged page hides."""
        last_read = first - 1
        while first <= last:
            batch, error = self._try_read_batch(query, first, last)
            if not (batch and batch[0][0] == first) and first <= (
                archived := self._last_archived_seq()
            ):
                yield from self._read_archived_batches(query, first, min(last, archived), on_damage)
                last_read = min(last, archived)
            elif error is not None:
                if self._is_rebuildable and isinstance(error, _RowsOutOfOrder):
                    raise JournalDamaged(f"{self._path}: entry {first} or later: {error}.")
                if on_damage is None:
                    raise JournalFailed(
                        f"{self._path}: {error} after entry {first - 1}. Run `station verify`."
                    ) from error
                end = min(last, first + BATCH_ROWS - 1, self._highest_possible_seq(last_read))
                for batch in self._read_around_damage(query, first, end, on_damage):
                    yield batch
                    last_read = batch[-1][0]
                if end < first:
                    return
                first = end + 1
                continue
            elif not batch:
                return
            else:
                yield batch
                last_read = batch[-1][0]
            first = last_read + 1

    def _read_archived_batches(
        self, query: str, first: int, last: int, on_damage: OnDamage | None
    ) -> Iterator[list[Any]]:
        """The rows of `query` for archived entries."""
        with translate_errors(self._path):
            for block in self._segments.iter_blocks(first, last):
                if isinstance(block, MissingRange):
                    self._report_damage(block.first_seq, block.reason, on_damage)
                    continue
                batch = _select_columns(query, block, first, last)
                if batch:
                    yield batch
                first = max(first, block.last_seq + 1)  # two segments may contain it

    def _try_read_batch(
        self, query: str, first: int, last: int
    ) -> tuple[list[Any], BaseException | None]:
        try:
            return self._read_batch(query, first, last), None
        except READ_ERRORS as error:
            return [], error

    def _read_batch(self, query: str, first: int, last: int) -> list[Any]:
        rows = min(BATCH_ROWS, last - first + 1)  # no row further: it may be on a damaged page
        batch = self.connection.execute(query, (first, last, rows)).fetchall()
        seqs = [row[0] for row in batch]
        if seqs and not (
            first <= seqs[0] <= seqs[-1] <= last
            and (seqs == list(range(seqs[0], seqs[-1] + 1)) or seqs == sorted(set(seqs)))
        ):
            raise _RowsOutOfOrder("rows are out of order")  # reading on might never end
        return batch

    def _read_around_damage(
        self, query: str, first: int, last: int, on_damage: OnDamage
    ) -> Iterator[list[tuple]]:  # type: ignore[type-arg]
        """Read what can be read of a damaged range, by halves."""
        if first > last:
            return
        try:
            batch = self._read_batch(query, first, last)
        except READ_ERRORS as error:
            if first == last:
                on_damage(EntryDamage(first, str(error) or type(error).__name__))
                return
            middle = (first + last) // 2
            yield from self._read_around_damage(query, first, middle, on_damage)
            yield from self._read_around_damage(query, middle + 1, last, on_damage)
        else:
            if batch:
                yield batch

    def _highest_possible_seq(self, last_read_seq: int) -> int:
        """An upper bound of entry numbers after damage, given the last entry that was read.

        The number of the head, unless that is damaged or too high for the size of the file.
        """
        limit = self._path.stat().st_size // _ENTRY_BYTES_MIN + _PROBED_SEQS_MAX
        head = self._head_seq()
        if head is None:
            return last_read_seq + _PROBED_SEQS_MAX
        return min(head, last_read_seq + limit)

    def _head_seq(self) -> int | None:
        """The highest number in the file, 0 if it has no entry; None if that cannot be read."""
        try:
            (head,) = self.connection.execute("SELECT max(seq) FROM entry").fetchone()
        except READ_ERRORS:
            return None
        return int(head or 0)

    def _is_in_table(self, seq: int) -> bool:
        return any(True for _ in self._scan_table().iter_seqs(seq, seq))

    def _scan_table(self) -> TableScan:
        log = Path(f"{self._path}-wal")
        size = self._path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        return TableScan(self.connection, size // _ENTRY_BYTES_MIN)


class _RowsOutOfOrder(sqlite3.DatabaseError):
    """A damaged page leads to rows that do not follow each other."""


class _GapCheck:
    """Whether numbers that were not found during one reading are missing, or hidden by damage.

    Attributes:
        on_damage: reports damage found by the reading; None: damage ends the reading.
        last_reported_seq: the highest number that was reported.
    """

    def __init__(self, reader: Reader, on_damage: OnDamage | None) -> None:
        self.on_damage = on_damage and self._report
        self.last_reported_seq = 0
        self._reader = reader
        self._pass_on = on_damage or _ignore_damage
        self._reported: set[int] = set()
        self._scan: TableScan | None = None

    def check(self, first: int, last: int) -> None:
        """Report the entries from `first` to `last`, of which none was found, that a scan finds.

        Raises:
            JournalFailed: there is one, and damage ends the reading.
            JournalDamaged: there is one, and a rebuild finds it.
        """
        if first > last:
            return
        first = max(first, self._reader._last_archived_seq() + 1)  # the archive reports its own
        if first > last:
            return
        self._scan = self._scan or self._reader._scan_table()
        for seq in self._scan.iter_seqs(first, last):
            if seq in self._reported:
                continue
            if self._reader._is_rebuildable:
                raise JournalDamaged(f"{self._reader._path}: entry {seq}: {_NOT_FOUND}.")
            self._reader._report_damage(seq, _NOT_FOUND, self.on_damage)
        unread = self._scan.first_unread(first, last)
        if unread is not None and unread not in self._reported:
            self._reader._report_damage(unread, _NOT_FOUND, self.on_damage)

    def _report(self, damage: EntryDamage) -> None:
        if damage.seq not in self._reported:
            self._reported.add(damage.seq)
            self.last_reported_seq = max(self.last_reported_seq, damage.seq)
            self._pass_on(damage)


def _select_columns(query: str, block: Block, first: int, last: int) -> list[Any]:
    if query == _ROWS_QUERY:
        return [row for row in block.iter_rows() if first <= row.seq <= last]
    return [record[:-1] for record in block.records_within(first, last)]
