"""The two ends of a link in a test: who takes its observations, and a CSMS it can reach.

`Box` is the scribe as the link knows it; `Reachable` a network of hosts that exist only in memory,
which knows when somebody tried to connect.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import trio
import trio.testing
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)

from journal.observations import FrameGarbled, FrameReceived, LinkClosed, LinkFailed, LinkOpened
from journal.projections.networks import NetworkSlot
from journal.terms import Observation
from station.runtime.latest import Latest
from station.runtime.link import Link
from station.runtime.network import Network
from station.wanted import Wanted, WantedLink

IDENTITY = "CS001"
PASSWORD = "correct-horse-battery-staple"

Serve = Callable[[WebSocketRequest], Awaitable[None]]


class Box:
    """Takes what the link observes, and tells it at once that it is in the journal."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted: Latest[Wanted] = Latest(wanted)
        self.observed: list[Observation] = []
        self._changed = trio.Event()

    def observe(self, observation: Observation, *, lazy: bool = False) -> None:
        self.observed.append(observation)
        link = self.wanted.value.link
        if isinstance(observation, LinkOpened):
            self.change(online=True, opens=link.opens + 1)
        elif isinstance(observation, LinkClosed):
            self.change(online=False)
        self._changed.set()
        self._changed = trio.Event()

    def change(self, **fields: Any) -> None:
        """What is wanted of the link."""
        wanted = self.wanted.value
        link = msgspec.structs.replace(wanted.link, **fields)
        self.wanted.set(msgspec.structs.replace(wanted, link=link))

    def payload(self, call: int) -> msgspec.Raw:
        return msgspec.Raw(b"{}")

    async def room(self) -> None:
        """There always is."""

    async def wait(self, kind: type[Observation], count: int = 1) -> Any:
        """The newest of its kind, once there are `count` of them."""
        while len(found := [one for one in self.observed if isinstance(one, kind)]) < count:
            await self._changed.wait()
        return found[-1]

    @property
    def failures(self) -> list[LinkFailed]:
        return [one for one in self.observed if isinstance(one, LinkFailed)]


class Plain:
    """Takes frames as they are."""

    def frame(self, text: str) -> FrameReceived | FrameGarbled:
        return FrameReceived(msgspec.Raw(text.encode()))


class Reachable(Network):
    """Hosts in memory. A host without a server refuses; `tries` says who was called when."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self.servers: dict[str, Serve] = {}
        self.tries: list[tuple[float, str]] = []
        self._nursery = nursery
        self._began = trio.current_time()

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.tries.append((round(trio.current_time() - self._began, 3), host))
        if host not in self.servers:
            raise ConnectionRefusedError(f"{host} is not there")
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, host, theirs)
        return ours

    async def _serve(self, host: str, stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await self.servers[host](request)
            nursery.cancel_scope.cancel()


def slots(*hosts: str, security_profile: int = 1) -> tuple[NetworkSlot, ...]:
    """A slot for each host, from 1 on."""
    scheme = "ws" if security_profile == 1 else "wss"
    return tuple(
        NetworkSlot(number, f"{scheme}://{host}/ocpp", security_profile)
        for number, host in enumerate(hosts, start=1)
    )


def patient(*hosts: str, **fields: Any) -> Wanted:
    """A link to those hosts, with a back-off that is easy to add up."""
    settings = {"attempts": 3, "wait_min_s": 10, "wait_random_s": 0, "repeat_times": 2} | fields
    return Wanted(link=WantedLink(candidates=slots(*hosts), **settings))


def a_link(box: Box, network: Network, **others: Any) -> Link:
    passwords = {"": PASSWORD, "<new>": "another-password-altogether"}
    return Link(
        IDENTITY,
        box,
        Plain(),  # type: ignore[arg-type]
        network,
        password=passwords.get,
        value_of=lambda reference: None,
        **others,
    )


async def stays(request: WebSocketRequest) -> None:
    """Take the connection, and keep it until the station goes."""
    websocket = await accepted(request)
    await until_closed(websocket)


async def accepted(request: WebSocketRequest) -> WebSocketConnection:
    return await request.accept(subprotocol="ocpp2.0.1")


async def until_closed(websocket: WebSocketConnection) -> None:
    """Read until there is nothing more to come."""
    with suppress(ConnectionClosed):
        while True:
            await websocket.get_message()


def credentials(request: WebSocketRequest) -> str:
    """User and password of the Authorization header."""
    headers = {name.lower(): value for name, value in request.headers}
    kind, _, encoded = headers[b"authorization"].partition(b" ")
    assert kind == b"Basic"
    return base64.b64decode(encoded).decode()
