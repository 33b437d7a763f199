"""Traffic of a bus or serial line: a ring of its newest records, and a port that records.

A record is a header and the data, packed, so that a minute of a busy bus takes 100 KiB and not ten
times that. A full segment is compressed, to about half, unless that would hold the thread for long.
The ring drops whole segments, oldest first. One thread adds; any thread may copy: an addition is
one operation on a bytearray, and a copy takes one segment at a time.

Personal data is not recorded: of a hidden record only time, direction and length are kept.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from drivers.wire.serial_port import Port
from drivers.wire.slcan import CanFrame

HEADER: Final = struct.Struct("<dBIH")  # time, flags, CAN identifier, length of the data
SENT: Final = 1
EXTENDED: Final = 2
HIDDEN: Final = 4  # the length is recorded, the data is not
COMPRESSION_LEVEL: Final = 1
COMPRESSED_MAX: Final = 32_768  # bytes of a segment that is compressed: below 1 ms
SEGMENTS: Final = 16  # of a ring; the oldest is dropped as a whole


class TrafficRecord(msgspec.Struct, frozen=True):
    """A CAN frame, or bytes of a serial line.

    Attributes:
        at: seconds of the ring's clock; a sent record has the time before it was sent.
        sent: by the station.
        data: None: personal, not recorded.
        length: of the data, in bytes.
        can_id: of a CAN frame.
        extended: the identifier has 29 bits.
    """

    at: float
    sent: bool
    data: bytes | None
    length: int
    can_id: int
    extended: bool


class TrafficRing:
    """The newest records of one bus: those of the last seconds, as far as they fit."""

    def __init__(
        self,
        bytes_max: int,
        seconds: float,
        *,
        hides_data: bool = False,
        hidden_ids: frozenset[int] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """An empty ring.

        Args:
            bytes_max: of all records.
            seconds: older records may be dropped.
            hides_data: all data is personal.
            hidden_ids: identifiers of CAN frames with personal data.
            clock: times the records.
        """
        self._segment_max = bytes_max // SEGMENTS
        self._segment_s = seconds / (SEGMENTS - 1)
        self._segment_until = 0.0
        # compressed ones are bytes; the newest is not compressed
        self._segments: deque[bytes | bytearray] = deque(maxlen=SEGMENTS)
        self._newest = bytearray()
        self._segments.append(self._newest)
        self._hides_data = hides_data
        self._hidden_ids = hidden_ids
        self._clock = clock

    def add_frame(self, frame: CanFrame, *, sent: bool) -> None:
        """Record a CAN frame."""
        flags = (SENT if sent else 0) | (EXTENDED if frame.extended else 0)
        self._add(flags, frame.id, frame.data, hidden=frame.id in self._hidden_ids)

    def add_bytes(self, data: bytes, *, sent: bool) -> None:
        """Record bytes of a serial line; of more than fit in a segment the first."""
        self._add(SENT if sent else 0, 0, data[: self._segment_max - HEADER.size], hidden=False)

    def _add(self, flags: int, can_id: int, data: bytes, *, hidden: bool) -> None:
        now = self._clock()
        if hidden or self._hides_data:
            record = HEADER.pack(now, flags | HIDDEN, can_id, len(data))
        else:
            record = HEADER.pack(now, flags, can_id, len(data)) + data
        if now >= self._segment_until or len(self._newest) + len(record) > self._segment_max:
            self._segment_until = now + self._segment_s
            if len(self._newest) <= COMPRESSED_MAX:
                self._segments[-1] = zlib.compress(self._newest, COMPRESSION_LEVEL)
            self._newest = bytearray()
            self._segments.append(self._newest)
        self._newest += record

    def copy_records(self) -> bytes:
        """All records, oldest first, for `read_records`."""
        return b"".join(
            [
                zlib.decompress(segment) if isinstance(segment, bytes) else bytes(segment)
                for segment in tuple(self._segments)
            ]
        )


def read_records(raw: bytes, *, since: float) -> Iterator[TrafficRecord]:
    """The records of `TrafficRing.copy_records` from a time on, oldest first."""
    position = 0
    while position < len(raw):
        at, flags, can_id, length = HEADER.unpack_from(raw, position)
        position += HEADER.size
        data = None
        if not flags & HIDDEN:
            data = raw[position : position + length]
            position += length
        if at >= since:
            yield TrafficRecord(
                at, bool(flags & SENT), data, length, can_id, bool(flags & EXTENDED)
            )


class RecordedPort:
    """A port that records what passes through it; a `drivers.wire.serial_port.Port`."""

    def __init__(self, port: Port, ring: TrafficRing) -> None:
        self._port = port
        self._ring = ring

    async def receive(self, max_bytes: int = 4096) -> bytes:
        data = await self._port.receive(max_bytes)
        self._ring.add_bytes(data, sent=False)
        return data

    async def send(self, data: bytes) -> None:
        self._ring.add_bytes(data, sent=True)
        await self._port.send(data)

    def receive_waiting(self, max_bytes: int = 4096) -> bytes:
        data = self._port.receive_waiting(max_bytes)
        if data:
            self._ring.add_bytes(data, sent=False)
        return data

    def drain_input(self) -> None:
        """Discard what has arrived, but record it: a late response explains a fault."""
        while self.receive_waiting():
            pass

    def close(self) -> None:
        self._port.close()
