"""What is told of why something was decided: a sentence, and what says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from journal.events import Entry, Event

DirectCauses = Sequence[Entry]  # what an entry follows from at once, in order
E = TypeVar("E", bound=Event)


class Reason(NamedTuple):
    """Why, and by which requirements; empty where none is known."""

    why: str
    requirement: str = ""

    def __str__(self) -> str:
        return f"{self.why} ({self.requirement})" if self.requirement else self.why


def first_of_kind(causes: DirectCauses, *kinds: type[E]) -> E | None:
    """The earliest of these kinds."""
    return next((one.event for one in causes if isinstance(one.event, kinds)), None)
