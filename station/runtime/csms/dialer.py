"""Opening of the TCP connection to the CSMS.

`Dialer` is what a real station uses. Its methods are all the connection needs of a network, so that
a network that can be disturbed (`station.runtime.emulation`) or one in memory (tests) can take its
place.
"""

from __future__ import annotations

import trio


class Dialer:
    """The host's own network, which is always up as far as this program can see."""

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Open a TCP connection.

        Raises:
            OSError: no address of the host accepts it.
        """
        return await trio.open_tcp_stream(host, port)

    async def wait_until_up(self) -> None:
        """Return once an attempt to connect makes sense."""

    async def wait_until_closed(self) -> None:
        """Return once an open connection has to be closed: never."""
        await trio.sleep_forever()

    async def wait_back_off(self, seconds: float) -> None:
        """Wait between two attempts."""
        await trio.sleep(seconds)
