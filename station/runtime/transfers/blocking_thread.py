"""Blocking network work in a thread that can be cancelled at once.

`ftplib` and `paramiko` block. A thread cannot be stopped from outside, but its reads and writes
fail when its sockets are shut down. So all sockets of a thread belong to a `SocketGroup`, and a
cancellation shuts the group down.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

import trio

from station.runtime.transfers.results import ProgressCallback, TransferLimits
from station.runtime.transfers.url import TransferUrl

THREAD_EXIT_TIMEOUT_S: Final = 0.8  # for a thread to end after its sockets were shut down


class SocketGroup:
    """All sockets of one thread. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._duplicates: list[socket.socket] = []
        self._is_shut_down = False

    def add_socket(self, connection: socket.socket) -> socket.socket:
        """Add a socket to the group.

        The group keeps a duplicate: wrapping a socket in TLS detaches the socket, but the duplicate
        still reaches the connection.

        Raises:
            ConnectionAbortedError: the group is shut down.
        """
        with self._lock:
            if self._is_shut_down:
                connection.close()
                raise ConnectionAbortedError("cancelled")
            self._duplicates.append(connection.dup())
        return connection

    def connect(self, address: tuple[str, int], limits: TransferLimits) -> socket.socket:
        """Connect to a numeric address.

        Raises:
            OSError: it does not accept.
        """
        [(family, kind, protocol, _, where)] = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        connection = self.add_socket(socket.socket(family, kind, protocol))
        try:
            connection.settimeout(limits.connect_timeout_s)
            connection.connect(where)
            connection.settimeout(limits.stall_timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection

    def shut_down_all(self) -> None:
        """Shut down every socket; reads and writes of them fail."""
        with self._lock:
            self._is_shut_down = True
            for handle in self._duplicates:
                with contextlib.suppress(OSError):  # not connected any more
                    handle.shutdown(socket.SHUT_RDWR)

    def close_duplicates(self) -> None:
        """Close the duplicates, after the sockets were closed."""
        with self._lock:
            while self._duplicates:
                self._duplicates.pop().close()


async def _open_socket(url: TransferUrl, limits: TransferLimits) -> socket.socket:
    """A blocking TCP socket to the first address of the host that accepts."""
    try:
        with trio.fail_after(limits.connect_timeout_s):
            stream = await trio.open_tcp_stream(url.host, url.port)
    except trio.TooSlowError:
        raise url.transfer_error(f"no connection within {limits.connect_timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:  # the latter: a host name that cannot be encoded
        raise url.transfer_error(f"no connection: {error}") from error
    connection = socket.socket(fileno=stream.socket.detach())
    connection.settimeout(limits.stall_timeout_s)
    return connection


async def run_in_thread(
    url: TransferUrl, limits: TransferLimits, work: Callable[[socket.socket, SocketGroup], None]
) -> None:
    """Connect and run `work` with the connection in a thread.

    A cancellation shuts the sockets down and waits for the thread to end. A thread that waits for a
    disk instead of a socket is abandoned after THREAD_EXIT_TIMEOUT_S.

    Raises:
        TransferFailed: no connection; or what `work` raises.
    """
    sockets = SocketGroup()
    started = False
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def run_work() -> None:
        nonlocal started
        started = True
        try:
            work(connection, sockets)
        finally:
            with contextlib.suppress(trio.RunFinishedError):  # the station has ended already
                token.run_sync_soon(ended.set)

    with await _open_socket(url, limits) as connection:
        sockets.add_socket(connection)
        try:
            await trio.to_thread.run_sync(run_work, abandon_on_cancel=True)
        except trio.Cancelled:
            sockets.shut_down_all()
            with trio.move_on_after(THREAD_EXIT_TIMEOUT_S if started else 0, shield=True):
                await ended.wait()
            raise
        finally:
            sockets.close_duplicates()


def progress_from_thread(progress: ProgressCallback) -> ProgressCallback:
    """`progress` for use in a thread. Raises trio.Cancelled there after a cancellation."""

    def report(size: int, total: int | None) -> None:
        trio.from_thread.run_sync(progress, size, total)

    return report
