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
ANSWERS: Final = {"Authorize": ACCEPTED, "TransactionEvent": {}}

Heard = tuple[float, dict[str, Any]]  # when, and what
Answered = tuple[float, str]  # when, and the frame


class Station:
    """One station, or peer, as the CSMS knows it."""

    def __init__(self) -> None:
        self.connections = 0
        self.frames = 0
        self._socket: ServerConnection | None = None
        self._open: dict[str, asyncio.Future[Answered]] = {}
        self._heard: dict[str, asyncio.Queue[Heard]] = {}
        self._numbers = count(1)

    def heard(self, action: str) -> asyncio.Queue[Heard]:
        """The CALLs of one action, as they came."""
        return self._heard.setdefault(action, asyncio.Queue())

    async def call(self, action: str, payload: dict[str, Any], accepted: int = 0) -> float:
        """Ask; the seconds until it answered.

        Raises:
            AssertionError: with a CALLERROR, or with fewer that are Accepted.
            TimeoutError: it did not.
        """
        seconds, told = await self.ask(action, payload)
        assert told.startswith("[3,"), told
        assert told.count('"Accepted"') >= accepted, told
        return seconds

    async def ask(self, action: str, payload: dict[str, Any]) -> tuple[float, str]:
        """Ask; the seconds until it answered, and whatever it said.

        Raises:
            TimeoutError: it did not.
        """
        assert self._socket is not None, "nobody is there"
        message_id = str(next(self._numbers))
        text = json.dumps([2, message_id, action, payload], default=float)
        answered = self._open[message_id] = asyncio.Future()
        began = time.perf_counter()
        await self._socket.send(text)
        async with asyncio.timeout(TIMEOUT_S):
            at, told = await answered
        return at - began, told

    async def listen(self, socket: ServerConnection) -> None:
        """Serve one connection until it ends."""
        self._socket = socket
        self.connections += 1
        try:
            async for text in socket:
                await self._take(socket, str(text), time.perf_counter())
        except ConnectionClosed:
            return  # it was killed

    async def _take(self, socket: ServerConnection, text: str, now: float) -> None:
        self.frames += 1
        kind, message_id, *rest = json.loads(text)
        if kind != 2:
            self._open.pop(message_id).set_result((now, text))
            return
        action, payload = rest
        answer: dict[str, Any] = ANSWERS.get(action, {})
        if action in ("BootNotification", "Heartbeat"):
            answer = {"currentTime": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if action == "BootNotification":
            answer |= {"interval": 300, "status": "Accepted"}
        await socket.send(json.dumps([3, message_id, answer]))
        self.heard(action).put_nowait((now, payload))


class Csms:
    """All of them, by identity."""

    def __init__(self) -> None:
        self.port = 0
        self.stations: dict[str, Station] = {}

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def station(self, identity: str) -> Station:
        """Who is called so, whether they are there or not."""
        return self.stations.setdefault(identity, Station())

    async def _connected(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        await self.station(socket.request.path.rpartition("/")[2]).listen(socket)


@asynccontextmanager
async def listening() -> AsyncIterator[Csms]:
    """A CSMS on a port of its own."""
    csms = Csms()
    subprotocol = Subprotocol("ocpp2.0.1")
    server = await serve(
        csms._connected, "127.0.0.1", 0, subprotocols=[subprotocol], compression=None
    )
    async with server:
        csms.port = next(iter(server.sockets)).getsockname()[1]
        yield csms
