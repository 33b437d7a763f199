"""What is a table of an export made of?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from journal.chain import Row
from journal.projections.clocks import Clock
from journal.terms import Entry

Kind = Literal["text", "int", "decimal", "time"]
Columns = tuple[tuple[str, Kind], ...]
TRUSTED: Final = "synchronised"
UNTRUSTED: Final = "not synchronised"


class Line(NamedTuple):
    """A row of a table, and the moment that says which range it belongs to."""

    at: datetime
    values: tuple[Any, ...]


class Table(Protocol):
    """Hears a journal and gives rows."""

    def hears(self, entry: Entry, row: Row) -> Iterator[Line]:
        """The rows that are complete with this entry."""

    def ends(self, *, ever: bool) -> Iterator[Line]:
        """The rows that are not. `ever`: the journal ends here, and not only the range."""


class Clocked:
    """Whether the wall clock of an entry had been set by the CSMS in this run."""

    def __init__(self) -> None:
        self._clock = Clock()

    def quality(self, entry: Entry) -> str:
        """Of the entry's own time; a correction counts from the next entry on."""
        before = self._clock.synchronised
        if isinstance(entry.event, Clock.HEARS):
            self._clock = self._clock.after(entry)
        return TRUSTED if before else UNTRUSTED
