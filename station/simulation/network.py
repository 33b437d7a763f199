"""Simulated network between station and CSMS: connections, latency and interruptions.

`SimulatedConnection` is one WebSocket with the methods of a trio-websocket connection that
`station.runtime.csms` uses. `SimulatedNetwork` opens connections, or refuses to.

Rules of a connection:

* Frames of each direction keep their order. Each arrives after a latency drawn from the random
  source, but never before the frame sent before it.
* `cut` ends the connection for both ends at once. A random number of the frames in transit to the
  CSMS still arrives; frames in transit to the station are lost.
* `silent`: packets are lost in both directions, and neither end is informed. The station's first
  frame starts TCP's timeout (`TCP_TIMEOUT_S`), which then cuts the connection; a ping is never
  answered.
* Modes of the network. "up": connections open after two latencies. "down": they are refused, and
  the connection in use is cut. "silent": opening one never ends, and the connection in use becomes
  silent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

import trio
from trio_websocket import CloseReason, ConnectionClosed

from station.simulation.event_queue import EventQueue

GOING_AWAY: Final = 1001
TCP_TIMEOUT_S: Final = 924.6  # Linux, tcp_retries2 = 15, without any acknowledgement
UNREAD_FRAMES_MAX: Final = 1_000  # more than this means that the station does not read


class ConnectionListener(Protocol):
    """The CSMS's end of all connections."""

    def on_connected(self, connection: SimulatedConnection) -> None:
        """The station connected."""

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """The station sent a frame; it may still be lost."""

    def on_frame_arrived(self, connection: SimulatedConnection, text: str) -> None:
        """A frame of the station arrived."""

    def on_disconnected(self, connection: SimulatedConnection) -> None:
        """This connection ended."""


class SimulatedConnection:
    """One connection between the station and a CSMS."""

    def __init__(
        self,
        event_queue: EventQueue,
        listener: ConnectionListener,
        draw_latency_s: Callable[[], float],
        random_source: random.Random,
    ) -> None:
        self.silent = False  # packets are lost, and neither end is informed
        self.closed = False
        self._event_queue = event_queue
        self._listener = listener
        self._draw_latency_s = draw_latency_s
        self._random_source = random_source
        # When the previous frame has arrived, per direction.
        self._uplink_free_s = self._downlink_free_s = trio.current_time()
        self._in_transit: list[str] = []  # to the CSMS
        self._tcp_timeout_scheduled = False
        self._close_reason: CloseReason | None = None
        self._send_channel, self._receive_channel = trio.open_memory_channel[str](UNREAD_FRAMES_MAX)
        self._closed_event = trio.Event()

    # --- The station's end -----------------------------------------------------------------------

    async def send_message(self, text: str) -> None:
        """Send a frame.

        Raises:
            ConnectionClosed: the connection is closed.
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
        """Wait for the next frame.

        Raises:
            ConnectionClosed: the connection is closed, and all frames were returned.
        """
        try:
            return await self._receive_channel.receive()
        except trio.EndOfChannel:
            raise ConnectionClosed(self._close_reason) from None

    def on_message(self) -> None:
        """As `GuardedStream.on_message`; its bounds on received bytes are not simulated."""

    async def ping(self) -> None:
        """Wait for the pong of the CSMS; on a silent connection until it is closed.

        Raises:
            ConnectionClosed: the connection is closed.
        """
        if self.silent:
            await self._closed_event.wait()
        await trio.sleep(2 * self._draw_latency_s())
        if self.closed:
            raise ConnectionClosed(self._close_reason)

    async def aclose(self) -> None:
        """Close the connection from the station's end."""
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
        """Close the connection now. A random part of the frames to the CSMS still arrives."""
        if self.closed:
            return
        self.closed, self._close_reason = True, reason
        if not self.silent:
            arriving_count = self._random_source.randint(0, len(self._in_transit))
            for text in self._in_transit[:arriving_count]:
                self._listener.on_frame_arrived(self, text)
        self._in_transit.clear()
        self._send_channel.close()
        self._closed_event.set()
        self._listener.on_disconnected(self)


class SimulatedNetwork:
    """The network between station and CSMS.

    Attributes:
        mode: `up`, `down` or `silent`; see the module's docstring.
        latency_s: range of the latency of a frame.
        connection: the connection in use.
    """

    def __init__(
        self, event_queue: EventQueue, listener: ConnectionListener, random_source: random.Random
    ) -> None:
        self.mode = "up"
        self.latency_s = (0.005, 0.08)
        self.connection: SimulatedConnection | None = None
        self._event_queue = event_queue
        self._listener = listener
        self._random_source = random_source

    def draw_latency_s(self) -> float:
        """Draw the latency of the next frame."""
        return self._random_source.uniform(*self.latency_s)

    async def connect(self) -> SimulatedConnection:
        """Open a connection. Never returns while the network is silent.

        Raises:
            ConnectionRefusedError: the network is down.
        """
        await trio.sleep(2 * self.draw_latency_s())
        if self.mode == "silent":
            await trio.sleep_forever()
        if self.mode == "down":
            raise ConnectionRefusedError("the CSMS does not listen")
        self.connection = SimulatedConnection(
            self._event_queue, self._listener, self.draw_latency_s, self._random_source
        )
        self._listener.on_connected(self.connection)
        return self.connection

    def switch_mode(self, mode: str) -> None:
        """Change the mode; affects the connection in use too."""
        self.mode = mode
        if mode == "down":
            self.cut_connection()
        if mode == "silent" and self.connection:
            self.connection.silent = True

    def cut_connection(self, reason: CloseReason | None = None) -> None:
        """Cut the connection in use; the station may reconnect at once."""
        if self.connection:
            self.connection.cut(reason)
            self.connection = None
