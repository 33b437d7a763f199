"""A minimal CSMS that sends CALLs to stations and measures the time to their responses.

It accepts every boot and answers everything else with an empty payload, as fast as possible, so
that the other end is measured.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

TIMEOUT_S: Final = 60.0
ACCEPTED: Final = {"idTokenInfo": {"status": "Accepted"}}
RESPONSES: Final = {"Authorize": ACCEPTED, "TransactionEvent": {}}

ReceivedCall = tuple[float, dict[str, Any]]  # time, payload
ReceivedResponse = tuple[float, str]  # time, frame


class BenchStation:
    """One station, or peer, on the side of the CSMS."""

    def __init__(self) -> None:
        self.connections = 0
        self.frames = 0
        self._socket: ServerConnection | None = None
        self._pending_calls: dict[str, asyncio.Future[ReceivedResponse]] = {}
        self._calls_by_action: dict[str, asyncio.Queue[ReceivedCall]] = {}
        self._message_numbers = count(1)

    def calls_of(self, action: str) -> asyncio.Queue[ReceivedCall]:
        """The received CALLs of one action, in order."""
        return self._calls_by_action.setdefault(action, asyncio.Queue())

    async def call_accepted(
        self, action: str, payload: dict[str, Any], accepted_min: int = 0
    ) -> float:
        """Send a CALL; the seconds until its response.

        Raises:
            AssertionError: the response is a CALLERROR, or has too few Accepted.
            TimeoutError: there is none.
        """
        seconds, frame = await self.send_call(action, payload)
        assert frame.startswith("[3,"), frame
        assert frame.count('"Accepted"') >= accepted_min, frame
        return seconds

    async def send_call(self, action: str, payload: dict[str, Any]) -> tuple[float, str]:
        """Send a CALL; the seconds until its response, and the frame of it.

        Raises:
            TimeoutError: there is no response.
        """
        assert self._socket is not None, "no station is connected"
        message_id = str(next(self._message_numbers))
        text = json.dumps([2, message_id, action, payload], default=float)
        response = self._pending_calls[message_id] = asyncio.Future()
        began = time.perf_counter()
        await self._socket.send(text)
        async with asyncio.timeout(TIMEOUT_S):
            at, frame = await response
        return at - began, frame

    async def send_unanswered(self, action: str, payload: dict[str, Any]) -> None:
        """Send a CALL and do not wait for its response."""
        assert self._socket is not None, "no station is connected"
        message_id = str(next(self._message_numbers))
        self._pending_calls[message_id] = asyncio.Future()
        await self._socket.send(json.dumps([2, message_id, action, payload]))

    async def serve_connection(self, socket: ServerConnection) -> None:
        """Serve one connection until it ends."""
        self._socket = socket
        self.connections += 1
        try:
            async for text in socket:
                await self._on_frame(socket, str(text), time.perf_counter())
        except ConnectionClosed:
            return  # the station was killed

    async def _on_frame(self, socket: ServerConnection, text: str, now: float) -> None:
        self.frames += 1
        kind, message_id, *rest = json.loads(text)
        if kind != 2:
            self._pending_calls.pop(message_id).set_result((now, text))
            return
        action, payload = rest
        response: dict[str, Any] = RESPONSES.get(action, {})
        if action in ("BootNotification", "Heartbeat"):
            response = {"currentTime": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if action == "BootNotification":
            response |= {"interval": 300, "status": "Accepted"}
        await socket.send(json.dumps([3, message_id, response]))
        self.calls_of(action).put_nowait((now, payload))


class BenchCsms:
    """All stations, by identity."""

    def __init__(self) -> None:
        self.port = 0
        self.stations: dict[str, BenchStation] = {}

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def station_of(self, identity: str) -> BenchStation:
        """The station with this identity, connected or not."""
        return self.stations.setdefault(identity, BenchStation())

    async def _on_connected(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        await self.station_of(socket.request.path.rpartition("/")[2]).serve_connection(socket)


@asynccontextmanager
async def run_csms() -> AsyncIterator[BenchCsms]:
    """A CSMS on a free port."""
    csms = BenchCsms()
    subprotocol = Subprotocol("ocpp2.0.1")
    server = await serve(
        csms._on_connected, "127.0.0.1", 0, subprotocols=[subprotocol], compression=None
    )
    async with server:
        csms.port = next(iter(server.sockets)).getsockname()[1]
        yield csms
