"""How do a driver and an emulated device meet without a file descriptor?

Two ends in memory, for tests and simulations that run on trio's virtual clock.
"""

from __future__ import annotations

import trio

from drivers.ports import PortGone

BYTES_WAITING_MAX = 65_536  # a tty holds 4096; whoever overruns this has nobody at the other end


class MemoryPort:
    """One end of a line in memory; a `drivers.wire.serial_port.Port`.

    Attributes:
        sent: everything this end sent, one item per send.
        pieces_of: the other end receives at most so many bytes at once.
    """

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.pieces_of = 4096
        self._arrived = bytearray()
        self._wake = trio.Event()
        self._other: MemoryPort | None = None
        self._closed = self._gone = False

    async def receive(self, max_bytes: int = 4096) -> bytes:
        """Wait for bytes. Raises PortGone when the other end hung up."""
        await trio.lowlevel.checkpoint()
        while not self._arrived:
            self._complain()
            self._wake = trio.Event()
            await self._wake.wait()
        taken = bytes(self._arrived[: min(max_bytes, self._other_pieces())])
        del self._arrived[: len(taken)]
        return taken

    async def send(self, data: bytes) -> None:
        """Put all bytes before the other end. Raises PortGone when it hung up."""
        await trio.lowlevel.checkpoint()
        self._complain()
        assert self._other is not None
        assert len(self._other._arrived) + len(data) <= BYTES_WAITING_MAX
        self.sent.append(bytes(data))
        self._other._arrived += data
        self._other._wake.set()

    def drain_input(self) -> None:
        """Forget what has arrived. Raises PortGone when the other end hung up."""
        self._complain()
        self._arrived.clear()

    def close(self) -> None:
        """End this side's use; `open` begins another."""
        self._closed = True
        self._wake.set()

    def open(
        self, path: str = "", *, baud: int = 0, parity: str = "N", stop_bits: int = 1
    ) -> MemoryPort:
        """Use this end, again after `close`, with nothing left from before: an `OpenPort`.

        Raises:
            PortGone: the other end hung up.
        """
        self._complain_gone()
        self._closed = False
        self._arrived.clear()
        return self

    def hang_up(self) -> None:
        """Cut the line: the other end gets PortGone."""
        assert self._other is not None
        self._other._gone = True
        self._other._wake.set()

    def plug(self) -> None:
        """Undo `hang_up`."""
        assert self._other is not None
        self._other._gone = False

    def _other_pieces(self) -> int:
        assert self._other is not None
        return self._other.pieces_of

    def _complain(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end of the line in memory is closed")
        self._complain_gone()

    def _complain_gone(self) -> None:
        if self._gone:
            raise PortGone("line in memory: the other end closed")


def memory_line() -> tuple[MemoryPort, MemoryPort]:
    """The station's end and the device's end of one line."""
    station, device = MemoryPort(), MemoryPort()
    station._other, device._other = device, station
    return station, device
