"""Writes one table of a journal to files.

The journal is read once, from its first entry to the end of the range, and the hash chain is
checked on the way. Entries after the range are not used, so the same range always gives the same
bytes, however the journal continues.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from journal.codec import DECODE_ERRORS, Registry, parse_time
from journal.events import Entry
from journal.format.hash_chain import EntryRow, entry_digest
from journal.format.id_tokens import ValueOf
from journal.projections.energy_ledger import EXACT_CONTEXT
from journal.storage.errors import JournalFailed
from journal.storage.reader import EntryDamage, Reader
from station.history.export.table import TableRow
from station.history.export.tables import TABLE_COLUMNS, Reveal, create_table
from station.history.export.writers import TableWriter

SUMMED_COLUMNS: Final = {
    "transactions": (
        "energy_wh",
        "message_count",
        "delivered_count",
        "parked_count",
        "dropped_count",
    ),
    "unaccounted": ("energy_wh",),
    "states": ("duration_ms",),
    "faults": ("duration_ms",),
}
DAMAGED_RANGES_MAX: Final = 100  # damaged ranges that are listed

_ID_TOKEN_REFERENCE = re.compile(r"#[0-9a-f]{16}")


class DamagedRange(NamedTuple):
    """Consecutive entries that are missing, changed or unreadable."""

    first_seq: int
    last_seq: int
    reason: str

    def __str__(self) -> str:
        end = f" (to {self.last_seq})" if self.last_seq > self.first_seq else ""
        return f"entry {self.first_seq}: {self.reason}{end}"


DamagedRanges = list[DamagedRange]


class TimeRange(NamedTuple):
    """From `since` to before `until`, by the station's clock; None: unbounded."""

    since: datetime | None = None
    until: datetime | None = None

    def contains(self, at: datetime) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class ExportResult(NamedTuple):
    """The range, head and totals of an export, for its manifest."""

    first_seq: int
    last_seq: int
    last_digest: bytes
    totals: dict[str, str]
    damaged_ranges: DamagedRanges  # empty: every entry was there, readable and unchanged


def make_revealer(find_value: ValueOf | None, *, quoted: bool = False) -> Reveal:
    """A function that replaces references by their values.

    Args:
        find_value: the value of a reference; None: change nothing.
        quoted: the text is JSON, in which a value may need escapes.
    """
    if find_value is None:
        return lambda text: text

    def value_of(reference: re.Match[str]) -> str:
        value = find_value(reference[0])
        if value is None:
            return reference[0]  # erased: the reference stays
        return msgspec.json.encode(value).decode()[1:-1] if quoted else value

    return lambda text: _ID_TOKEN_REFERENCE.sub(value_of, text)


def find_last_entry(reader: Reader, time_range: TimeRange) -> int:
    """The last entry in the range; 0: none."""
    if time_range.until is None:
        return reader.read_head().seq
    latest = time_range.until - timedelta(milliseconds=1)
    return next(iter(reader.find_seqs(count_max=1, latest=latest)), 0)


def export_table(
    reader: Reader,
    registry: Registry,
    table_name: str,
    time_range: TimeRange,
    writer: TableWriter,
    *,
    reveal: Reveal,
    on_progress: Callable[[int], None],
) -> ExportResult:
    """Write the rows of a table that belong to the range.

    Args:
        on_progress: called with the number of the last entry read.

    Raises:
        JournalFailed: the file cannot be read at all.
        OSError: a file cannot be written.
    """
    walk = _ExportWalk(reader, registry, find_last_entry(reader, time_range))
    table, sums = create_table(table_name, reveal, walk.find_entry), _ColumnSums(table_name)

    def write_rows(rows: Iterator[TableRow]) -> None:
        for table_row in rows:
            if time_range.contains(table_row.at):
                writer.write(table_row)
                sums.add(table_row)

    for row, entry in walk.read_entries(on_progress):
        write_rows(table.apply(entry, row))
    write_rows(table.finish(open_ended=time_range.until is None))
    writer.close()
    return ExportResult(
        walk.first_seq, walk.last_seq, walk.last_digest, sums.totals, walk.damaged_ranges
    )


class _ExportWalk:
    """Reads the entries in order and collects what is missing, changed or unreadable."""

    def __init__(self, reader: Reader, registry: Registry, last_seq: int) -> None:
        self._reader = reader
        self._registry = registry
        archived_seq, self.last_digest = reader.position_before_first()
        self.first_seq = archived_seq + 1
        self.last_seq = last_seq
        self.damaged_ranges: DamagedRanges = []

    def find_entry(self, seq: int) -> Entry | None:
        """An entry by its number; None if it cannot be read."""
        try:
            return self._reader.read_entry(seq)
        except (LookupError, JournalFailed):
            return None

    def read_entries(self, on_progress: Callable[[int], None]) -> Iterator[tuple[EntryRow, Entry]]:
        next_seq = self.first_seq
        for row in self._reader.iter_rows(self.first_seq, self.last_seq, on_damage=self._on_damage):
            if row.seq != next_seq:
                self._record_missing(next_seq, row.seq - 1)
            elif not self._continues_chain(row):
                self._record_damage(row.seq, "changed, or does not follow the entry before")
            if not isinstance(row.digest, bytes):  # reported above; tables show an empty digest
                row = row._replace(digest=b"")
            self.last_digest = row.digest
            next_seq = row.seq + 1
            entry = self._decode_row(row)
            if entry is not None:
                yield row, entry
            if row.seq % 256 == 0:
                on_progress(row.seq)
        if next_seq <= self.last_seq:
            self._record_missing(next_seq, self.last_seq)
        on_progress(self.last_seq)

    def _continues_chain(self, row: EntryRow) -> bool:
        try:
            return bool(entry_digest(self.last_digest, *row[:-1]) == row.digest)
        except (TypeError, AttributeError, UnicodeEncodeError):
            return False  # a column has the wrong type

    def _decode_row(self, row: EntryRow) -> Entry | None:
        try:
            event = self._registry.decoders[row.kind, row.version](row.body)
            return Entry(row.seq, parse_time(row.at), row.uptime_ms, event, row.cause)
        except DECODE_ERRORS:
            self._record_damage(row.seq, "cannot be read")
            return None

    def _on_damage(self, damage: EntryDamage) -> None:
        self._record_damage(damage.seq, damage.reason)

    def _record_missing(self, first_seq: int, last_seq: int) -> None:
        """There are no rows for these numbers.

        Damage that the reader reported within them has only a first number: it extends to the next
        reported one.
        """
        reported = [damage for damage in self.damaged_ranges if damage.first_seq >= first_seq]
        del self.damaged_ranges[len(self.damaged_ranges) - len(reported) :]
        end, *ends = [*(damage.first_seq - 1 for damage in reported), last_seq]
        if first_seq <= end:
            self._record_damage(first_seq, "missing", end)
        for damage, end in zip(reported, ends, strict=True):
            self._record_damage(damage.first_seq, damage.reason, end)

    def _record_damage(self, first_seq: int, reason: str, last_seq: int = 0) -> None:
        """Add a damaged range, or extend the last one if it ends here and has the same reason."""
        last = self.damaged_ranges[-1] if self.damaged_ranges else None
        if last and (last.last_seq + 1, last.reason) == (first_seq, reason):
            self.damaged_ranges[-1] = last._replace(last_seq=max(first_seq, last_seq))
        elif len(self.damaged_ranges) < DAMAGED_RANGES_MAX:
            self.damaged_ranges.append(DamagedRange(first_seq, max(first_seq, last_seq), reason))


class _ColumnSums:
    """Exact totals over all rows."""

    def __init__(self, table_name: str) -> None:
        names = [name for name, _ in TABLE_COLUMNS[table_name]]
        self._column_indexes = {
            name: names.index(name) for name in SUMMED_COLUMNS.get(table_name, ())
        }
        self._sum_by_column: dict[str, Decimal | int] = dict.fromkeys(self._column_indexes, 0)
        self._row_count = 0

    def add(self, table_row: TableRow) -> None:
        self._row_count += 1
        for name, index in self._column_indexes.items():
            value = table_row.values[index]
            if value is not None:
                self._sum_by_column[name] = EXACT_CONTEXT.add(
                    Decimal(self._sum_by_column[name]), Decimal(value)
                )

    @property
    def totals(self) -> dict[str, str]:
        sums = {name: format(Decimal(value), "f") for name, value in self._sum_by_column.items()}
        return {"rows": str(self._row_count)} | sums
