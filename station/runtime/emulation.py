"""Network and wall clock of a station with emulated devices: both can be disturbed on request.

`station sim link` and `station sim clock` act here. A station with real devices uses `Dialer` and
`HostClock` and has none of this.

The network has three modes:

    up      packets pass.
    closed  the connection is closed at once; no attempt is made until `up`.
    silent  packets vanish in both directions: nothing is closed, nothing is answered. An attempt
            to connect waits for `up` too; the station notices a silent connection by its pings.

Each change of the mode ends a back-off, so that `up` connects at once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import trio

from station.runtime.clock import HostClock
from station.runtime.csms.dialer import Dialer

NetworkMode = Literal["up", "closed", "silent"]


class EmulatedNetwork(Dialer):
    """The host's network with a switch."""

    def __init__(self) -> None:
        self.mode: NetworkMode = "up"
        self._mode_changed = trio.Event()

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        return PacketLossStream(await super().dial(host, port), self)

    def set_mode(self, mode: NetworkMode) -> None:
        self.mode = mode
        self._mode_changed.set()
        self._mode_changed = trio.Event()

    async def wait_until_up(self) -> None:
        while self.mode != "up":
            await self._mode_changed.wait()

    async def wait_until_closed(self) -> None:
        """Return once the mode is `closed`."""
        while self.mode != "closed":
            await self._mode_changed.wait()

    async def wait_back_off(self, seconds: float) -> None:
        """Wait between two attempts; a change of the mode ends the wait."""
        if self.mode != "up":
            return
        with trio.move_on_after(seconds):
            await self._mode_changed.wait()

    async def wait_until_not_silent(self) -> None:
        while self.mode == "silent":
            await self._mode_changed.wait()


class PacketLossStream(trio.abc.Stream):
    """A TCP stream that drops all data, both ways, while the network is silent."""

    def __init__(self, stream: trio.abc.Stream, network: EmulatedNetwork) -> None:
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
            if not data:  # the CSMS closed; in a silent network the end is not noticed either
                await self._network.wait_until_not_silent()
                return b""

    async def aclose(self) -> None:
        await self.stream.aclose()


class EmulatedClock(HostClock):
    """The host's clock with a wall clock that can be stepped."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def utc(self) -> datetime:
        try:
            return datetime.now(UTC) + self._offset
        except OverflowError:
            return datetime.now(UTC)

    def step_wall_clock(self, seconds: float) -> None:
        """Move the wall clock. Raises OverflowError beyond the year 9999."""
        offset = self._offset + timedelta(seconds=seconds)
        _ = datetime.now(UTC) + offset
        self._offset = offset


class EmulatedCards:
    """EVSEs that cards presented to the emulated reader are meant for.

    The bytes of a card reader carry a UID only. `present_token` may name an EVSE too; it is kept
    here until the reader reports the card.
    """

    def __init__(self) -> None:
        self._evse_id_by_uid: dict[str, int] = {}  # upper-case hex

    def expect_card(self, uid: str, evse_id: int) -> None:
        """Keep the EVSE for the next presentation of a card."""
        self._evse_id_by_uid[uid.upper()] = evse_id

    def take_evse_id(self, uid: str) -> int | None:
        """The EVSE a presented card is meant for; None: any. Used once."""
        return self._evse_id_by_uid.pop(uid, None)


class Emulation(NamedTuple):
    """What the control socket acts on where the devices are emulated."""

    socket: Path  # of the emulated devices
    network: EmulatedNetwork
    clock: EmulatedClock
    cards: EmulatedCards
