"""What do all projections share?

A projection is a frozen struct that answers one question. `HANDLES` names the events that can
change it; `after` gives the projection as it is once the entry is part of history. Nothing in a
projection is ever changed in place.

`after` asks first for what comes with every call: each `case` that does not fit costs 0.1 us (a
struct's class is no plain `type`, so Python asks its metaclass), and a start may replay a million
entries.
"""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from journal.events import Entry, Event


class Projection(msgspec.Struct, frozen=True):
    HANDLES: ClassVar[tuple[type[Event], ...]] = ()

    def apply(self, entry: Entry) -> Self:
        raise AssertionError(f"{type(self).__name__} does not say what follows {entry}")
