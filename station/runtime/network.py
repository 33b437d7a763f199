"""How is a stream to the CSMS opened, and what may go wrong on the way?

`Network` also is the switch of the emulated world: it can forget that there is a network at all.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

import trio

Mode = Literal["up", "closed", "silent"]


class Network:
    """The way to the CSMS. `mode` is up unless somebody plays with the emulated world."""

    def __init__(self) -> None:
        self.mode: Mode = "up"
        self._changed = trio.Event()

    def switch(self, mode: Mode) -> None:
        self.mode = mode
        self._changed.set()
        self._changed = trio.Event()

    async def wait_up(self) -> None:
        """Return once connecting makes sense."""
        while self.mode != "up":
            await self._changed.wait()

    async def wait_closed(self) -> None:
        """Return once somebody wants the connection closed."""
        while self.mode != "closed":
            await self._changed.wait()

    async def wait_changed(self) -> None:
        await self._changed.wait()


class VanishingStream(trio.abc.Stream):
    """A TCP stream whose packets vanish, both ways, while the network is silent."""

    def __init__(self, stream: trio.SocketStream, network: Network) -> None:
        self.stream = stream
        self._network = network

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._network.mode == "silent":
            await trio.lowlevel.checkpoint()
            return
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            data = await self.stream.receive_some(max_bytes)
            if self._network.mode != "silent":
                return bytes(data)
            if not data:  # the other end gave up; nobody here can know
                while self._network.mode == "silent":
                    await self._network.wait_changed()
                return b""

    async def aclose(self) -> None:
        await self.stream.aclose()


def tls_context(ca_file: Path | None, cipher_suites: tuple[str, ...]) -> ssl.SSLContext:
    """A context that checks the CSMS's certificate and host name. A00.FR.306 to 319.

    TLS 1.2 at least; of TLS 1.2 exactly the profile's cipher suites.
    """
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cipher_suites:
        context.set_ciphers(":".join(_openssl_name(suite) for suite in cipher_suites))
    return context


def _openssl_name(suite: str) -> str:
    """`TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` as OpenSSL calls it."""
    exchange, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    cipher = cipher.replace("AES_128", "AES128").replace("AES_256", "AES256")
    prefix = "" if exchange == "RSA" else f"{exchange.replace('_', '-')}-"
    return prefix + cipher.replace("_", "-")
