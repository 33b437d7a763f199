"""Faults whose bus trace is not written yet, and the traces that are."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec.structs import replace

from journal.events import Entry
from journal.observations import BusTraceWritten, DeviceFaulted, StationStarted
from journal.projections.base import Projection

WAITING_MAX = 16  # faults of one trace; further ones within its seconds have none
WRITTEN_MAX = 100  # kept: as many as `[traces] files` allows


class TracedFault(msgspec.Struct, frozen=True):
    """A fault that waits for its trace, by the entry that recorded it."""

    seq: int
    at: datetime
    evse_id: int
    device: str
    fault: str


class WrittenTrace(msgspec.Struct, frozen=True):
    """A trace, by the entry that names it."""

    seq: int
    directory: str


class BusTraces(Projection, frozen=True):
    """The recorded traffic is in memory: after a start there is none of the faults before it."""

    HANDLES = (DeviceFaulted, BusTraceWritten, StationStarted)

    waiting: tuple[TracedFault, ...] = ()  # oldest first
    written: tuple[WrittenTrace, ...] = ()  # the newest; older files may be deleted

    def apply(self, entry: Entry) -> BusTraces:
        match entry.event:
            case DeviceFaulted(evse_id=evse_id, device=device, fault=fault):
                if len(self.waiting) >= WAITING_MAX:
                    return self
                traced = TracedFault(entry.seq, entry.at, evse_id, device, fault)
                return replace(self, waiting=(*self.waiting, traced))
            case BusTraceWritten(fault_seqs=seqs, directory=directory):
                waiting = tuple(fault for fault in self.waiting if fault.seq not in seqs)
                if not directory:
                    return replace(self, waiting=waiting)
                trace = WrittenTrace(entry.seq, directory)
                return BusTraces(waiting, (*self.written, trace)[-WRITTEN_MAX:])
            case StationStarted() if self.waiting:
                return replace(self, waiting=())
            case _:
                return self
