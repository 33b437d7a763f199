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

from station.runtime.transfers.results import ProgressCallback, TransferLimits
from station.runtime.transfers.url import TransferUrl

THREAD_EXIT_TIMEOUT_S: Final = 0.8  # for a thread whose sockets are shut to let go of its files


class SocketGroup:
    """Reaches every socket of one thread. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._duplicates: list[socket.socket] = []
        self._is_shut_down = False

    def add_socket(self, connection: socket.socket) -> socket.socket:
        """Have `connection` shut when the cord is pulled.

        A duplicate is kept: wrapping a socket in TLS detaches the socket, and leaves the
        connection with the duplicate.

        Raises:
            ConnectionAbortedError: it is pulled already.
        """
        with self._lock:
            if self._is_shut_down:
                connection.close()
                raise ConnectionAbortedError("cancelled")
            self._duplicates.append(connection.dup())
        return connection

    def connect(self, address: tuple[str, int], limits: TransferLimits) -> socket.socket:
        """A connection to a numeric address.

        Raises:
            OSError: there is none.
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
        """Shut every socket; whoever reads or writes one fails."""
        with self._lock:
            self._is_shut_down = True
            for handle in self._duplicates:
                with contextlib.suppress(OSError):  # not connected any more
                    handle.shutdown(socket.SHUT_RDWR)

    def close_duplicates(self) -> None:
        """Let go of the sockets. Their owner has closed them."""
        with self._lock:
            while self._duplicates:
                self._duplicates.pop().close()


async def _open_socket(url: TransferUrl, limits: TransferLimits) -> socket.socket:
    """A blocking TCP socket to the first address of the host that answers."""
    try:
        with trio.fail_after(limits.connect_timeout_s):
            stream = await trio.open_tcp_stream(url.host, url.port)
    except trio.TooSlowError:
        raise url.transfer_error(f"no connection within {limits.connect_timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:  # the latter: a host name no resolver could take
        raise url.transfer_error(f"no connection: {error}") from error
    connection = socket.socket(fileno=stream.socket.detach())
    connection.settimeout(limits.stall_timeout_s)
    return connection


async def run_in_thread(
    url: TransferUrl, limits: TransferLimits, work: Callable[[socket.socket, SocketGroup], None]
) -> None:
    """Connect, and do `work` with the connection in a thread.

    When cancelled, pull the cord and wait for the thread to end. One that is held up by a disk
    instead of a socket is left behind after GRACE_S.

    Raises:
        TransferFailed: no connection; and whatever `work` raises.
    """
    cord = SocketGroup()
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

    with await _open_socket(url, limits) as connection:
        cord.add_socket(connection)
        try:
            await trio.to_thread.run_sync(body, abandon_on_cancel=True)
        except trio.Cancelled:
            cord.shut_down_all()
            with trio.move_on_after(THREAD_EXIT_TIMEOUT_S if begun else 0, shield=True):
                await ended.wait()
            raise
        finally:
            cord.close_duplicates()


def progress_from_thread(progress: ProgressCallback) -> ProgressCallback:
    """`progress` for use in a thread. Raises trio.Cancelled there once nobody listens."""

    def tell(size: int, total: int | None) -> None:
        trio.from_thread.run_sync(progress, size, total)

    return tell
