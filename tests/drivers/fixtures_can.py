"""A CAN bus for tests: records every sent frame with its time; nodes respond at once."""

from __future__ import annotations

import math

import trio

from drivers.emulators.can_bus import CanNode
from drivers.ports import DeviceReport, PortLost
from drivers.wire.can_bus import SharedCanBus
from drivers.wire.slcan import CanFrame, parse_frame


class BenchBus:
    """A `drivers.wire.can_bus.CanBus` with nodes instead of a wire.

    Attributes:
        sent: (seconds, frame) of every frame the station sent.
        nodes: emulated nodes that receive these frames.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[float, CanFrame]] = []
        self.nodes: list[CanNode] = []
        self.line = SharedCanBus("bench", self._open, bit_rate=500_000)
        self._frame_sender, self._frame_receiver = trio.open_memory_channel[CanFrame](math.inf)
        self._lost = False

    async def _open(self) -> BenchBus:
        return self

    def inject_frame(self, sent_frame: CanFrame | str) -> None:
        """Receive a frame as from a device."""
        self._frame_sender.send_nowait(
            parse_frame(sent_frame) if isinstance(sent_frame, str) else sent_frame
        )

    def disconnect(self) -> None:
        """Lose the port."""
        self._lost = True
        self._frame_sender.close()

    async def send(self, sent: CanFrame) -> None:
        await trio.lowlevel.checkpoint()
        if self._lost:
            raise PortLost("bench: gone")
        self.sent.append((trio.current_time(), sent))
        for node in self.nodes:
            node.on_frame(sent)

    async def receive(self) -> list[CanFrame]:
        try:
            return [await self._frame_receiver.receive()]
        except trio.EndOfChannel as error:
            raise PortLost("bench: gone") from error

    def close(self) -> None:
        pass

    def sent_texts(self, since: float = 0.0) -> list[str]:
        """Frames sent since a moment, in the notation of the documents."""
        return [str(sent) for at, sent in self.sent if at >= since]

    def sent_times(self, text: str, since: float = 0.0) -> list[float]:
        """Times at which a frame was sent; `text` may be its beginning only."""
        return [at for at, sent in self.sent if at >= since and str(sent).startswith(text)]


def ignore_report(_: DeviceReport) -> None:
    """For tests that check the bus only."""
