"""The latest head of the journal that is on disk and may be sent to others as a witness."""

from __future__ import annotations

from journal.events import Entry
from journal.observations import HeadRecorded
from journal.projections.base import Projection


class Witness(Projection, frozen=True):
    HANDLES = (HeadRecorded,)

    latest_head: HeadRecorded | None = None

    def apply(self, entry: Entry) -> Witness:
        match entry.event:
            case HeadRecorded() as head:
                return Witness(head)
            case _:
                return self
