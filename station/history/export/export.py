"""How does a table of a journal get into files?

One walk, from the first entry to the end of the range, with the chain checked on the way. Nothing
that happened after the range counts, so that the same range gives the same bytes ever after.
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
from journal.storage.errors import JournalFailed
from journal.storage.reader import EntryDamage, Reader
from station.history.export.table import TableRow
from station.history.export.tables import TABLE_COLUMNS, Reveal, create_table
from station.history.export.transaction_rows import EXACT_CONTEXT
from station.history.export.writers import TableWriter

SUMMED_COLUMNS: Final = {
    "transactions": ("energy_wh", "messages", "delivered", "parked", "dropped"),
    "states": ("duration_ms",),
    "faults": ("duration_ms",),
}
DAMAGED_RANGES_MAX: Final = 100  # damaged places that are told one by one

_ID_TOKEN_REFERENCE = re.compile(r"#[0-9a-f]{16}")


class DamagedRange(NamedTuple):
    """Entries in a row that are not as they were written."""

    first_seq: int
    last_seq: int
    why: str

    def __str__(self) -> str:
        upto = f" (to {self.last_seq})" if self.last_seq > self.first_seq else ""
        return f"entry {self.first_seq}: {self.why}{upto}"


DamagedRanges = list[DamagedRange]


class TimeRange(NamedTuple):
    """From `since`, until but not including `until`, on the station's clock; None: no end."""

    since: datetime | None = None
    until: datetime | None = None

    def contains(self, at: datetime) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class ExportResult(NamedTuple):
    """What an export came to."""

    first_entry: int
    last_entry: int
    last_digest: bytes
    totals: dict[str, str]
    damaged_ranges: DamagedRanges  # where the journal is not whole


def make_revealer(find_value: ValueOf | None, *, quoted: bool = False) -> Reveal:
    """Puts the values of references in; without a table to look in, nothing.

    `quoted`: the text is JSON, where a value may need escapes.
    """
    if find_value is None:
        return lambda text: text

    def value(found: re.Match[str]) -> str:
        known = find_value(found[0])
        if known is None:
            return found[0]  # erased: the reference stays
        return msgspec.json.encode(known).decode()[1:-1] if quoted else known

    return lambda text: _ID_TOKEN_REFERENCE.sub(value, text)


def find_last_entry(reader: Reader, time_range: TimeRange) -> int:
    """The last entry that the range knows; 0: none."""
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
    """Write the rows of a table that lie in the range; `advance` hears how many entries are done.

    Raises:
        JournalFailed: the file cannot be read at all.
        OSError: a file cannot be written.
    """
    walk = _ExportWalk(reader, registry, find_last_entry(reader, time_range))
    rows, sums = create_table(table_name, reveal, walk.find_entry), _ColumnSums(table_name)

    def take(lines: Iterator[TableRow]) -> None:
        for line in lines:
            if time_range.contains(line.at):
                writer.write(line)
                sums.add(line)

    for row, entry in walk.read_entries(on_progress):
        take(rows.apply(entry, row))
    take(rows.finish(open_ended=time_range.until is None))
    writer.close()
    return ExportResult(
        walk.first_seq, walk.last_seq, walk.last_digest, sums.totals, walk.damaged_ranges
    )


class _ExportWalk:
    """The entries in order, and whether they are all there and unchanged."""

    def __init__(self, reader: Reader, registry: Registry, last_seq: int) -> None:
        self._reader = reader
        self._registry = registry
        archived, self.last_digest = reader.position_before_first()
        self.first_seq = archived + 1
        self.last_seq = last_seq
        self.damaged_ranges: DamagedRanges = []

    def find_entry(self, seq: int) -> Entry | None:
        """One entry by its number; None if it cannot be read."""
        try:
            return self._reader.read_entry(seq)
        except (LookupError, JournalFailed):
            return None

    def read_entries(self, on_progress: Callable[[int], None]) -> Iterator[tuple[EntryRow, Entry]]:
        due = self.first_seq
        for row in self._reader.iter_rows(self.first_seq, self.last_seq, on_damage=self._on_damage):
            if row.seq != due:
                self._record_missing(due, row.seq - 1)
            elif not self._continues_chain(row):
                self._record_damage(row.seq, "changed, or does not follow the entry before")
            self.last_digest = row.digest if isinstance(row.digest, bytes) else b""
            due = row.seq + 1
            entry = self._decode_row(row)
            if entry is not None:
                yield row, entry
            if row.seq % 256 == 0:
                on_progress(row.seq)
        if due <= self.last_seq:
            self._record_missing(due, self.last_seq)
        on_progress(self.last_seq)

    def _continues_chain(self, row: EntryRow) -> bool:
        try:
            return bool(entry_digest(self.last_digest, *row[:-1]) == row.digest)
        except (TypeError, AttributeError, UnicodeEncodeError):
            return False  # a column is not what it should be

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
        """No rows stand there. Damage was told by its beginning; it reaches to the next."""
        told = [one for one in self.damaged_ranges if one.first_seq >= first_seq]
        del self.damaged_ranges[len(self.damaged_ranges) - len(told) :]
        end, *ends = [*(one.first_seq - 1 for one in told), last_seq]
        if first_seq <= end:
            self._record_damage(first_seq, "missing", end)
        for one, end in zip(told, ends, strict=True):
            self._record_damage(one.first_seq, one.why, end)

    def _record_damage(self, first_seq: int, why: str, last_seq: int = 0) -> None:
        """Note a place; what goes on where the place before ends, for the same reason, is of it."""
        known = self.damaged_ranges[-1] if self.damaged_ranges else None
        if known and (known.last_seq + 1, known.why) == (first_seq, why):
            self.damaged_ranges[-1] = known._replace(last_seq=max(first_seq, last_seq))
        elif len(self.damaged_ranges) < DAMAGED_RANGES_MAX:
            self.damaged_ranges.append(DamagedRange(first_seq, max(first_seq, last_seq), why))


class _ColumnSums:
    """Totals over all rows, to the last digit."""

    def __init__(self, table_name: str) -> None:
        names = [name for name, _ in TABLE_COLUMNS[table_name]]
        self._column_indexes = {
            name: names.index(name) for name in SUMMED_COLUMNS.get(table_name, ())
        }
        self._sum_by_column: dict[str, Decimal | int] = dict.fromkeys(self._column_indexes, 0)
        self._row_count = 0

    def add(self, table_row: TableRow) -> None:
        self._row_count += 1
        for name, place in self._column_indexes.items():
            value = table_row.values[place]
            if value is not None:
                self._sum_by_column[name] = EXACT_CONTEXT.add(
                    Decimal(self._sum_by_column[name]), Decimal(value)
                )

    @property
    def totals(self) -> dict[str, str]:
        sums = {name: format(Decimal(value), "f") for name, value in self._sum_by_column.items()}
        return {"rows": str(self._row_count)} | sums
