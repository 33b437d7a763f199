"""How is a stream to the CSMS opened, and what may go wrong on the way?

`Dialer` also is the switch of the emulated world: it can forget that there is a network at all.
"""

from __future__ import annotations

from typing import Literal

import trio

NetworkMode = Literal["up", "closed", "silent"]


class Dialer:
    """The way to the CSMS. `mode` is up unless somebody plays with the emulated world."""

    def __init__(self) -> None:
        self.mode: NetworkMode = "up"
        self._mode_changed = trio.Event()

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """A TCP connection.

        Raises:
            OSError: there is none to be had.
        """
        return PacketLossStream(await trio.open_tcp_stream(host, port), self)

    def set_mode(self, mode: NetworkMode) -> None:
        self.mode = mode
        self._mode_changed.set()
        self._mode_changed = trio.Event()

    async def wait_until_up(self) -> None:
        """Return once connecting makes sense."""
        while self.mode != "up":
            await self._mode_changed.wait()

    async def wait_until_closed(self) -> None:
        """Return once somebody wants the connection closed."""
        while self.mode != "closed":
            await self._mode_changed.wait()

    async def wait_for_change(self) -> None:
        await self._mode_changed.wait()


class PacketLossStream(trio.abc.Stream):
    """A TCP stream whose packets vanish, both ways, while the network is silent."""

    def __init__(self, stream: trio.SocketStream, dialer: Dialer) -> None:
        self.stream = stream
        self._dialer = dialer

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._dialer.mode == "silent":
            await trio.lowlevel.checkpoint()
            return
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            data = await self.stream.receive_some(max_bytes)
            if self._dialer.mode != "silent":
                return bytes(data)
            if not data:  # the other end gave up; nobody here can know
                while self._dialer.mode == "silent":
                    await self._dialer.wait_for_change()
                return b""

    async def aclose(self) -> None:
        await self.stream.aclose()
