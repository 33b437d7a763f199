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

WAITING_MAX = 200  # frames on their way to the station; about a second of a busy bus


class CanNode(Protocol):
    """A device on the bus."""

    def heard(self, frame: CanFrame) -> None:
        """The station sent a frame."""
        ...


class EmulatedBus:
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
        self._speed = f"S{slcan.BIT_RATES[bit_rate]}"
        self._told_speed = ""
        self._is_open = False
        self._decoder = slcan.Decoder()
        self._waiting: deque[bytes] = deque(maxlen=WAITING_MAX)
        self._something = trio.Event()

    @property
    def connected(self) -> bool:
        """Frames pass: channel open, at the bit rate of the bus, not cut."""
        return self._is_open and self._told_speed == self._speed and not self.lost

    def send(self, frame: CanFrame) -> None:
        """A node says something."""
        if self.connected:
            self._queue(slcan.encode(frame))

    async def run(self) -> None:
        """Be there until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            while True:
                for item in self._decoder.feed(await self._port.receive()):
                    self._take(item)

    async def _write(self) -> None:
        while True:
            await self._something.wait()
            self._something = trio.Event()
            together = b"".join(self._waiting)
            self._waiting.clear()
            if together:
                await self._port.send(together)

    def _take(self, item: CanFrame | slcan.Reply | slcan.Command) -> None:
        if isinstance(item, slcan.Command):
            self._queue(self._command(item.text).value)
        elif isinstance(item, slcan.Reply):
            self._queue(slcan.Reply.DONE.value)  # an empty line
        elif not self._is_open:
            self._queue(slcan.Reply.REFUSED.value)
        else:
            self._queue(b"Z\r" if item.extended else b"z\r")
            if self.connected:
                for node in self.nodes:
                    node.heard(item)

    def _command(self, text: str) -> slcan.Reply:
        """Set-up, as a Lawicel adapter takes it: speed only while closed."""
        if text == "C":
            self._is_open = False
            self._waiting.clear()
        elif text == "O" and self._told_speed and not self._is_open:
            self._is_open = True
        elif text.startswith("S") and not self._is_open:
            self._told_speed = text
        else:
            return slcan.Reply.REFUSED
        return slcan.Reply.DONE

    def _queue(self, line: bytes) -> None:
        self._waiting.append(line)
        self._something.set()
