"""A CAN bus on the bench: everything sent is written down with its time, nodes answer at once."""

from __future__ import annotations

import math

import trio

from drivers.emulators.can_node import CanNode
from drivers.ports import PortGone, Report
from drivers.wire.can_bus import CanLine
from drivers.wire.slcan import CanFrame, frame


class BenchBus:
    """A `drivers.wire.can_bus.CanBus` with nodes instead of a wire.

    Attributes:
        sent: (seconds, frame) of everything the station sent.
        nodes: who hears it.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[float, CanFrame]] = []
        self.nodes: list[CanNode] = []
        self.line = CanLine("bench", self._open)
        self._hand, self._reads = trio.open_memory_channel[CanFrame](math.inf)
        self._lost = False

    async def _open(self) -> BenchBus:
        return self

    def say(self, said: CanFrame | str) -> None:
        """A device says something."""
        self._hand.send_nowait(frame(said) if isinstance(said, str) else said)

    def lose(self) -> None:
        """The port is gone."""
        self._lost = True
        self._hand.close()

    async def send(self, sent: CanFrame) -> None:
        await trio.lowlevel.checkpoint()
        if self._lost:
            raise PortGone("bench: gone")
        self.sent.append((trio.current_time(), sent))
        for node in self.nodes:
            node.heard(sent)

    async def receive(self) -> list[CanFrame]:
        try:
            return [await self._reads.receive()]
        except trio.EndOfChannel as error:
            raise PortGone("bench: gone") from error

    def close(self) -> None:
        pass

    def texts(self, since: float = 0.0) -> list[str]:
        """What was sent since a moment, as the documents write it."""
        return [str(sent) for at, sent in self.sent if at >= since]

    def times_of(self, text: str, since: float = 0.0) -> list[float]:
        """When a frame was sent; `text` may be just its beginning."""
        return [at for at, sent in self.sent if at >= since and str(sent).startswith(text)]


def ignored(_: Report) -> None:
    """For tests that look at the bus only."""
