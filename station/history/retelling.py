"""Does this release decide a stretch of a journal as it was decided then?

A file that `station to-test` wrote tells the stretch to a `Retelling`: what was heard, and what was
decided because of it. The first decision that would be another one today raises `Differs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from journal.codec import Registry, at_of, registry_of
from journal.observations import StationStarted
from journal.state import State, decode_state
from journal.terms import Decision, Entry, Event, Observation
from station.case import Product
from station.decide import judge
from station.devicemodel import DeviceModel
from station.profiles import load
from station.transcript import meaning

BODY_MAX: Final = 2_000  # characters of an event in a message: a payload may be longer


class Differs(AssertionError):
    """Today something else is decided. `seq` is the entry from which on."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"entry {seq}: {why}")
        self.seq = seq


def raw(text: str) -> msgspec.Raw:
    """A payload or a frame as the journal has it."""
    return msgspec.Raw(text.encode())


class Retelling:
    """Judges what it is told, from a memory on that is given.

    Attributes:
        state: the memory now.
        seq: the last entry that was told.
    """

    def __init__(self, before: str | State, *, after: int, profile: str) -> None:
        """Remember what the station remembered.

        Args:
            before: the memory before the stretch, or its canonical JSON.
            after: number of the last entry that is in it; 0: none.
            profile: of the product, by name or path.

        Raises:
            ProfileError: there is no such product.
        """
        self.state = decode_state(before.encode()) if isinstance(before, str) else before
        self.seq = after
        self._profile = profile
        self._product = _product(profile)
        self._registry = registry_of(Observation, Decision)
        self._due: list[Entry] = []  # decided and not told yet

    def heard(self, seq: int, at: str, uptime_ms: int, observation: Observation) -> None:
        """Something was heard, as this entry, at this time.

        Raises:
            Differs: more would have been decided before.
        """
        self.told(Entry(seq, at_of(at), uptime_ms, observation))

    def decided(self, *decisions: Decision) -> None:
        """What was decided because of it then is decided today.

        Raises:
            Differs: it is not, or something else is.
        """
        made = [one.event for one in self._due]
        for old, new in zip_longest(decisions, made):
            self.seq += 1
            why = difference(self._registry, old, new)
            if why:
                raise Differs(self.seq, why)
        self._due = []

    def ends(self) -> None:
        """That was all.

        Raises:
            Differs: more would have been decided.
        """
        self.decided()

    def told(self, entry: Entry) -> None:
        """As `heard`."""
        self.ends()
        assert entry.seq == self.seq + 1, f"entry {entry.seq} after {self.seq}"
        if isinstance(entry.event, StationStarted) and _is_name(self._profile):
            self._product = _product(entry.event.profile)
        (_, *self._due), self.state = judge(self._product, self.state, entry)
        self.seq = entry.seq


def _is_name(profile: str) -> bool:
    """Whether each run of the program tells what it is; a product given as a file is that file."""
    return Path(profile).suffix != ".toml"


def _product(profile: str) -> Product:
    loaded = load(profile)
    return Product(loaded, DeviceModel(loaded))


def difference(registry: Registry, old: Event | None, new: Event | None) -> str:
    """How a decision of then and one of today differ; empty: not at all."""
    if old is not None and new is not None and registry.encode(old) == registry.encode(new):
        return ""
    then = "nothing more" if old is None else _shown(registry, old)
    today = "nothing more" if new is None else _shown(registry, new)
    return f"then the station decided\n  {then}\nand today\n  {today}"


def _shown(registry: Registry, event: Event) -> str:
    kind, _, body = registry.encode(event)
    return f"{kind} {body[:BODY_MAX]}  # {meaning(event)[1]}"


def first_difference(
    before: State, after: int, profile: str, entries: Iterable[Entry]
) -> Differs | None:
    """Where today's code parts from these entries, which begin with an observation.

    Raises:
        ProfileError: there is no such product.
    """
    story = Retelling(before, after=after, profile=profile)
    try:
        for heard, decided in commits(entries):
            story.told(heard)
            story.decided(*decided)
    except Differs as differs:
        return differs
    return None


def commits(entries: Iterable[Entry]) -> list[tuple[Entry, list[Decision]]]:
    """Each observation with what was decided because of it."""
    found: list[tuple[Entry, list[Decision]]] = []
    for entry in entries:
        if isinstance(entry.event, Decision):
            found[-1][1].append(entry.event)
        else:
            found.append((entry, []))
    return found
