"""The base class of projections.

A projection is a frozen struct that answers one question. `HANDLES` names the events that can
change it; `apply` returns the projection after an entry. Nothing in a projection is changed in
place.

`apply` tests first for events that occur with every call: each `case` that does not match costs
0.1 us (a struct's class is no plain `type`, so Python asks its metaclass), and a start may replay a
million entries.
"""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from journal.events import Entry, Event


class Projection(msgspec.Struct, frozen=True):
    HANDLES: ClassVar[tuple[type[Event], ...]] = ()

    def apply(self, entry: Entry) -> Self:
        raise AssertionError(f"{type(self).__name__} has no apply; entry {entry}")
