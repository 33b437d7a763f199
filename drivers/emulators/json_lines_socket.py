"""Unix socket that answers each JSON line with one JSON line.

A request is an object on one line, its response an object on one line. Every line gets a response,
also invalid JSON, a line that is too long, and a last line without a line end.

With a `RequestQuota`, clients that ask too often wait for their turn, all of them together, and the
oldest idle connection is closed when there are too many: a flood of requests costs the process a
bounded share of its time, and a client that never reads or never asks blocks no other one.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio

SOCKET_PATH_MAX: Final = 107  # bytes; what a sockaddr_un holds
LINE_MAX: Final = 65_536  # bytes

RequestHandler = Callable[[bytes], Awaitable[dict[str, Any]]]


CONNECTIONS_MAX: Final = 32
REQUESTS_PER_S: Final = 100.0
BURST_MAX: Final = 200.0  # requests at once, after a pause


class RequestQuota:
    """How many requests are answered: `BURST_MAX` at once, `REQUESTS_PER_S` in the long run."""

    def __init__(self) -> None:
        self._tokens = BURST_MAX
        self._counted_at: float | None = None

    async def wait_turn(self) -> None:
        """Return when the next request may be answered. Requests wait in their order."""
        now = trio.current_time()
        if self._counted_at is not None:
            self._tokens += (now - self._counted_at) * REQUESTS_PER_S
        self._counted_at = now
        self._tokens = min(self._tokens, BURST_MAX) - 1
        if self._tokens < 0:
            await trio.sleep(-self._tokens / REQUESTS_PER_S)


class SocketPathError(Exception):
    """The socket cannot be created at this path. The message gives the reason and the remedy."""


class JsonLinesSocket:
    """A listening socket that only its owner may use (mode 0600). Listens once constructed."""

    def __init__(
        self, path: Path, handler: RequestHandler, quota: RequestQuota | None = None
    ) -> None:
        """Start to listen; `run` answers. A stale socket file is replaced.

        Args:
            path: of the socket.
            handler: returns the response to a line.
            quota: of all clients together; None: requests and connections are not limited.

        Raises:
            SocketPathError: the path is too long, or the file there is not a socket.
        """
        self._path = path
        self._handler = handler
        self._quota = quota
        self._connections: dict[trio.SocketStream, float] = {}  # with the time of the last request
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(_open_listener(path)))

    async def run(self) -> None:
        """Answer until cancelled, then remove the socket file."""
        try:
            await trio.serve_listeners(self._serve_connection, [self._listener])
        finally:
            self._path.unlink(missing_ok=True)

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        buffer = bytearray()
        too_long = False
        await self._close_idle_connection()
        self._connections[stream] = trio.current_time()
        try:
            async with stream:
                async for chunk in stream:
                    self._connections[stream] = trio.current_time()
                    buffer += chunk
                    while (end := buffer.find(b"\n")) >= 0:
                        line, too_long = bytes(buffer[:end]), too_long or end > LINE_MAX
                        del buffer[: end + 1]
                        await stream.send_all(await self._handle_line(line, too_long))
                        too_long = False
                    if len(buffer) > LINE_MAX:
                        buffer.clear()
                        too_long = True
                if buffer.strip():
                    await stream.send_all(await self._handle_line(bytes(buffer), too_long))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client closed before the response, or it was idle for too long
        finally:
            del self._connections[stream]

    async def _close_idle_connection(self) -> None:
        """Make room for one more: close the connection that has been idle for the longest time."""
        if self._quota is not None and len(self._connections) >= CONNECTIONS_MAX:
            idle = min(self._connections, key=lambda each: self._connections[each])
            await trio.aclose_forcefully(idle)

    async def _handle_line(self, line: bytes, too_long: bool) -> bytes:
        if too_long:
            response: dict[str, Any] = {
                "ok": False,
                "error": f"a line has at most {LINE_MAX} bytes",
            }
        else:
            if self._quota is not None:
                await self._quota.wait_turn()
            response = await self._handler(line)
        return json.dumps(response).encode() + b"\n"


def check_socket_path(path: Path) -> None:
    """Check that a socket can be made at a path.

    Raises:
        SocketPathError: the path is too long, or has something else.
    """
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_MAX:
        raise SocketPathError(
            f"{path}: a socket's path has at most {SOCKET_PATH_MAX} bytes, this one has {length}; "
            "use a shorter data directory"
        )
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise SocketPathError(f"{path}: is not a socket; not replaced")


def _open_listener(path: Path) -> socket.socket:
    check_socket_path(path)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous_umask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(previous_umask)
    listener.listen()
    return listener
