"""The latest reading of each meter, and the last clock-aligned interval that was handled. J01."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import MeterRead
from journal.projections.base import Projection


class ClockAlignedIntervalHandled(Decision, frozen=True):
    """The clock-aligned values of an interval were sent, or are not required. J01.FR.14."""

    interval_index: int  # whole intervals since 1970-01-01T00:00Z
    interval_s: int


class Reading(msgspec.Struct, frozen=True):
    """A reading and its entry."""

    seq: int
    at_unix_ms: int  # wall clock, milliseconds since 1970
    uptime_ms: int
    meter_read: MeterRead


class Readings(Projection, frozen=True):
    HANDLES = (MeterRead, ClockAlignedIntervalHandled)

    latest: tuple[Reading, ...] = ()
    aligned_interval_index: int | None = None
    aligned_interval_s: int = 0

    def apply(self, entry: Entry) -> Readings:
        match entry.event:
            case MeterRead() as read:
                at_ms = round(entry.at.timestamp() * 1000)
                new = Reading(entry.seq, at_ms, entry.uptime_ms, read)
                others = [each for each in self.latest if each.meter_read.evse_id != read.evse_id]
                return replace(self, latest=(*others, new))
            case ClockAlignedIntervalHandled(interval_index=index, interval_s=interval_s):
                return replace(self, aligned_interval_index=index, aligned_interval_s=interval_s)
            case _:
                return self

    def on_evse(self, evse_id: int) -> Reading | None:
        for reading in self.latest:
            if reading.meter_read.evse_id == evse_id:
                return reading
        return None
