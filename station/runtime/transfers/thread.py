"""How is work that blocks on sockets done in a thread, and stopped at once?

`ftplib` and `paramiko` block. Their thread ends when its sockets do: a cord runs through all of
them, and cancelling pulls it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

import trio

from station.runtime.transfers.target import Target
from station.runtime.transfers.terms import Limits, Progress

GRACE_S: Final = 0.8  # for a thread whose sockets are shut to let go of its files


class Cord:
    """Reaches every socket of one thread. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._pulled = False

    def through(self, connection: socket.socket) -> socket.socket:
        """Have `connection` shut when the cord is pulled.

        A duplicate is kept: wrapping a socket in TLS detaches the socket, and leaves the
        connection with the duplicate.

        Raises:
            ConnectionAbortedError: it is pulled already.
        """
        with self._lock:
            if self._pulled:
                connection.close()
                raise ConnectionAbortedError("cancelled")
            self._handles.append(connection.dup())
        return connection

    def connect(self, address: tuple[str, int], limits: Limits) -> socket.socket:
        """A connection to a numeric address.

        Raises:
            OSError: there is none.
        """
        [(family, kind, protocol, _, where)] = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        connection = self.through(socket.socket(family, kind, protocol))
        try:
            connection.settimeout(limits.connect_s)
            connection.connect(where)
            connection.settimeout(limits.stall_s)
        except BaseException:
            connection.close()
            raise
        return connection

    def pull(self) -> None:
        """Shut every socket; whoever reads or writes one fails."""
        with self._lock:
            self._pulled = True
            for handle in self._handles:
                with contextlib.suppress(OSError):  # not connected any more
                    handle.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Let go of the sockets. Their owner has closed them."""
        with self._lock:
            while self._handles:
                self._handles.pop().close()


async def _connected(target: Target, limits: Limits) -> socket.socket:
    """A blocking TCP socket to the first address of the host that answers."""
    try:
        with trio.fail_after(limits.connect_s):
            stream = await trio.open_tcp_stream(target.host, target.port)
    except trio.TooSlowError:
        raise target.failed(f"no connection within {limits.connect_s:g} s") from None
    except (OSError, UnicodeError) as error:  # the latter: a host name no resolver could take
        raise target.failed(f"no connection: {error}") from error
    connection = socket.socket(fileno=stream.socket.detach())
    connection.settimeout(limits.stall_s)
    return connection


async def in_thread(
    target: Target, limits: Limits, work: Callable[[socket.socket, Cord], None]
) -> None:
    """Connect, and do `work` with the connection in a thread.

    When cancelled, pull the cord and wait for the thread to end. One that is held up by a disk
    instead of a socket is left behind after GRACE_S.

    Raises:
        TransferFailed: no connection; and whatever `work` raises.
    """
    cord = Cord()
    begun = False
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def body() -> None:
        nonlocal begun
        begun = True
        try:
            work(connection, cord)
        finally:
            with contextlib.suppress(trio.RunFinishedError):  # the station is down already
                token.run_sync_soon(ended.set)

    with await _connected(target, limits) as connection:
        cord.through(connection)
        try:
            await trio.to_thread.run_sync(body, abandon_on_cancel=True)
        except trio.Cancelled:
            cord.pull()
            with trio.move_on_after(GRACE_S if begun else 0, shield=True):
                await ended.wait()
            raise
        finally:
            cord.release()


def told(progress: Progress) -> Progress:
    """`progress` for use in a thread. Raises trio.Cancelled there once nobody listens."""

    def tell(size: int, total: int | None) -> None:
        trio.from_thread.run_sync(progress, size, total)

    return tell
