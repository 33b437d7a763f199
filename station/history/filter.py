"""Which entries does somebody want to read who asks for an EVSE, a transaction, a block or a kind?

An observation concerns what its decisions concern: the deadline at which a transaction was ended
is part of that transaction's story, though it names none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from journal.events import Entry, Observation
from station.history.subjects import WHOLE_STATION_ID, Subject, SubjectTracker


class FilterCriteria(NamedTuple):
    """What is asked for. Each part that is not empty must hold; any one of its members will do."""

    evse_ids: frozenset[int] = frozenset()
    transaction_prefixes: tuple[str, ...] = ()  # beginnings of transactionIds, in small letters
    blocks: frozenset[str] = frozenset()  # capital letters
    kinds: frozenset[str] = frozenset()

    @property
    def needs_subject(self) -> bool:
        """Whether more must be known than an entry's kind."""
        return bool(self.evse_ids or self.transaction_prefixes or self.blocks)

    def matches_subject(self, subject: Subject) -> bool:
        """Whether an entry about this is meant."""
        return (
            self._matches_evses(subject.evse_ids)
            and self._matches_transactions(subject.transaction_ids)
            and (not self.blocks or not self.blocks.isdisjoint(subject.blocks))
        )

    def _matches_evses(self, evse_ids: frozenset[int]) -> bool:
        return (
            not self.evse_ids
            or WHOLE_STATION_ID in evse_ids
            or not self.evse_ids.isdisjoint(evse_ids)
        )

    def _matches_transactions(self, transaction_ids: frozenset[str]) -> bool:
        wanted = self.transaction_prefixes
        return not wanted or any(name.casefold().startswith(wanted) for name in transaction_ids)


class EntryFilter:
    """One walk through a journal, in order. Holds back one observation and its decisions."""

    def __init__(self, criteria: FilterCriteria, first_seq: int) -> None:
        """Let through what is wished for from entry `first` on; hears what came before, too."""
        self._criteria = criteria
        self._first_seq = first_seq
        self._subject_tracker = SubjectTracker()
        self._group: list[tuple[Entry, bool]] = []

    def filter_entry(self, entry: Entry) -> Iterator[Entry]:
        """What can be told now that this entry is known."""
        if not self._criteria.needs_subject:
            yield from self._filter_kind(entry)
            return
        if isinstance(entry.event, Observation):
            yield from self.flush_group()
        self._group.append(
            (entry, self._criteria.matches_subject(self._subject_tracker.find_subject(entry)))
        )

    def flush_group(self) -> Iterator[Entry]:
        """What was held back and need not be: nothing more comes for it, or nothing is known to."""
        group, self._group = self._group, []
        led = any(meant for _, meant in group)
        for entry, meant in group:
            if meant or (led and isinstance(entry.event, Observation)):
                yield from self._filter_kind(entry)

    def _filter_kind(self, entry: Entry) -> Iterator[Entry]:
        kinds = self._criteria.kinds
        if entry.seq >= self._first_seq and (not kinds or type(entry.event).__name__ in kinds):
            yield entry
