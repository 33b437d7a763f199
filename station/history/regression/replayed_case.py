"""Decides an excerpt of a journal again and compares with the decisions made then.

A file written by `station to-test` gives a `ReplayedCase` each observation and the decisions made
because of it. The first decision that this release would make differently raises `DecisionDiffers`.
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
from station.core.reasons import without_new_code
from station.profiles import load_profile
from station.transcript.lines import describe_event

BODY_MAX: Final = 2_000  # characters of an event in an error message


class DecisionDiffers(AssertionError):
    """This release decides differently from entry `seq` on."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"entry {seq}: {reason}")
        self.seq = seq


def raw_json(text: str) -> msgspec.Raw:
    """A payload or a frame as stored in the journal."""
    return msgspec.Raw(text.encode())


class ReplayedCase:
    """Decides observations, starting from a given state.

    Attributes:
        state: after the last entry.
        last_seq: number of the last entry.
    """

    def __init__(self, state_before: str | State, *, last_seq: int, profile: str) -> None:
        """Start from a state.

        Args:
            state_before: the state before the excerpt, or its canonical JSON.
            last_seq: number of the last entry in that state; 0: none.
            profile: name or path of the product profile.

        Raises:
            ProfileError: there is no such profile.
        """
        self.state = (
            decode_state(state_before.encode()) if isinstance(state_before, str) else state_before
        )
        self.last_seq = last_seq
        self._profile = profile
        self._product = _load_product(profile)
        self._registry = build_registry(Observation, Decision)
        self._pending_decisions: list[Entry] = []  # decided, not compared yet

    def observe(self, seq: int, at: str, uptime_ms: int, observation: Observation) -> None:
        """Decide an observation.

        Raises:
            DecisionDiffers: this release made more decisions for the observation before.
        """
        self.observe_entry(Entry(seq, parse_time(at), uptime_ms, observation))

    def expect_decisions(self, *decisions: Decision) -> None:
        """Compare the decisions made then with those of this release.

        Raises:
            DecisionDiffers: they are not equal.
        """
        new_decisions = [entry.event for entry in self._pending_decisions]
        for old, new in zip_longest(decisions, new_decisions):
            self.last_seq += 1
            difference = describe_difference(self._registry, old, new)
            if difference:
                raise DecisionDiffers(self.last_seq, difference)
        self._pending_decisions = []

    def finish(self) -> None:
        """End of the excerpt.

        Raises:
            DecisionDiffers: this release made more decisions for the last observation.
        """
        self.expect_decisions()

    def observe_entry(self, entry: Entry) -> None:
        """As `observe`, with an entry."""
        self.finish()
        assert entry.seq == self.last_seq + 1, f"entry {entry.seq} after {self.last_seq}"
        if isinstance(entry.event, StationStarted) and _is_profile_name(self._profile):
            self._product = _load_product(entry.event.product_profile)
        (_, *self._pending_decisions), self.state = decide(self._product, self.state, entry)
        self.last_seq = entry.seq


def _is_profile_name(profile: str) -> bool:
    """Whether each StationStarted selects the profile; a profile given as a file is kept."""
    return Path(profile).suffix != ".toml"


def _load_product(profile: str) -> Product:
    product_profile = load_profile(profile)
    return Product(product_profile, DeviceModel(product_profile))


def describe_difference(registry: Registry, old: Event | None, new: Event | None) -> str:
    """How an old and a new decision differ; empty: they are equal.

    The code of a reason is not compared where the old decision has none.
    """
    new = without_new_code(new, old)
    if old is not None and new is not None and registry.encode(old) == registry.encode(new):
        return ""
    before = "nothing more" if old is None else _format_event(registry, old)
    now = "nothing more" if new is None else _format_event(registry, new)
    return f"the station decided\n  {before}\nand this release decides\n  {now}"


def _format_event(registry: Registry, event: Event) -> str:
    kind, _, body = registry.encode(event)
    return f"{kind} {body[:BODY_MAX]}  # {describe_event(event)[1]}"


def find_first_difference(
    state_before: State, last_seq: int, profile: str, entries: Iterable[Entry]
) -> DecisionDiffers | None:
    """The first difference to these entries, which begin with an observation; None: no difference.

    Raises:
        ProfileError: there is no such profile.
    """
    case = ReplayedCase(state_before, last_seq=last_seq, profile=profile)
    try:
        for entry, decisions in group_by_observation(entries):
            case.observe_entry(entry)
            case.expect_decisions(*decisions)
    except DecisionDiffers as difference:
        return difference
    return None


def group_by_observation(entries: Iterable[Entry]) -> list[tuple[Entry, list[Decision]]]:
    """Each observation with its decisions."""
    groups: list[tuple[Entry, list[Decision]]] = []
    for entry in entries:
        if isinstance(entry.event, Decision):
            groups[-1][1].append(entry.event)
        else:
            groups.append((entry, []))
    return groups
