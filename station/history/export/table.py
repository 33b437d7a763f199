"""What is a table of an export made of?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.projections.clock import Clock

ColumnType = Literal["text", "int", "decimal", "time"]
Columns = tuple[tuple[str, ColumnType], ...]
SYNCHRONIZED: Final = "synchronised"
NOT_SYNCHRONIZED: Final = "not synchronised"


class TableRow(NamedTuple):
    """A row of a table, and the moment that says which range it belongs to."""

    at: datetime
    values: tuple[Any, ...]


class Table(Protocol):
    """Hears a journal and gives rows."""

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        """The rows that are complete with this entry."""

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        """The rows that are not. `ever`: the journal ends here, and not only the range."""


class ClockQuality:
    """Whether the wall clock of an entry had been set by the CSMS in this run."""

    def __init__(self) -> None:
        self._clock_projection = Clock()

    def assess_time(self, entry: Entry) -> str:
        """Of the entry's own time; a correction counts from the next entry on."""
        before = self._clock_projection.synchronized
        if isinstance(entry.event, Clock.HANDLES):
            self._clock_projection = self._clock_projection.apply(entry)
        return SYNCHRONIZED if before else NOT_SYNCHRONIZED
