"""What are the words every other file uses: event, entry, observation, decision?"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID, uuid5

import msgspec

# What a fault of our own code raises. Nothing the world does raises one of these.
PROGRAMMING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


class Event(msgspec.Struct, frozen=True):
    """A fact in the past tense. Its kind is the class name; VERSION counts its shapes."""

    VERSION: ClassVar[int] = 1


class Observation(Event, frozen=True):
    """Something the world told us."""


class Decision(Event, frozen=True):
    """Something we settled because of an observation."""


class Entry(msgspec.Struct, frozen=True):
    """An event with its number and its time.

    A decision carries the number of the observation it was made for in `cause`;
    an observation has none.
    """

    seq: int  # gapless, from 1
    at: datetime  # UTC, whole milliseconds: the wall clock the station believed in
    uptime_ms: int  # since the host booted; deadlines run on this
    event: Event
    cause: int | None = None


class IdToken(msgspec.Struct, frozen=True):
    """What a person shows, as the journal knows it: a reference, never the value.

    The value lies in a side table under `ref`, so that a person can be erased without
    breaking the chain. Two tokens that differ only in case have the same `ref`.
    """

    ref: str  # "#" and 16 hex digits
    type: str  # IdTokenEnumType

    def __str__(self) -> str:
        return f"{self.type}/{self.ref}"


def derived_uuid(journal_id: str, *parts: object) -> str:
    """A UUID that the same journal gives again after every replay."""
    return str(uuid5(UUID(journal_id), "/".join(map(str, parts))))
