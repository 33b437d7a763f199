"""Filter of entries by EVSE, transaction, OCPP block and kind, for `station replay`.

An observation matches if one of its decisions matches: the deadline at which a transaction was
stopped has no transactionId, but belongs to that transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from journal.events import Entry, Observation
from station.history.subjects import WHOLE_STATION_ID, Subject, SubjectTracker


class FilterCriteria(NamedTuple):
    """A criterion per field; an entry must match every field that is not empty, by any member."""

    evse_ids: frozenset[int] = frozenset()
    transaction_prefixes: tuple[str, ...] = ()  # beginnings of transactionIds, in lower case
    blocks: frozenset[str] = frozenset()  # capital letters
    kinds: frozenset[str] = frozenset()

    @property
    def needs_subject(self) -> bool:
        """Whether more than the kind of an entry is needed."""
        return bool(self.evse_ids or self.transaction_prefixes or self.blocks)

    def matches_subject(self, subject: Subject) -> bool:
        """Whether an entry with this subject matches."""
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
        prefixes = self.transaction_prefixes
        return not prefixes or any(
            transaction_id.casefold().startswith(prefixes) for transaction_id in transaction_ids
        )


class EntryFilter:
    """Filters a journal, read once, in order. Keeps one observation and its decisions back."""

    def __init__(self, criteria: FilterCriteria, first_seq: int) -> None:
        """Return entries from `first_seq` on; earlier entries are applied for their references."""
        self._criteria = criteria
        self._first_seq = first_seq
        self._subject_tracker = SubjectTracker()
        self._group: list[tuple[Entry, bool]] = []

    def filter_entry(self, entry: Entry) -> Iterator[Entry]:
        """The matching entries of the group that this entry completes."""
        if not self._criteria.needs_subject:
            yield from self._filter_kind(entry)
            return
        if isinstance(entry.event, Observation):
            yield from self.flush_group()
        self._group.append(
            (entry, self._criteria.matches_subject(self._subject_tracker.find_subject(entry)))
        )

    def flush_group(self) -> Iterator[Entry]:
        """The matching entries of the last group; call it also at the end of the journal."""
        group, self._group = self._group, []
        any_matches = any(matches for _, matches in group)
        for entry, matches in group:
            if matches or (any_matches and isinstance(entry.event, Observation)):
                yield from self._filter_kind(entry)

    def _filter_kind(self, entry: Entry) -> Iterator[Entry]:
        kinds = self._criteria.kinds
        if entry.seq >= self._first_seq and (not kinds or type(entry.event).__name__ in kinds):
            yield entry
