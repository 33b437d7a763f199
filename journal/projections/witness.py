"""Which head of its own journal may the station name to others?"""

from __future__ import annotations

from journal.events import Entry
from journal.observations import HeadRecorded
from journal.projections.base import Projection


class Witness(Projection, frozen=True):
    HANDLES = (HeadRecorded,)

    latest_head: HeadRecorded | None = None  # the newest

    def apply(self, entry: Entry) -> Witness:
        match entry.event:
            case HeadRecorded() as noted:
                return Witness(noted)
            case _:
                return self
