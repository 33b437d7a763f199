"""Emulated CAN bus: a serial adapter (slcan) on one port, and any number of nodes on its bus.

As on a real bus, a node never waits for the station: frames the station does not read are lost.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import trio

from drivers.wire import slcan
from drivers.wire.serial_port import Port
from drivers.wire.slcan import CanFrame

QUEUED_FRAMES_MAX = 200  # frames waiting for the station to read; about a second of a busy bus


class CanNode(Protocol):
    """A device on the bus."""

    def on_frame(self, frame: CanFrame) -> None:
        """Receive a frame of the station."""
        ...


class EmulatedCanBus:
    """The adapter: slcan towards the station, frames from and to the nodes.

    Attributes:
        nodes: receive the station's frames.
        lost: the bus is cut: no frame passes in either direction. The adapter still answers.
    """

    def __init__(self, port: Port, bit_rate: int) -> None:
        """Use the adapter's end of the line. The station must select `bit_rate`, the bus's own."""
        self.nodes: list[CanNode] = []
        self.lost = False
        self._port = port
        self._speed_command = f"S{slcan.BIT_RATES[bit_rate]}"
        self._received_speed_command = ""
        self._is_open = False
        self._decoder = slcan.Decoder()
        self._send_queue: deque[bytes] = deque(maxlen=QUEUED_FRAMES_MAX)
        self._queue_filled = trio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether frames pass: channel open, at the bit rate of the bus, bus not cut."""
        return (
            self._is_open and self._received_speed_command == self._speed_command and not self.lost
        )

    def send(self, frame: CanFrame) -> None:
        """Send a node's frame to the station. Dropped while frames do not pass."""
        if self.is_connected:
            self._queue_line(slcan.encode_frame(frame))

    async def run(self) -> None:
        """Serve the adapter until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_queue)
            while True:
                for item in self._decoder.feed(await self._port.receive()):
                    self._on_item(item)

    async def _write_queue(self) -> None:
        while True:
            await self._queue_filled.wait()
            self._queue_filled = trio.Event()
            lines = b"".join(self._send_queue)
            self._send_queue.clear()
            if lines:
                await self._port.send(lines)

    def _on_item(self, item: CanFrame | slcan.AdapterReply | slcan.AdapterCommand) -> None:
        if isinstance(item, slcan.AdapterCommand):
            self._queue_line(self._execute_command(item.text).value)
        elif isinstance(item, slcan.AdapterReply):
            self._queue_line(slcan.AdapterReply.DONE.value)  # an empty line
        elif not self._is_open:
            self._queue_line(slcan.AdapterReply.REFUSED.value)
        else:
            self._queue_line(b"Z\r" if item.extended else b"z\r")
            if self.is_connected:
                for node in self.nodes:
                    node.on_frame(item)

    def _execute_command(self, text: str) -> slcan.AdapterReply:
        """Set-up, as in a Lawicel adapter: the speed can be set only while closed."""
        if text == "C":
            self._is_open = False
            self._send_queue.clear()
        elif text == "O" and self._received_speed_command and not self._is_open:
            self._is_open = True
        elif text.startswith("S") and not self._is_open:
            self._received_speed_command = text
        else:
            return slcan.AdapterReply.REFUSED
        return slcan.AdapterReply.DONE

    def _queue_line(self, line: bytes) -> None:
        self._send_queue.append(line)
        self._queue_filled.set()
