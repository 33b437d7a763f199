"""The server: HTTP/1.1 of hypercorn on trio, with limits on what a client can hold.

    CONNECTIONS_MAX  at once; a further one is closed at once.
    REQUEST_S        until a request is complete, and until the next one on a kept connection.
    SEND_S           for one piece of a response. A client that does not read is closed.

HTTP/2 and WebSockets are not offered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

log = logging.getLogger("station.page")

CONNECTIONS_MAX: Final = 200
REQUEST_S: Final = 15.0
SEND_S: Final = 20.0
HEADER_BYTES_MAX: Final = 16 * 1024
RECEIVE_BYTES: Final = 16 * 1024
GRACE_S: Final = 1.0  # for the responses that are under way at the end
DISCONNECTED: Final = (
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.BusyResourceError,
)


def page_config() -> Config:
    """Settings of hypercorn."""
    config = Config()
    config.h11_max_incomplete_size = HEADER_BYTES_MAX
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = log
    return config


async def serve_page(
    app: Any,
    listeners: list[trio.SocketListener],
    *,
    connections_max: int = CONNECTIONS_MAX,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until cancelled."""
    config = page_config()
    context = WorkerContext(None)
    asgi = wrap_app(app, config.wsgi_max_body_size, "asgi")
    count = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal count
        if count >= connections_max:
            await trio.aclose_forcefully(stream)
            return
        count += 1
        try:
            await Connection(asgi, config, context, stream).run()
        finally:
            count -= 1
            await trio.aclose_forcefully(stream)

    task_status.started()
    await trio.serve_listeners(handle, listeners)


class Connection:
    """One connection of a client."""

    def __init__(
        self, app: Any, config: Config, context: WorkerContext, stream: trio.SocketStream
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._stream = stream
        self._send_turn = trio.Lock()
        self._idle_scope: trio.CancelScope | None = None
        self._idle_since: float | None = trio.current_time()  # None: a request is being answered
        self._protocol: H11Protocol
        self._stop: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Serve requests until the client or a limit ends it."""
        socket = self._stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
        except OSError:
            return
        tasks = TaskGroup()
        async with trio.open_nursery() as nursery:
            # Not entered as a context: its end lets the Cancelled of its own scope escape.
            tasks._nursery = nursery
            self._stop = nursery.cancel_scope.cancel
            self._protocol = H11Protocol(
                self._app,
                self._config,
                self._context,
                tasks,
                ConnectionState({}),
                False,
                client,
                server,
                self._on_event,
            )
            await self._read_requests()
            self._stop()

    async def _read_requests(self) -> None:
        """Read until the end; while no request is being answered, only for `REQUEST_S`."""
        while True:
            with trio.CancelScope() as scope:
                self._idle_scope = scope
                self._set_deadline()
                try:
                    data = await self._stream.receive_some(RECEIVE_BYTES)
                except DISCONNECTED:
                    data = b""
            self._idle_scope = None
            if scope.cancelled_caught or not data:
                break
            try:
                await self._protocol.handle(RawData(bytes(data)))
            except (H2CProtocolRequiredError, H2ProtocolAssumedError):
                break
        await self._protocol.handle(Closed())

    def _set_deadline(self) -> None:
        if self._idle_scope is not None:
            since = self._idle_since
            self._idle_scope.deadline = float("inf") if since is None else since + REQUEST_S

    async def _on_event(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            await trio.aclose_forcefully(self._stream)
        elif isinstance(event, Updated):
            self._idle_since = trio.current_time() if event.idle else None
            self._set_deadline()

    async def _send(self, data: bytes) -> None:
        async with self._send_turn:
            try:
                with trio.fail_after(SEND_S):
                    await self._stream.send_all(data)
            except (*DISCONNECTED, trio.TooSlowError):
                self._stop()
                await trio.lowlevel.checkpoint()
