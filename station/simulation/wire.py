"""How do frames get from the station to a CSMS and back, where there is no network?

A `Wire` is one connection as the link sees it, with the methods of a trio-websocket that the link
uses. Frames keep their order, arrive some time after they were sent, and are lost where the wire
is cut or silent. `Lines` hand out wires, or do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

import trio
from trio_websocket import CloseReason, ConnectionClosed

from station.simulation.agenda import Agenda

GOING_AWAY: Final = 1001
TCP_GIVES_UP_S: Final = 924.6  # Linux, tcp_retries2 = 15: nobody acknowledged anything
FRAMES_MAX: Final = 1_000  # that nobody fetched: a station that does not read is wrong


class Listener(Protocol):
    """The other end, and whoever watches the line."""

    def connected(self, wire: Wire) -> None:
        """A station is there."""

    def sent(self, wire: Wire, text: str) -> None:
        """The station sends a frame; it may still be lost."""

    def heard(self, wire: Wire, text: str) -> None:
        """A frame of the station arrived."""

    def disconnected(self, wire: Wire) -> None:
        """This connection is over."""


class Wire:
    """One connection between the station and a CSMS."""

    def __init__(
        self,
        agenda: Agenda,
        listener: Listener,
        latency_s: Callable[[], float],
        dice: random.Random,
    ) -> None:
        self.silent = False  # packets vanish, and nobody is told
        self.closed = False
        self._agenda = agenda
        self._listener = listener
        self._latency_s = latency_s
        self._dice = dice
        self._up_free = self._down_free = trio.current_time()  # when the frame before has arrived
        self._underway: list[str] = []  # to the CSMS
        self._waits_for_tcp = False
        self._reason: CloseReason | None = None
        self._give, self._take = trio.open_memory_channel[str](FRAMES_MAX)
        self._over = trio.Event()

    # --- The station's end -----------------------------------------------------------------------

    async def send_message(self, text: str) -> None:
        """Send a frame.

        Raises:
            ConnectionClosed: the wire is cut, as far as the station knows.
        """
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise ConnectionClosed(self._reason)
        self._listener.sent(self, text)
        if self.silent:
            self._unacknowledged()
            return
        self._underway.append(text)
        self._up_free = max(self._up_free, trio.current_time() + self._latency_s())
        self._agenda.at(self._up_free, self._arrived)

    def _unacknowledged(self) -> None:
        if not self._waits_for_tcp:
            self._waits_for_tcp = True
            self._agenda.after(TCP_GIVES_UP_S, self.cut)

    async def get_message(self) -> str:
        """The next frame.

        Raises:
            ConnectionClosed: there will be none.
        """
        try:
            return await self._take.receive()
        except trio.EndOfChannel:
            raise ConnectionClosed(self._reason) from None

    async def ping(self) -> None:
        """Return when the other end has answered; on a silent wire it never does.

        Raises:
            ConnectionClosed: the wire is cut.
        """
        if self.silent:
            await self._over.wait()
        await trio.sleep(2 * self._latency_s())
        if self.closed:
            raise ConnectionClosed(self._reason)

    async def aclose(self) -> None:
        """The station hangs up."""
        await trio.lowlevel.checkpoint()
        self.cut()

    # --- The CSMS's end --------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Send a frame to the station."""
        if self.closed or self.silent:
            return
        self._down_free = max(self._down_free, trio.current_time() + self._latency_s())
        self._agenda.at(self._down_free, lambda: self._delivered(text))

    def _delivered(self, text: str) -> None:
        if not (self.closed or self.silent):
            self._give.send_nowait(text)

    def _arrived(self) -> None:
        if self.closed or self.silent:
            return
        self._listener.heard(self, self._underway.pop(0))

    def cut(self, reason: CloseReason | None = None) -> None:
        """End it, now. Of what was under way to the CSMS, a part may still arrive."""
        if self.closed:
            return
        self.closed, self._reason = True, reason
        if not self.silent:
            still = self._dice.randint(0, len(self._underway))
            for text in self._underway[:still]:
                self._listener.heard(self, text)
        self._underway.clear()
        self._give.close()
        self._over.set()
        self._listener.disconnected(self)


class Lines:
    """The way to the CSMS.

    Attributes:
        mode: `up`; `down`: connecting is refused at once; `silent`: nobody answers, and what is
            connected already loses its packets.
    """

    def __init__(self, agenda: Agenda, listener: Listener, dice: random.Random) -> None:
        self.mode = "up"
        self.latency_s = (0.005, 0.08)
        self.wire: Wire | None = None  # the one in use
        self._agenda = agenda
        self._listener = listener
        self._dice = dice

    def latency(self) -> float:
        """Seconds the next frame takes."""
        return self._dice.uniform(*self.latency_s)

    async def connect(self) -> Wire:
        """A new connection.

        Raises:
            ConnectionRefusedError: nobody listens. While the network is silent it never returns.
        """
        await trio.sleep(2 * self.latency())
        if self.mode == "silent":
            await trio.sleep_forever()
        if self.mode == "down":
            raise ConnectionRefusedError("nobody listens")
        self.wire = Wire(self._agenda, self._listener, self.latency, self._dice)
        self._listener.connected(self.wire)
        return self.wire

    def switch(self, mode: str) -> None:
        """Change the network, for connections in use as well."""
        self.mode = mode
        if mode == "down":
            self.cut()
        if mode == "silent" and self.wire:
            self.wire.silent = True

    def cut(self, reason: CloseReason | None = None) -> None:
        """Cut the connection in use; the next may come at once."""
        if self.wire:
            self.wire.cut(reason)
            self.wire = None
