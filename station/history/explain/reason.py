"""A reason: why something was decided, and its requirement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from journal.events import Entry, Event

DirectCauses = Sequence[Entry]  # the entries that an entry directly follows from, in order
E = TypeVar("E", bound=Event)


class Reason(NamedTuple):
    """Text and requirement ids of a reason."""

    text: str
    requirement: str = ""  # empty: the journal does not show which

    def __str__(self) -> str:
        return f"{self.text} ({self.requirement})" if self.requirement else self.text


def first_of_kind(causes: DirectCauses, *kinds: type[E]) -> E | None:
    """The first event of one of these kinds."""
    return next((entry.event for entry in causes if isinstance(entry.event, kinds)), None)
