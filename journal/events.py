"""The terms of the journal: event, entry, observation, decision; and references to IdTokens."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID, uuid5

import msgspec

# Exceptions that mean a fault of our own code. No input of a device or peer raises one of these.
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
    """A fact reported from outside: by a device, the CSMS, the clock, an operator."""


class Decision(Event, frozen=True):
    """A fact settled by a rule because of an observation."""


class Entry(msgspec.Struct, frozen=True):
    """An event with its number and its time.

    A decision carries the number of the observation it was made for in `cause`;
    an observation has none.
    """

    seq: int  # entry number, gapless, from 1
    at: datetime  # UTC, whole milliseconds, by the station's own wall clock at that time
    uptime_ms: int  # since the host booted; deadlines run on this
    event: Event
    cause: int | None = None


class IdToken(msgspec.Struct, frozen=True):
    """What the journal holds of an OCPP IdToken: a reference, never the value.

    The value is in a side table under `ref`, so that a person can be erased without breaking the
    chain. Two tokens that differ only in case have the same `ref`.
    """

    ref: str  # "#" and 16 hex digits
    type: str  # IdTokenEnumType

    def __str__(self) -> str:
        return f"{self.type}/{self.ref}"


def derived_uuid(journal_id: str, *parts: object) -> str:
    """A UUID that replay of the same journal reproduces."""
    return str(uuid5(UUID(journal_id), "/".join(map(str, parts))))
