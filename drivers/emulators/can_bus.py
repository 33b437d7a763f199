"""What does a CAN bus with a serial adapter look like from the devices' side?

One pty stands for the adapter, any number of nodes hang on the bus behind it. As on a real bus
nobody waits for the station: when it does not read, frames are lost.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import trio

from drivers.wire import slcan
from drivers.wire.serial_port import Port
from drivers.wire.slcan import CanFrame

QUEUED_FRAMES_MAX = 200  # frames on their way to the station; about a second of a busy bus


class CanNode(Protocol):
    """A device on the bus."""

    def on_frame(self, frame: CanFrame) -> None:
        """The station sent a frame."""
        ...


class EmulatedCanBus:
    """The adapter: speaks slcan with the station, hands frames to nodes and back.

    Attributes:
        nodes: who hears the station.
        lost: cut through; nothing passes in either direction, the adapter itself still answers.
    """

    def __init__(self, port: Port, bit_rate: int) -> None:
        """Take the adapter's end of the line; `bit_rate` is the bus's, the station must match."""
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
        """Frames pass: channel open, at the bit rate of the bus, not cut."""
        return (
            self._is_open and self._received_speed_command == self._speed_command and not self.lost
        )

    def send(self, frame: CanFrame) -> None:
        """A node says something."""
        if self.is_connected:
            self._queue_line(slcan.encode_frame(frame))

    async def run(self) -> None:
        """Be there until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_queue)
            while True:
                for item in self._decoder.feed(await self._port.receive()):
                    self._on_item(item)

    async def _write_queue(self) -> None:
        while True:
            await self._queue_filled.wait()
            self._queue_filled = trio.Event()
            together = b"".join(self._send_queue)
            self._send_queue.clear()
            if together:
                await self._port.send(together)

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
        """Set-up, as a Lawicel adapter takes it: speed only while closed."""
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
