"""How does a Unix socket answer JSON lines, one for one?

A request is an object on one line, its answer an object on one line. Whatever arrives is
answered: nonsense, lines that are too long, a last line without an end.
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


class SocketPathError(Exception):
    """The socket cannot lie there. The message says why and what to do."""


class JsonLinesSocket:
    """A listening socket only its owner may use. Listens from the moment it is made."""

    def __init__(self, path: Path, handler: RequestHandler) -> None:
        """Listen; `run` answers. A stale socket file is replaced.

        Raises:
            SocketPathError: the path is too long, or something else lies there.
        """
        self._path = path
        self._handler = handler
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(_open_listener(path)))

    async def run(self) -> None:
        """Answer until cancelled; the socket file goes away with it."""
        try:
            await trio.serve_listeners(self._serve_connection, [self._listener])
        finally:
            self._path.unlink(missing_ok=True)

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        waiting = bytearray()
        too_long = False
        try:
            async with stream:
                async for arrived in stream:
                    waiting += arrived
                    while (end := waiting.find(b"\n")) >= 0:
                        line, too_long = bytes(waiting[:end]), too_long or end > LINE_MAX
                        del waiting[: end + 1]
                        await stream.send_all(await self._handle_line(line, too_long))
                        too_long = False
                    if len(waiting) > LINE_MAX:
                        waiting.clear()
                        too_long = True
                if waiting.strip():
                    await stream.send_all(await self._handle_line(bytes(waiting), too_long))
        except trio.BrokenResourceError:
            return  # whoever asked did not wait for the answer

    async def _handle_line(self, line: bytes, too_long: bool) -> bytes:
        if too_long:
            answer: dict[str, Any] = {
                "ok": False,
                "error": f"a line has at most {LINE_MAX} bytes",
            }
        else:
            answer = await self._handler(line)
        return json.dumps(answer).encode() + b"\n"


def _open_listener(path: Path) -> socket.socket:
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_MAX:
        raise SocketPathError(
            f"{path}: a socket's path has at most {SOCKET_PATH_MAX} bytes, this one has {length}; "
            "use a shorter data directory"
        )
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise SocketPathError(f"{path}: is not a socket; not replaced")
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(os.fspath(path))
    finally:
        os.umask(before)
    listening.listen()
    return listening
