"""Recorded traffic of the device buses: a ring per `[hardware.KIND]`, kept when drivers restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from drivers.ports import OpenDevices
from drivers.wire.can_bus import SharedCanBus
from drivers.wire.serial_port import OpenPort, Port
from drivers.wire.traffic import RecordedPort, TrafficRing

Medium = Literal["can", "serial"]


class BusRecords(msgspec.Struct, frozen=True):
    """The records of one bus; `drivers.wire.traffic.read_records` reads them."""

    kind: str  # of its devices
    medium: Medium
    records: bytes


class BusTraffic:
    """The rings of all buses. Filled in the thread of the devices; any thread may copy."""

    def __init__(
        self, bytes_per_bus: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Record nothing yet.

        Args:
            bytes_per_bus: bounds the memory.
            seconds: how long records are kept at least, as far as they fit.
            clock: times the records.
        """
        self._bytes_per_bus = bytes_per_bus
        self._seconds = seconds
        self._clock = clock
        self._rings: dict[str, TrafficRing] = {}
        self._can_kinds: set[str] = set()

    def record_ports(self, kind: str, open_port: OpenPort) -> OpenPort:
        """As `open_port`, but what passes through a serial port is recorded.

        Not that of a CAN adapter: its frames are recorded.
        """

        def open_recorded(path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
            port = open_port(path, baud=baud, parity=parity, stop_bits=stop_bits)
            ring = self._rings.get(kind)
            return port if ring is None or kind in self._can_kinds else RecordedPort(port, ring)

        return open_recorded

    def record_devices(self, kind: str, opened: OpenDevices[Any]) -> None:
        """Record what the devices of a table exchange, as soon as they run."""
        ring = self._rings.get(kind)
        if ring is None:
            ring = self._rings[kind] = TrafficRing(
                self._bytes_per_bus,
                self._seconds,
                hides_data=opened.personal,
                hidden_ids=opened.personal_can_ids,
                clock=self._clock,
            )
        if isinstance(opened.bus, SharedCanBus):
            self._can_kinds.add(kind)
            opened.bus.traffic = ring

    def copy_records(self) -> tuple[BusRecords, ...]:
        """What is recorded now."""
        return tuple(
            BusRecords(kind, "can" if kind in self._can_kinds else "serial", ring.copy_records())
            for kind, ring in tuple(self._rings.items())
        )

    def now(self) -> float:
        """The present time of the records."""
        return self._clock()
