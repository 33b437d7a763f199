"""Finds the decisions of a journal that this release would make differently.

For each observation of the journal, in order:

1. The state is the one that the journal's own entries give, never the result of a new decision.
2. The observation is decided again with the product of its run, which StationStarted names.
   Observations recorded before the StationStarted of a run (`BEFORE_START`) belong to that run.
3. The new decisions are compared with those that follow in the journal: kind, body, cause and time.
   Ids are derived from the journal's id, so an equal decision has equal bytes. The code of a reason
   (`because`) is not compared where the release that wrote the journal recorded none.
4. The journal's entries are applied to the state, whatever the result: old decisions hold.

A missing or unreadable entry ends the comparison, because the state after it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import Final, NamedTuple

from msgspec.structs import replace

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
from station.core.reasons import without_new_code
from station.history.json_diff import diff_json
from station.transcript.lines import describe_event

# Observations that a run can record before its StationStarted; they belong to that run.
BEFORE_START: Final = (CertificatePreset, ClockStepped, CsmsConfigured, VariablePreset)

CHANGES_MAX: Final = 3  # of one decision that are listed in a line

DecisionGroup = list[Entry]  # an observation and its decisions
FindProduct = Callable[[int, StationStarted], Product]


class Deviation(NamedTuple):
    """An observation that this release decides differently, or that cannot be decided again."""

    seq: int
    reason: str

    def __str__(self) -> str:
        return f"entry {self.seq}: {self.reason}"


class HistoryIncomplete(Exception):
    """An entry is missing; nothing after it can be decided again. Its argument is a Deviation."""


def redecide_entries(
    journal_id: str, entries: Iterable[Entry], registry: Registry, find_product: FindProduct
) -> Iterator[Deviation]:
    """Every observation that this release decides differently, in order, in constant memory.

    Args:
        journal_id: the UUID that ids are derived from.
        entries: of a journal, from the first on. A missing entry ends the comparison; the last
            deviation then reports it.
        registry: encodes events, to compare them byte for byte.
        find_product: the product of the run that began with this entry. What it raises is not
            caught here.
    """
    walk = _RedecideWalk(journal_id, registry, find_product)
    try:
        for start, group in _assign_runs(_group_entries(entries)):
            yield from walk.redecide_group(start, group)
    except HistoryIncomplete as error:
        yield error.args[0]


class _RedecideWalk:
    """State and product of one pass over a journal."""

    def __init__(self, journal_id: str, registry: Registry, find_product: FindProduct) -> None:
        self._state = State(journal_id)
        self._encode_event = registry.encode
        self._find_product = find_product
        self._start_entry: Entry | None = None
        self._product: Product | None = None

    def redecide_group(
        self, start_entry: Entry | None, group: DecisionGroup
    ) -> Iterator[Deviation]:
        """Decide the observation of a group again, then apply the group to the state."""
        observed = group[0]
        product = self._product_for_run(start_entry)
        if not isinstance(observed.event, Observation):
            yield Deviation(observed.seq, "is a decision without an observation")
        elif product is None:
            yield Deviation(observed.seq, "was recorded before any start of the program")
        else:
            decided, state = decide(product, self._state, observed)
            comparable = [*_without_new_codes(decided[1:], group[1:])]
            difference = next(self._compare_decisions(group[1:], comparable), None)
            if difference is not None:
                reason = f"{_describe_entry(observed)}: this release {difference}"
                yield Deviation(observed.seq, reason)
            elif comparable == decided[1:]:
                self._state = state  # equal entries give an equal state
                return
        for entry in group:
            self._state = apply_entry(self._state, entry)

    def _product_for_run(self, start_entry: Entry | None) -> Product | None:
        if start_entry is not None and start_entry is not self._start_entry:
            assert isinstance(start_entry.event, StationStarted), start_entry
            self._product = self._find_product(start_entry.seq, start_entry.event)
            self._start_entry = start_entry
        return self._product

    def _compare_decisions(self, recorded: DecisionGroup, decided: DecisionGroup) -> Iterator[str]:
        """The differences. The caller uses the first; later ones may follow from it."""
        for old, new in zip_longest(recorded, decided):
            if old is None:
                yield f"would also decide {_describe_entry(new)}"
            elif new is None:
                yield f"would not decide entry {old.seq}, {_describe_entry(old)}"
            elif type(old.event) is not type(new.event):
                recorded_text = f"entry {old.seq}, {_describe_entry(old)}"
                yield f"would decide {_describe_entry(new)} instead of {recorded_text}"
            elif self._encode_event(old.event) != self._encode_event(new.event):
                changes = self._describe_changes(old, new)
                yield f"would decide entry {old.seq} differently, {changes}"
            elif old != new:
                yield f"would give entry {old.seq} a different cause or time"

    def _describe_changes(self, old: Entry, new: Entry) -> str:
        kind = type(old.event).__name__
        (_, _, before), (_, _, after) = self._encode_event(old.event), self._encode_event(new.event)
        changes = list(diff_json(before.encode(), after.encode()))
        shown = [f"{kind}.{change}" for change in changes[:CHANGES_MAX]]
        more = len(changes) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")


def _without_new_codes(decided: DecisionGroup, recorded: DecisionGroup) -> Iterator[Entry]:
    """New decisions, without the codes of their reasons where the recorded ones have none."""
    for new, old in zip_longest(decided, recorded):
        if new is not None:
            event = without_new_code(new.event, old.event if old else None)
            yield new if event is new.event else replace(new, event=event)


def _describe_entry(entry: Entry) -> str:
    return f"{type(entry.event).__name__} ({describe_event(entry.event)[1]})"


def _group_entries(entries: Iterable[Entry]) -> Iterator[DecisionGroup]:
    """Each observation with its decisions; a decision before the first observation is a group.

    Raises:
        HistoryIncomplete: an entry is missing.
    """
    group: DecisionGroup = []
    next_seq = 1
    for entry in entries:
        if entry.seq != next_seq:
            yield from [group] if group else []
            reason = "cannot be read or is missing; nothing from here on is decided again"
            raise HistoryIncomplete(Deviation(next_seq, reason))
        next_seq += 1
        if group and (isinstance(entry.event, Observation) or not _starts_with_observation(group)):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _starts_with_observation(group: DecisionGroup) -> bool:
    return isinstance(group[0].event, Observation)


def _assign_runs(groups: Iterable[DecisionGroup]) -> Iterator[tuple[Entry | None, DecisionGroup]]:
    """Each group with the StationStarted of its run."""
    start: Entry | None = None
    early: list[DecisionGroup] = []  # at most as many as station.toml has entries
    for group in groups:
        if isinstance(group[0].event, BEFORE_START):
            early.append(group)
            continue
        if isinstance(group[0].event, StationStarted):
            start = group[0]
        for early_group in early:
            yield start, early_group
        early.clear()
        yield start, group
    for early_group in early:
        yield start, early_group
