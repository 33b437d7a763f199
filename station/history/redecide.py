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
from journal.observations import (
    CertificatePreset,
    ClockStepped,
    CsmsConfigured,
    StationStarted,
    VariablePreset,
)
from journal.state import State, evolve
from journal.terms import Entry, Observation
from station.case import Product
from station.decide import judge
from station.history.differences import changes
from station.transcript import meaning

# What a run of the program may hear before its StationStarted: judged as that run's product.
BEFORE_START: Final = (CertificatePreset, ClockStepped, CsmsConfigured, VariablePreset)

CHANGES_MAX: Final = 3  # of one decision: more than a line has room for

Group = list[Entry]  # an observation and the decisions made because of it
ProductOf = Callable[[int, StationStarted], Product]


class Otherwise(NamedTuple):
    """An observation that today's code judges otherwise, or that cannot be judged again."""

    seq: int
    why: str

    def __str__(self) -> str:
        return f"entry {self.seq}: {self.why}"


class BrokenHistory(Exception):
    """The entries do not go on: nothing from there on can be judged. Holds an Otherwise."""


def redecided(
    journal_id: str, entries: Iterable[Entry], registry: Registry, product_of: ProductOf
) -> Iterator[Otherwise]:
    """Every observation of which something else would come today, in order. Memory is constant.

    Args:
        journal_id: the UUID that ids are made from.
        entries: of a journal, from its first on. At one that is missing the walk ends, and the
            last of what is given says so.
        registry: writes events, to compare them byte for byte.
        product_of: the product of the run that so began at this entry; may raise what it likes.
    """
    walk = _Walk(journal_id, registry, product_of)
    try:
        for start, group in _by_run(_grouped(entries)):
            yield from walk.judged(start, group)
    except BrokenHistory as broken:
        yield broken.args[0]


class _Walk:
    """The memory and the product of one walk."""

    def __init__(self, journal_id: str, registry: Registry, product_of: ProductOf) -> None:
        self._state = State(journal_id)
        self._encode = registry.encode
        self._product_of = product_of
        self._start: Entry | None = None
        self._product: Product | None = None

    def judged(self, start: Entry | None, group: Group) -> Iterator[Otherwise]:
        """Judge the observation of one group again, and take the group into the memory."""
        heard = group[0]
        product = self._product_since(start)
        if not isinstance(heard.event, Observation):
            yield Otherwise(heard.seq, "is a decision that follows from no observation")
        elif product is None:
            yield Otherwise(heard.seq, "was heard before any start of the program")
        else:
            made, after = judge(product, self._state, heard)
            why = next(self._differences(group[1:], made[1:]), None)
            if why is None:
                self._state = after  # the entries are the same, so the memory is
                return
            yield Otherwise(heard.seq, f"{_named(heard)}: today's code {why}")
        for entry in group:
            self._state = evolve(self._state, entry)

    def _product_since(self, start: Entry | None) -> Product | None:
        if start is not None and start is not self._start:
            assert isinstance(start.event, StationStarted), start
            self._product = self._product_of(start.seq, start.event)
            self._start = start
        return self._product

    def _differences(self, journaled: Group, today: Group) -> Iterator[str]:
        """What would be otherwise; the first says enough, for the rest may follow from it."""
        for old, new in zip_longest(journaled, today):
            if old is None:
                yield f"would also decide {_named(new)}"
            elif new is None:
                yield f"would not decide entry {old.seq}, {_named(old)}"
            elif type(old.event) is not type(new.event):
                yield f"would decide {_named(new)} in place of entry {old.seq}, {_named(old)}"
            elif self._encode(old.event) != self._encode(new.event):
                yield f"would decide entry {old.seq} otherwise, {self._parts(old, new)}"
            elif old != new:
                yield f"would give entry {old.seq} another cause or time"

    def _parts(self, old: Entry, new: Entry) -> str:
        kind = type(old.event).__name__
        (_, _, before), (_, _, after) = self._encode(old.event), self._encode(new.event)
        found = list(changes(before.encode(), after.encode()))
        shown = [f"{kind}.{one}" for one in found[:CHANGES_MAX]]
        more = len(found) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")


def _named(entry: Entry) -> str:
    return f"{type(entry.event).__name__} ({meaning(entry.event)[1]})"


def _grouped(entries: Iterable[Entry]) -> Iterator[Group]:
    """Each observation with its decisions; what comes before the first observation goes alone.

    Raises:
        BrokenHistory: an entry is missing.
    """
    group: Group = []
    due = 1
    for entry in entries:
        if entry.seq != due:
            yield from [group] if group else []
            why = "cannot be read or is missing; nothing from here on is judged again"
            raise BrokenHistory(Otherwise(due, why))
        due += 1
        if group and (isinstance(entry.event, Observation) or not _heard(group)):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _heard(group: Group) -> bool:
    return isinstance(group[0].event, Observation)


def _by_run(groups: Iterable[Group]) -> Iterator[tuple[Entry | None, Group]]:
    """Each group with the StationStarted of the run that heard it."""
    start: Entry | None = None
    early: list[Group] = []  # as many as station.toml has lines, at most
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
