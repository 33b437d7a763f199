"""Who asks the stations, and takes the time?

The least CSMS that can: it accepts whoever boots and answers everything else with nothing, as fast
as it may, so that what is measured is the other end.
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

ReceivedCall = tuple[float, dict[str, Any]]  # when, and what
ReceivedResponse = tuple[float, str]  # when, and the frame


class BenchStation:
    """One station, or peer, as the CSMS knows it."""

    def __init__(self) -> None:
        self.connections = 0
        self.frames = 0
        self._socket: ServerConnection | None = None
        self._pending_calls: dict[str, asyncio.Future[ReceivedResponse]] = {}
        self._calls_by_action: dict[str, asyncio.Queue[ReceivedCall]] = {}
        self._message_numbers = count(1)

    def calls_of(self, action: str) -> asyncio.Queue[ReceivedCall]:
        """The CALLs of one action, as they came."""
        return self._calls_by_action.setdefault(action, asyncio.Queue())

    async def call_accepted(
        self, action: str, payload: dict[str, Any], accepted_min: int = 0
    ) -> float:
        """Ask; the seconds until it answered.

        Raises:
            AssertionError: with a CALLERROR, or with fewer that are Accepted.
            TimeoutError: it did not.
        """
        seconds, told = await self.send_call(action, payload)
        assert told.startswith("[3,"), told
        assert told.count('"Accepted"') >= accepted_min, told
        return seconds

    async def send_call(self, action: str, payload: dict[str, Any]) -> tuple[float, str]:
        """Ask; the seconds until it answered, and whatever it said.

        Raises:
            TimeoutError: it did not.
        """
        assert self._socket is not None, "nobody is there"
        message_id = str(next(self._message_numbers))
        text = json.dumps([2, message_id, action, payload], default=float)
        answered = self._pending_calls[message_id] = asyncio.Future()
        began = time.perf_counter()
        await self._socket.send(text)
        async with asyncio.timeout(TIMEOUT_S):
            at, told = await answered
        return at - began, told

    async def serve_connection(self, socket: ServerConnection) -> None:
        """Serve one connection until it ends."""
        self._socket = socket
        self.connections += 1
        try:
            async for text in socket:
                await self._on_frame(socket, str(text), time.perf_counter())
        except ConnectionClosed:
            return  # it was killed

    async def _on_frame(self, socket: ServerConnection, text: str, now: float) -> None:
        self.frames += 1
        kind, message_id, *rest = json.loads(text)
        if kind != 2:
            self._pending_calls.pop(message_id).set_result((now, text))
            return
        action, payload = rest
        answer: dict[str, Any] = RESPONSES.get(action, {})
        if action in ("BootNotification", "Heartbeat"):
            answer = {"currentTime": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if action == "BootNotification":
            answer |= {"interval": 300, "status": "Accepted"}
        await socket.send(json.dumps([3, message_id, answer]))
        self.calls_of(action).put_nowait((now, payload))


class BenchCsms:
    """All of them, by identity."""

    def __init__(self) -> None:
        self.port = 0
        self.stations: dict[str, BenchStation] = {}

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def station_of(self, identity: str) -> BenchStation:
        """Who is called so, whether they are there or not."""
        return self.stations.setdefault(identity, BenchStation())

    async def _on_connected(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        await self.station_of(socket.request.path.rpartition("/")[2]).serve_connection(socket)


@asynccontextmanager
async def run_csms() -> AsyncIterator[BenchCsms]:
    """A CSMS on a port of its own."""
    csms = BenchCsms()
    subprotocol = Subprotocol("ocpp2.0.1")
    server = await serve(
        csms._on_connected, "127.0.0.1", 0, subprotocols=[subprotocol], compression=None
    )
    async with server:
        csms.port = next(iter(server.sockets)).getsockname()[1]
        yield csms
