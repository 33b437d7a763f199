"""How does a table of a journal get into files?

One walk, from the first entry to the end of the range, with the chain checked on the way. Nothing
that happened after the range counts, so that the same range gives the same bytes ever after.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from journal.chain import Row, digest_of
from journal.codec import UNDECODABLE, Registry, at_of
from journal.reader import JournalFailed, Reader
from journal.terms import Entry
from journal.tokens import ValueOf
from station.history.rows import Line
from station.history.sessions import EXACT
from station.history.tables import COLUMNS, Reveal, table
from station.history.writers import Writer

ADDED: Final = {
    "transactions": ("energy_wh", "messages", "delivered", "parked", "dropped"),
    "states": ("duration_ms",),
    "faults": ("duration_ms",),
}
BREAKS_MAX: Final = 100  # damaged places that are told one by one

_REFERENCE = re.compile(r"#[0-9a-f]{16}")


class Break(NamedTuple):
    """Entries in a row that are not as they were written."""

    first: int
    last: int
    why: str

    def __str__(self) -> str:
        upto = f" (to {self.last})" if self.last > self.first else ""
        return f"entry {self.first}: {self.why}{upto}"


Breaks = list[Break]


class Span(NamedTuple):
    """From `since`, until but not including `until`, on the station's clock; None: no end."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class Done(NamedTuple):
    """What an export came to."""

    first_entry: int
    last_entry: int
    last_digest: bytes
    totals: dict[str, str]
    breaks: Breaks  # where the journal is not whole


def revealing(value_of: ValueOf | None, *, quoted: bool = False) -> Reveal:
    """Puts the values of references in; without a table to look in, nothing.

    `quoted`: the text is JSON, where a value may need escapes.
    """
    if value_of is None:
        return lambda text: text

    def value(found: re.Match[str]) -> str:
        known = value_of(found[0])
        if known is None:
            return found[0]  # erased: the reference stays
        return msgspec.json.encode(known).decode()[1:-1] if quoted else known

    return lambda text: _REFERENCE.sub(value, text)


def last_entry(reader: Reader, span: Span) -> int:
    """The last entry that the range knows; 0: none."""
    if span.until is None:
        return reader.head().seq
    latest = span.until - timedelta(milliseconds=1)
    return next(iter(reader.numbers(newest=1, latest=latest)), 0)


def export(
    reader: Reader,
    registry: Registry,
    what: str,
    span: Span,
    writer: Writer,
    *,
    reveal: Reveal,
    advance: Callable[[int], None],
) -> Done:
    """Write the rows of a table that lie in the range; `advance` hears how many entries are done.

    Raises:
        JournalFailed: the file cannot be read at all.
        OSError: a file cannot be written.
    """
    walk = _Walk(reader, registry, last_entry(reader, span))
    rows, sums = table(what, reveal, walk.entry), _Sums(what)

    def take(lines: Iterator[Line]) -> None:
        for line in lines:
            if span.holds(line.at):
                writer.write(line)
                sums.add(line)

    for row, entry in walk.entries(advance):
        take(rows.hears(entry, row))
    take(rows.ends(ever=span.until is None))
    writer.close()
    return Done(walk.first, walk.last, walk.digest, sums.totals, walk.breaks)


class _Walk:
    """The entries in order, and whether they are all there and unchanged."""

    def __init__(self, reader: Reader, registry: Registry, last: int) -> None:
        self._reader = reader
        self._registry = registry
        archived, self.digest = reader.anchor()
        self.first = archived + 1
        self.last = last
        self.breaks: Breaks = []

    def entry(self, seq: int) -> Entry | None:
        """One entry by its number; None if it cannot be read."""
        try:
            return self._reader.entry(seq)
        except (LookupError, JournalFailed):
            return None

    def entries(self, advance: Callable[[int], None]) -> Iterator[tuple[Row, Entry]]:
        due = self.first
        for row in self._reader.rows(self.first, self.last, damaged=self._damaged):
            if row.seq != due:
                self._missing(due, row.seq - 1)
            elif not self._follows(row):
                self._breaks(row.seq, "changed, or does not follow the entry before")
            self.digest = row.digest if isinstance(row.digest, bytes) else b""
            due = row.seq + 1
            entry = self._decoded(row)
            if entry is not None:
                yield row, entry
            if row.seq % 256 == 0:
                advance(row.seq)
        if due <= self.last:
            self._missing(due, self.last)
        advance(self.last)

    def _follows(self, row: Row) -> bool:
        try:
            return bool(digest_of(self.digest, *row[:-1]) == row.digest)
        except (TypeError, AttributeError, UnicodeEncodeError):
            return False  # a column is not what it should be

    def _decoded(self, row: Row) -> Entry | None:
        try:
            event = self._registry.readers[row.kind, row.version](row.body)
            return Entry(row.seq, at_of(row.at), row.uptime_ms, event, row.cause)
        except UNDECODABLE:
            self._breaks(row.seq, "cannot be read")
            return None

    def _damaged(self, damage: Any) -> None:
        self._breaks(damage.seq, damage.why)

    def _missing(self, first: int, last: int) -> None:
        """No rows stand there. Damage was told by its beginning; it reaches to the next."""
        told = [one for one in self.breaks if one.first >= first]
        del self.breaks[len(self.breaks) - len(told) :]
        end, *ends = [*(one.first - 1 for one in told), last]
        if first <= end:
            self._breaks(first, "missing", end)
        for one, end in zip(told, ends, strict=True):
            self._breaks(one.first, one.why, end)

    def _breaks(self, first: int, why: str, last: int = 0) -> None:
        """Note a place; what goes on where the place before ends, for the same reason, is of it."""
        known = self.breaks[-1] if self.breaks else None
        if known and (known.last + 1, known.why) == (first, why):
            self.breaks[-1] = known._replace(last=max(first, last))
        elif len(self.breaks) < BREAKS_MAX:
            self.breaks.append(Break(first, max(first, last), why))


class _Sums:
    """Totals over all rows, to the last digit."""

    def __init__(self, what: str) -> None:
        names = [name for name, _ in COLUMNS[what]]
        self._places = {name: names.index(name) for name in ADDED.get(what, ())}
        self._sums: dict[str, Decimal | int] = dict.fromkeys(self._places, 0)
        self._rows = 0

    def add(self, line: Line) -> None:
        self._rows += 1
        for name, place in self._places.items():
            value = line.values[place]
            if value is not None:
                self._sums[name] = EXACT.add(Decimal(self._sums[name]), Decimal(value))

    @property
    def totals(self) -> dict[str, str]:
        sums = {name: format(Decimal(value), "f") for name, value in self._sums.items()}
        return {"rows": str(self._rows)} | sums
