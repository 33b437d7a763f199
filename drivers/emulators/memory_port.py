"""Serial line in memory: two connected `Port`s without a file descriptor.

For tests and simulations that run on trio's virtual clock.
"""

from __future__ import annotations

import trio

from drivers.ports import PortLost

BUFFERED_BYTES_MAX = (
    65_536  # a tty holds 4096; more than this means that no task reads the other end
)


class MemoryPort:
    """One end of a line in memory; a `drivers.wire.serial_port.Port`.

    Attributes:
        sent: everything this end sent, one item per send.
        peer_receive_max_bytes: the other end receives at most so many bytes at once.
    """

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.peer_receive_max_bytes = 4096
        self._buffer = bytearray()
        self._wake = trio.Event()
        self._peer: MemoryPort | None = None
        self._closed = self._hung_up = False

    async def receive(self, max_bytes: int = 4096) -> bytes:
        """Wait for bytes. Raises PortLost when the other end hung up."""
        await trio.lowlevel.checkpoint()
        while not self._buffer:
            self._raise_if_closed()
            self._wake = trio.Event()
            await self._wake.wait()
        return self._take(max_bytes)

    def receive_waiting(self, max_bytes: int = 4096) -> bytes:
        """Return what has arrived; b"" for nothing. Raises PortLost when the other end hung up."""
        if not self._buffer:
            self._raise_if_closed()
        return self._take(max_bytes)

    def _take(self, max_bytes: int) -> bytes:
        data = bytes(self._buffer[: min(max_bytes, self._receive_max_bytes())])
        del self._buffer[: len(data)]
        return data

    async def send(self, data: bytes) -> None:
        """Append the bytes to the other end's buffer. Raises PortLost when it hung up."""
        await trio.lowlevel.checkpoint()
        self._raise_if_closed()
        assert self._peer is not None
        assert len(self._peer._buffer) + len(data) <= BUFFERED_BYTES_MAX
        self.sent.append(bytes(data))
        self._peer._buffer += data
        self._peer._wake.set()

    def drain_input(self) -> None:
        """Discard the received bytes. Raises PortLost when the other end hung up."""
        self._raise_if_closed()
        self._buffer.clear()

    def close(self) -> None:
        """Close this end; `open` opens it again."""
        self._closed = True
        self._wake.set()

    def open(
        self, path: str = "", *, baud: int = 0, parity: str = "N", stop_bits: int = 1
    ) -> MemoryPort:
        """Open this end, also after `close`, with an empty buffer. Usable as an `OpenPort`.

        Raises:
            PortLost: the other end hung up.
        """
        self._raise_if_hung_up()
        self._closed = False
        self._buffer.clear()
        return self

    def hang_up(self) -> None:
        """Cut the line: the other end raises PortLost."""
        assert self._peer is not None
        self._peer._hung_up = True
        self._peer._wake.set()

    def plug_in(self) -> None:
        """Undo `hang_up`."""
        assert self._peer is not None
        self._peer._hung_up = False

    def _receive_max_bytes(self) -> int:
        assert self._peer is not None
        return self._peer.peer_receive_max_bytes

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end of the line in memory is closed")
        self._raise_if_hung_up()

    def _raise_if_hung_up(self) -> None:
        if self._hung_up:
            raise PortLost("line in memory: the other end closed")


def open_memory_line() -> tuple[MemoryPort, MemoryPort]:
    """The station's end and the device's end of one line."""
    station, device = MemoryPort(), MemoryPort()
    station._peer, device._peer = device, station
    return station, device
