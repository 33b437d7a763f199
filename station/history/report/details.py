"""Details: what `station why` answers about entries that the page lists.

The newest faults that block charging, refused idTokens, and starts and ends of sessions have one.
A report keeps the links of the newest `LINKED_ENTRIES` entries only and explains at most
`PER_KIND_MAX` entries of each kind, so that neither memory nor page grow with the journal. A cause
before those entries is listed without its own causes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import Final

from journal.events import Entry
from station.history.explain.causes import CausalGraph
from station.history.explain.explanation import Explanation, FetchEntry, History, explain_entry

LINKED_ENTRIES: Final = 50_000  # some 10 MB; two weeks of charging
PER_KIND_MAX: Final = 15


class NewestLinks:
    """The links of the newest entries."""

    def __init__(self) -> None:
        self._graph = CausalGraph()
        self._first_seq = 0  # of the entries with links
        self._forget_seq = 2 * LINKED_ENTRIES

    def apply(self, entry: Entry) -> None:
        """Apply an entry; entries come in order."""
        self._graph.apply(entry)
        if entry.seq >= self._forget_seq:
            self._first_seq = entry.seq - LINKED_ENTRIES
            self._forget_seq = entry.seq + LINKED_ENTRIES
            self._graph.forget_before(self._first_seq)

    def explain_newest(
        self, fetch_entry: FetchEntry, *kinds: Iterable[int]
    ) -> dict[int, Explanation]:
        """Explanations of the newest entries of each kind, by entry number."""
        history = History(self._graph, fetch_entry)
        chosen = (
            islice(sorted(filter(self._is_linked, seqs), reverse=True), PER_KIND_MAX)
            for seqs in kinds
        )
        return {seq: explain_entry(history, seq) for seq in sorted(set(chain(*chosen)))}

    def _is_linked(self, seq: int) -> bool:
        return self._first_seq < seq <= self._graph.last_seq
