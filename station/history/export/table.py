"""Parts that the tables of an export share: columns, rows, the quality of a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.projections.clock import Clock

ColumnType = Literal["text", "int", "decimal", "time"]
Columns = tuple[tuple[str, ColumnType], ...]
SYNCHRONIZED: Final = "synchronized"
NOT_SYNCHRONIZED: Final = "not synchronized"


class TableRow(NamedTuple):
    """A row of a table, and the time by which it belongs to a range."""

    at: datetime
    values: tuple[Any, ...]


class Table(Protocol):
    """Reads the entries of a journal in order and returns rows."""

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        """The rows that this entry completes."""

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        """The rows that are still incomplete.

        Args:
            open_ended: the journal ends here, not only the range.
        """


class ClockQuality:
    """Whether the CSMS had set the wall clock in this run before an entry."""

    def __init__(self) -> None:
        self._clock_projection = Clock()

    def assess_time(self, entry: Entry) -> str:
        """The quality of the time of `entry`. A correction counts from the next entry on."""
        was_synchronized = self._clock_projection.synchronized
        if isinstance(entry.event, Clock.HANDLES):
            self._clock_projection = self._clock_projection.apply(entry)
        return SYNCHRONIZED if was_synchronized else NOT_SYNCHRONIZED
