"""Both ends of a CSMS connection in a test.

`FakeRecorder` takes the place of the recorder; `MemoryNetwork` is a network of hosts in memory that
logs each attempt to connect.
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

from journal.events import Observation
from journal.observations import FrameMalformed, FrameReceived, LinkClosed, LinkFailed, LinkOpened
from journal.projections.network_profiles import NetworkProfile
from station.core.desired import DesiredLink, DesiredState
from station.runtime.csms.connection import CsmsConnection
from station.runtime.csms.dialer import Dialer
from station.runtime.watched_value import WatchedValue

IDENTITY = "CS001"
PASSWORD = "correct-horse-battery-staple"

RequestHandler = Callable[[WebSocketRequest], Awaitable[None]]


class FakeRecorder:
    """Keeps the observations of a connection; each counts as committed at once."""

    def __init__(self, desired: DesiredState) -> None:
        self.desired_state: WatchedValue[DesiredState] = WatchedValue(desired)
        self.observed: list[Observation] = []
        self._changed = trio.Event()

    def observe(self, observation: Observation, *, lazy: bool = False) -> None:
        self.observed.append(observation)
        link = self.desired_state.value.link
        if isinstance(observation, LinkOpened):
            self.set_desired_link(online=True, open_count=link.open_count + 1)
        elif isinstance(observation, LinkClosed):
            self.set_desired_link(online=False)
        self._changed.set()
        self._changed = trio.Event()

    def set_desired_link(self, **fields: Any) -> None:
        """Change fields of the desired link."""
        desired = self.desired_state.value
        link = msgspec.structs.replace(desired.link, **fields)
        self.desired_state.set(msgspec.structs.replace(desired, link=link))

    def read_payload(self, call_seq: int) -> msgspec.Raw:
        return msgspec.Raw(b"{}")

    async def wait_for_capacity(self) -> None:
        """Capacity is never exhausted here."""

    async def wait_for_observation(self, kind: type[Observation], count: int = 1) -> Any:
        """The newest observation of a kind, once there are `count` of them."""
        while len(matches := [item for item in self.observed if isinstance(item, kind)]) < count:
            await self._changed.wait()
        return matches[-1]

    @property
    def link_failures(self) -> list[LinkFailed]:
        return [item for item in self.observed if isinstance(item, LinkFailed)]


class PlainFrameFilter:
    """Records frames unchanged."""

    def is_quick(self, text: str) -> bool:
        return True

    def to_observation(self, text: str) -> FrameReceived | FrameMalformed:
        return FrameReceived(msgspec.Raw(text.encode()))

    def to_digest(self, text: str, reason: str) -> FrameMalformed:
        return FrameMalformed(len(text), "", reason, "")


class MemoryNetwork(Dialer):
    """Hosts in memory. A host without a server refuses; `attempts` has time and host of each."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self.servers: dict[str, RequestHandler] = {}
        self.attempts: list[tuple[float, str]] = []
        self._nursery = nursery
        self._began = trio.current_time()

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.attempts.append((round(trio.current_time() - self._began, 3), host))
        if host not in self.servers:
            raise ConnectionRefusedError(f"{host} has no server")
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, host, theirs)
        return ours

    async def _serve(self, host: str, stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await self.servers[host](request)
            nursery.cancel_scope.cancel()


def network_slots(*hosts: str, security_profile: int = 1) -> tuple[NetworkProfile, ...]:
    """A network profile for each host, in slots from 1 on."""
    scheme = "ws" if security_profile == 1 else "wss"
    return tuple(
        NetworkProfile(number, f"{scheme}://{host}/ocpp", security_profile)
        for number, host in enumerate(hosts, start=1)
    )


def desired_link(*hosts: str, **fields: Any) -> DesiredState:
    """A desired state with those hosts and a back-off of 10, 20, 40, 40 … s."""
    settings = {
        "attempts_per_candidate": 3,
        "back_off_minimum_s": 10,
        "back_off_random_s": 0,
        "back_off_repeat_times": 2,
    } | fields
    return DesiredState(link=DesiredLink(candidates=network_slots(*hosts), **settings))


def make_link(
    recorder: FakeRecorder,
    network: Dialer,
    frame_filter: PlainFrameFilter | None = None,
    **others: Any,
) -> CsmsConnection:
    passwords = {"": PASSWORD, "<new>": "another-password-altogether"}
    return CsmsConnection(
        IDENTITY,
        recorder,
        frame_filter or PlainFrameFilter(),  # type: ignore[arg-type]
        network,
        read_password=passwords.get,
        value_of=lambda reference: None,
        **others,
    )


async def serve_until_closed(request: WebSocketRequest) -> None:
    """Accept the connection and keep it until the station closes it."""
    websocket = await accept_request(request)
    await until_closed(websocket)


async def accept_request(request: WebSocketRequest) -> WebSocketConnection:
    return await request.accept(subprotocol="ocpp2.0.1")


async def until_closed(websocket: WebSocketConnection) -> None:
    """Receive and drop frames until the connection is closed."""
    with suppress(ConnectionClosed):
        while True:
            await websocket.get_message()


def basic_credentials(request: WebSocketRequest) -> str:
    """User and password of the Authorization header."""
    headers = {name.lower(): value for name, value in request.headers}
    kind, _, encoded = headers[b"authorization"].partition(b" ")
    assert kind == b"Basic"
    return base64.b64decode(encoded).decode()
