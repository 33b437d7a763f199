"""Which entries does somebody want to read who asks for an EVSE, a transaction, a block or a kind?

An observation concerns what its decisions concern: the deadline at which a transaction was ended
is part of that transaction's story, though it names none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from journal.terms import Entry, Observation
from station.history.subjects import WHOLE_STATION, Concern, Subjects


class Wish(NamedTuple):
    """What is asked for. Each part that is not empty must hold; any one of its members will do."""

    evses: frozenset[int] = frozenset()
    transactions: tuple[str, ...] = ()  # beginnings of transactionIds, in small letters
    blocks: frozenset[str] = frozenset()  # capital letters
    kinds: frozenset[str] = frozenset()

    @property
    def of_subjects(self) -> bool:
        """Whether more must be known than an entry's kind."""
        return bool(self.evses or self.transactions or self.blocks)

    def concerned(self, concern: Concern) -> bool:
        """Whether an entry about this is meant."""
        return (
            self._at(concern.evses)
            and self._of(concern.transactions)
            and (not self.blocks or not self.blocks.isdisjoint(concern.blocks))
        )

    def _at(self, evses: frozenset[int]) -> bool:
        return not self.evses or WHOLE_STATION in evses or not self.evses.isdisjoint(evses)

    def _of(self, names: frozenset[str]) -> bool:
        wanted = self.transactions
        return not wanted or any(name.casefold().startswith(wanted) for name in names)


class Sieve:
    """One walk through a journal, in order. Holds back one observation and its decisions."""

    def __init__(self, wish: Wish, first: int) -> None:
        """Let through what is wished for from entry `first` on; hears what came before, too."""
        self._wish = wish
        self._first = first
        self._subjects = Subjects()
        self._group: list[tuple[Entry, bool]] = []

    def taken(self, entry: Entry) -> Iterator[Entry]:
        """What can be told now that this entry is known."""
        if not self._wish.of_subjects:
            yield from self._told(entry)
            return
        if isinstance(entry.event, Observation):
            yield from self.rest()
        self._group.append((entry, self._wish.concerned(self._subjects.of(entry))))

    def rest(self) -> Iterator[Entry]:
        """What was held back and need not be: nothing more comes for it, or nothing is known to."""
        group, self._group = self._group, []
        led = any(meant for _, meant in group)
        for entry, meant in group:
            if meant or (led and isinstance(entry.event, Observation)):
                yield from self._told(entry)

    def _told(self, entry: Entry) -> Iterator[Entry]:
        kinds = self._wish.kinds
        if entry.seq >= self._first and (not kinds or type(entry.event).__name__ in kinds):
            yield entry
