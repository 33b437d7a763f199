"""The emulated devices as a process of their own.

`run_emulated_station` makes a pty for each line, links to it under the data directory, and answers
orders on a socket until it is cancelled. It does not need the station process: an EV stays plugged
in when the station is killed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from drivers.emulators.json_lines_socket import JsonLinesSocket
from drivers.emulators.orders import Arguments, execute_order
from drivers.emulators.pty import Pty
from drivers.emulators.station import LINE_NAMES, EmulatedStation


class AlreadyRunningError(Exception):
    """Another process emulates the devices of this directory."""


async def run_emulated_station(
    directory: Path,
    socket_path: Path,
    *,
    evse_count: int = 2,
    task_status: trio.TaskStatus[EmulatedStation] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Emulate the devices of one station until cancelled.

    Args:
        directory: holds the saved meter registers and the links to the lines: `reader.tty`,
            `meter.tty`, `io.tty`, `insulation.tty`, `secc.tty`, `modules.tty`, `display.tty`.
            Made if missing.
        socket_path: the socket for orders; a stale one is replaced.
        evse_count: 1 to `EVSES_MAX`.
        task_status: started with the emulated station once every line and the socket exist.

    Raises:
        AlreadyRunningError: another process emulates the devices of this directory.
        SocketPathError: the socket's path is too long.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _lock_directory(directory / "lock"), ExitStack() as lines:
        ports = {name: lines.enter_context(Pty(directory / f"{name}.tty")) for name in LINE_NAMES}
        station = EmulatedStation(ports, directory, evse_count=evse_count)

        async def handle_order(line: bytes) -> Arguments:
            return execute_order(station, line)

        order_socket = JsonLinesSocket(socket_path, handle_order)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(order_socket.run)
            nursery.start_soon(station.run)
            task_status.started(station)


@contextmanager
def _lock_directory(path: Path) -> Iterator[None]:
    """Hold the lock of a directory. The kernel releases it however this process ends."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise AlreadyRunningError(
                f"{path.parent}: the devices are emulated by process {holder} already"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
