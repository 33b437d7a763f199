"""Which head of its own journal may the station name to others?"""

from __future__ import annotations

from journal.observations import HeadNoted
from journal.projections.base import Projection
from journal.terms import Entry


class Heads(Projection, frozen=True):
    HEARS = (HeadNoted,)

    noted: HeadNoted | None = None  # the newest

    def after(self, entry: Entry) -> Heads:
        match entry.event:
            case HeadNoted() as noted:
                return Heads(noted)
            case _:
                return self
