"""How do frames get from the station to a CSMS and back, where there is no network?

A `SimulatedConnection` is one connection as the link sees it, with the methods of a trio-websocket that the link
uses. Frames keep their order, arrive some time after they were sent, and are lost where the wire
is cut or silent. `SimulatedNetwork` hand out wires, or do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

import trio
from trio_websocket import CloseReason, ConnectionClosed

from station.simulation.event_queue import EventQueue

GOING_AWAY: Final = 1001
TCP_TIMEOUT_S: Final = 924.6  # Linux, tcp_retries2 = 15: nobody acknowledged anything
UNREAD_FRAMES_MAX: Final = 1_000  # that nobody fetched: a station that does not read is wrong


class ConnectionListener(Protocol):
    """The other end, and whoever watches the line."""

    def on_connected(self, connection: SimulatedConnection) -> None:
        """A station is there."""

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """The station sends a frame; it may still be lost."""

    def on_frame_arrived(self, connection: SimulatedConnection, text: str) -> None:
        """A frame of the station arrived."""

    def on_disconnected(self, connection: SimulatedConnection) -> None:
        """This connection is over."""


class SimulatedConnection:
    """One connection between the station and a CSMS."""

    def __init__(
        self,
        event_queue: EventQueue,
        listener: ConnectionListener,
        draw_latency_s: Callable[[], float],
        random_source: random.Random,
    ) -> None:
        self.silent = False  # packets vanish, and nobody is told
        self.closed = False
        self._event_queue = event_queue
        self._listener = listener
        self._draw_latency_s = draw_latency_s
        self._random_source = random_source
        self._uplink_free_s = self._downlink_free_s = (
            trio.current_time()
        )  # when the frame before has arrived
        self._in_transit: list[str] = []  # to the CSMS
        self._tcp_timeout_scheduled = False
        self._close_reason: CloseReason | None = None
        self._send_channel, self._receive_channel = trio.open_memory_channel[str](UNREAD_FRAMES_MAX)
        self._closed_event = trio.Event()

    # --- The station's end -----------------------------------------------------------------------

    async def send_message(self, text: str) -> None:
        """Send a frame.

        Raises:
            ConnectionClosed: the wire is cut, as far as the station knows.
        """
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise ConnectionClosed(self._close_reason)
        self._listener.on_frame_sent(self, text)
        if self.silent:
            self._schedule_tcp_timeout()
            return
        self._in_transit.append(text)
        self._uplink_free_s = max(self._uplink_free_s, trio.current_time() + self._draw_latency_s())
        self._event_queue.run_at(self._uplink_free_s, self._deliver_to_csms)

    def _schedule_tcp_timeout(self) -> None:
        if not self._tcp_timeout_scheduled:
            self._tcp_timeout_scheduled = True
            self._event_queue.run_after(TCP_TIMEOUT_S, self.cut)

    async def get_message(self) -> str:
        """The next frame.

        Raises:
            ConnectionClosed: there will be none.
        """
        try:
            return await self._receive_channel.receive()
        except trio.EndOfChannel:
            raise ConnectionClosed(self._close_reason) from None

    async def ping(self) -> None:
        """Return when the other end has answered; on a silent wire it never does.

        Raises:
            ConnectionClosed: the wire is cut.
        """
        if self.silent:
            await self._closed_event.wait()
        await trio.sleep(2 * self._draw_latency_s())
        if self.closed:
            raise ConnectionClosed(self._close_reason)

    async def aclose(self) -> None:
        """The station hangs up."""
        await trio.lowlevel.checkpoint()
        self.cut()

    # --- The CSMS's end --------------------------------------------------------------------------

    def send_to_station(self, text: str) -> None:
        """Send a frame to the station."""
        if self.closed or self.silent:
            return
        self._downlink_free_s = max(
            self._downlink_free_s, trio.current_time() + self._draw_latency_s()
        )
        self._event_queue.run_at(self._downlink_free_s, lambda: self._deliver_to_station(text))

    def _deliver_to_station(self, text: str) -> None:
        if not (self.closed or self.silent):
            self._send_channel.send_nowait(text)

    def _deliver_to_csms(self) -> None:
        if self.closed or self.silent:
            return
        self._listener.on_frame_arrived(self, self._in_transit.pop(0))

    def cut(self, reason: CloseReason | None = None) -> None:
        """End it, now. Of what was under way to the CSMS, a part may still arrive."""
        if self.closed:
            return
        self.closed, self._close_reason = True, reason
        if not self.silent:
            still = self._random_source.randint(0, len(self._in_transit))
            for text in self._in_transit[:still]:
                self._listener.on_frame_arrived(self, text)
        self._in_transit.clear()
        self._send_channel.close()
        self._closed_event.set()
        self._listener.on_disconnected(self)


class SimulatedNetwork:
    """The way to the CSMS.

    Attributes:
        mode: `up`; `down`: connecting is refused at once; `silent`: nobody answers, and what is
            connected already loses its packets.
    """

    def __init__(
        self, event_queue: EventQueue, listener: ConnectionListener, random_source: random.Random
    ) -> None:
        self.mode = "up"
        self.latency_s = (0.005, 0.08)
        self.connection: SimulatedConnection | None = None  # the one in use
        self._event_queue = event_queue
        self._listener = listener
        self._random_source = random_source

    def draw_latency_s(self) -> float:
        """Seconds the next frame takes."""
        return self._random_source.uniform(*self.latency_s)

    async def connect(self) -> SimulatedConnection:
        """A new connection.

        Raises:
            ConnectionRefusedError: nobody listens. While the network is silent it never returns.
        """
        await trio.sleep(2 * self.draw_latency_s())
        if self.mode == "silent":
            await trio.sleep_forever()
        if self.mode == "down":
            raise ConnectionRefusedError("nobody listens")
        self.connection = SimulatedConnection(
            self._event_queue, self._listener, self.draw_latency_s, self._random_source
        )
        self._listener.on_connected(self.connection)
        return self.connection

    def switch_mode(self, mode: str) -> None:
        """Change the network, for connections in use as well."""
        self.mode = mode
        if mode == "down":
            self.cut_connection()
        if mode == "silent" and self.connection:
            self.connection.silent = True

    def cut_connection(self, reason: CloseReason | None = None) -> None:
        """Cut the connection in use; the next may come at once."""
        if self.connection:
            self.connection.cut(reason)
            self.connection = None
