"""Does this release decide a stretch of a journal as it was decided then?

A file that `station to-test` wrote tells the stretch to a `ReplayedCase`: what was heard, and what was
decided because of it. The first decision that would be another one today raises `DecisionDiffers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from journal.codec import Registry, build_registry, parse_time
from journal.events import Decision, Entry, Event, Observation
from journal.observations import StationStarted
from journal.state import State, decode_state
from station.core.context import Product
from station.core.decide import decide
from station.core.device_model.model import DeviceModel
from station.profiles import load_profile
from station.transcript.lines import describe_event

BODY_MAX: Final = 2_000  # characters of an event in a message: a payload may be longer


class DecisionDiffers(AssertionError):
    """Today something else is decided. `seq` is the entry from which on."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"entry {seq}: {why}")
        self.seq = seq


def raw_json(text: str) -> msgspec.Raw:
    """A payload or a frame as the journal has it."""
    return msgspec.Raw(text.encode())


class ReplayedCase:
    """Judges what it is told, from a memory on that is given.

    Attributes:
        state: the memory now.
        seq: the last entry that was told.
    """

    def __init__(self, state_before: str | State, *, last_seq: int, profile: str) -> None:
        """Remember what the station remembered.

        Args:
            before: the memory before the stretch, or its canonical JSON.
            after: number of the last entry that is in it; 0: none.
            profile: of the product, by name or path.

        Raises:
            ProfileError: there is no such product.
        """
        self.state = (
            decode_state(state_before.encode()) if isinstance(state_before, str) else state_before
        )
        self.last_seq = last_seq
        self._profile = profile
        self._product = _load_product(profile)
        self._registry = build_registry(Observation, Decision)
        self._pending_decisions: list[Entry] = []  # decided and not told yet

    def observe(self, seq: int, at: str, uptime_ms: int, observation: Observation) -> None:
        """Something was heard, as this entry, at this time.

        Raises:
            Differs: more would have been decided before.
        """
        self.observe_entry(Entry(seq, parse_time(at), uptime_ms, observation))

    def expect_decisions(self, *decisions: Decision) -> None:
        """What was decided because of it then is decided today.

        Raises:
            Differs: it is not, or something else is.
        """
        made = [one.event for one in self._pending_decisions]
        for old, new in zip_longest(decisions, made):
            self.last_seq += 1
            why = describe_difference(self._registry, old, new)
            if why:
                raise DecisionDiffers(self.last_seq, why)
        self._pending_decisions = []

    def finish(self) -> None:
        """That was all.

        Raises:
            Differs: more would have been decided.
        """
        self.expect_decisions()

    def observe_entry(self, entry: Entry) -> None:
        """As `heard`."""
        self.finish()
        assert entry.seq == self.last_seq + 1, f"entry {entry.seq} after {self.last_seq}"
        if isinstance(entry.event, StationStarted) and _is_profile_name(self._profile):
            self._product = _load_product(entry.event.product_profile)
        (_, *self._pending_decisions), self.state = decide(self._product, self.state, entry)
        self.last_seq = entry.seq


def _is_profile_name(profile: str) -> bool:
    """Whether each run of the program tells what it is; a product given as a file is that file."""
    return Path(profile).suffix != ".toml"


def _load_product(profile: str) -> Product:
    loaded = load_profile(profile)
    return Product(loaded, DeviceModel(loaded))


def describe_difference(registry: Registry, old: Event | None, new: Event | None) -> str:
    """How a decision of then and one of today differ; empty: not at all."""
    if old is not None and new is not None and registry.encode(old) == registry.encode(new):
        return ""
    then = "nothing more" if old is None else _format_event(registry, old)
    today = "nothing more" if new is None else _format_event(registry, new)
    return f"then the station decided\n  {then}\nand today\n  {today}"


def _format_event(registry: Registry, event: Event) -> str:
    kind, _, body = registry.encode(event)
    return f"{kind} {body[:BODY_MAX]}  # {describe_event(event)[1]}"


def find_first_difference(
    state_before: State, last_seq: int, profile: str, entries: Iterable[Entry]
) -> DecisionDiffers | None:
    """Where today's code parts from these entries, which begin with an observation.

    Raises:
        ProfileError: there is no such product.
    """
    story = ReplayedCase(state_before, last_seq=last_seq, profile=profile)
    try:
        for heard, decided in group_by_observation(entries):
            story.observe_entry(heard)
            story.expect_decisions(*decided)
    except DecisionDiffers as differs:
        return differs
    return None


def group_by_observation(entries: Iterable[Entry]) -> list[tuple[Entry, list[Decision]]]:
    """Each observation with what was decided because of it."""
    found: list[tuple[Entry, list[Decision]]] = []
    for entry in entries:
        if isinstance(entry.event, Decision):
            found[-1][1].append(entry.event)
        else:
            found.append((entry, []))
    return found
