"""Where would this release have judged otherwise?

Each observation of a journal is judged once more, with the memory as the journal's own entries
give it, and what comes of it is compared with the decisions that follow in the journal. Ids are
made from the journal's, so equal judgement gives equal bytes. Old decisions stand either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import Final, NamedTuple

from journal.codec import Registry
from journal.events import Entry, Observation
from journal.observations import (
    CertificatePreset,
    ClockStepped,
    CsmsConfigured,
    StationStarted,
    VariablePreset,
)
from journal.state import State, apply_entry
from station.core.context import Product
from station.core.decide import decide
from station.history.json_diff import diff_json
from station.transcript.lines import describe_event

# What a run of the program may hear before its StationStarted: judged as that run's product.
BEFORE_START: Final = (CertificatePreset, ClockStepped, CsmsConfigured, VariablePreset)

CHANGES_MAX: Final = 3  # of one decision: more than a line has room for

DecisionGroup = list[Entry]  # an observation and the decisions made because of it
FindProduct = Callable[[int, StationStarted], Product]


class Deviation(NamedTuple):
    """An observation that today's code judges otherwise, or that cannot be judged again."""

    seq: int
    why: str

    def __str__(self) -> str:
        return f"entry {self.seq}: {self.why}"


class HistoryIncomplete(Exception):
    """The entries do not go on: nothing from there on can be judged. Holds an Otherwise."""


def redecide_entries(
    journal_id: str, entries: Iterable[Entry], registry: Registry, find_product: FindProduct
) -> Iterator[Deviation]:
    """Every observation of which something else would come today, in order. Memory is constant.

    Args:
        journal_id: the UUID that ids are made from.
        entries: of a journal, from its first on. At one that is missing the walk ends, and the
            last of what is given says so.
        registry: writes events, to compare them byte for byte.
        product_of: the product of the run that so began at this entry; may raise what it likes.
    """
    walk = _RedecideWalk(journal_id, registry, find_product)
    try:
        for start, group in _assign_runs(_group_entries(entries)):
            yield from walk.redecide_group(start, group)
    except HistoryIncomplete as broken:
        yield broken.args[0]


class _RedecideWalk:
    """The memory and the product of one walk."""

    def __init__(self, journal_id: str, registry: Registry, find_product: FindProduct) -> None:
        self._state = State(journal_id)
        self._encode_event = registry.encode
        self._find_product = find_product
        self._start_entry: Entry | None = None
        self._product: Product | None = None

    def redecide_group(
        self, start_entry: Entry | None, group: DecisionGroup
    ) -> Iterator[Deviation]:
        """Judge the observation of one group again, and take the group into the memory."""
        heard = group[0]
        product = self._product_for_run(start_entry)
        if not isinstance(heard.event, Observation):
            yield Deviation(heard.seq, "is a decision that follows from no observation")
        elif product is None:
            yield Deviation(heard.seq, "was heard before any start of the program")
        else:
            made, after = decide(product, self._state, heard)
            why = next(self._compare_decisions(group[1:], made[1:]), None)
            if why is None:
                self._state = after  # the entries are the same, so the memory is
                return
            yield Deviation(heard.seq, f"{_describe_entry(heard)}: today's code {why}")
        for entry in group:
            self._state = apply_entry(self._state, entry)

    def _product_for_run(self, start_entry: Entry | None) -> Product | None:
        if start_entry is not None and start_entry is not self._start_entry:
            assert isinstance(start_entry.event, StationStarted), start_entry
            self._product = self._find_product(start_entry.seq, start_entry.event)
            self._start_entry = start_entry
        return self._product

    def _compare_decisions(self, journaled: DecisionGroup, today: DecisionGroup) -> Iterator[str]:
        """What would be otherwise; the first says enough, for the rest may follow from it."""
        for old, new in zip_longest(journaled, today):
            if old is None:
                yield f"would also decide {_describe_entry(new)}"
            elif new is None:
                yield f"would not decide entry {old.seq}, {_describe_entry(old)}"
            elif type(old.event) is not type(new.event):
                yield f"would decide {_describe_entry(new)} in place of entry {old.seq}, {_describe_entry(old)}"
            elif self._encode_event(old.event) != self._encode_event(new.event):
                yield f"would decide entry {old.seq} otherwise, {self._describe_changes(old, new)}"
            elif old != new:
                yield f"would give entry {old.seq} another cause or time"

    def _describe_changes(self, old: Entry, new: Entry) -> str:
        kind = type(old.event).__name__
        (_, _, before), (_, _, after) = self._encode_event(old.event), self._encode_event(new.event)
        found = list(diff_json(before.encode(), after.encode()))
        shown = [f"{kind}.{one}" for one in found[:CHANGES_MAX]]
        more = len(found) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")


def _describe_entry(entry: Entry) -> str:
    return f"{type(entry.event).__name__} ({describe_event(entry.event)[1]})"


def _group_entries(entries: Iterable[Entry]) -> Iterator[DecisionGroup]:
    """Each observation with its decisions; what comes before the first observation goes alone.

    Raises:
        HistoryIncomplete: an entry is missing.
    """
    group: DecisionGroup = []
    due = 1
    for entry in entries:
        if entry.seq != due:
            yield from [group] if group else []
            why = "cannot be read or is missing; nothing from here on is judged again"
            raise HistoryIncomplete(Deviation(due, why))
        due += 1
        if group and (isinstance(entry.event, Observation) or not _starts_with_observation(group)):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _starts_with_observation(group: DecisionGroup) -> bool:
    return isinstance(group[0].event, Observation)


def _assign_runs(groups: Iterable[DecisionGroup]) -> Iterator[tuple[Entry | None, DecisionGroup]]:
    """Each group with the StationStarted of the run that heard it."""
    start: Entry | None = None
    early: list[DecisionGroup] = []  # as many as station.toml has lines, at most
    for group in groups:
        if isinstance(group[0].event, BEFORE_START):
            early.append(group)
            continue
        if isinstance(group[0].event, StationStarted):
            start = group[0]
        for one in early:
            yield start, one
        early.clear()
        yield start, group
    for one in early:
        yield start, one
