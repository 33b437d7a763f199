"""Client of the control socket of a running station, or of its emulated devices.

A Unix socket in the data directory: one line of JSON for the request, one for the response.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click

from station.commands.shared.exits import CommandFailed

STATION_SOCKET: Final = "control.sock"
DEVICES_SOCKET: Final = "emulator.sock"
SOCKET_PATH_BYTES_MAX: Final = 107  # the kernel's limit for the path of a socket
RESPONSE_TIMEOUT_S: Final = 10.0  # the station responds at once, or not at all
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid of the listener; unix(7)
RESPONSE_BYTES_MAX: Final = 1 << 20  # `state` has a few hundred bytes


class StationUnreachable(click.UsageError):
    """No station answers on the socket."""


def send_request(path: Path, operation: str, /, **arguments: Any) -> dict[str, Any]:
    """Send one operation.

    Returns:
        The response, with numbers as int or Decimal.

    Raises:
        StationUnreachable: no process listens, or it closed the connection without a response.
        CommandFailed: the operation was refused.
    """
    check_socket_path(path)
    line = json.dumps({"op": operation, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(RESPONSE_TIMEOUT_S)
            connection.connect(os.fspath(path))
            connection.sendall(line)
            with connection.makefile("rb") as responses:
                response = responses.readline(RESPONSE_BYTES_MAX)
    except TimeoutError:
        raise StationUnreachable(
            f"{path}: no response within {RESPONSE_TIMEOUT_S:.0f} s. Is the process stopped?"
        ) from None
    except PermissionError:
        raise StationUnreachable(
            f"{path}: permission denied. Only the user of the station and root may ask it."
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise StationUnreachable(
            f"{path}: no station answers ({why}). Start it with `station run`."
        ) from None
    if not response:
        raise StationUnreachable(f"{path}: closed without a response to {operation}. See its log.")
    reply: dict[str, Any] = json.loads(response, parse_float=Decimal)
    if reply.pop("ok", False) is not True:
        reason = str(reply.get("error", "refused without a reason"))
        raise CommandFailed(f"{operation}: {reason.removeprefix(f'{operation}: ')}")
    return reply


def find_listener_pid(path: Path) -> int | None:
    """The process that listens on a socket; None: there is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.fspath(path))
            credentials = connection.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
            )
        except OSError:
            return None
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid


def check_socket_path(path: Path) -> Path:
    """The path, if it is short enough for a socket.

    Raises:
        click.UsageError: it is too long.
    """
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES_MAX:
        raise click.UsageError(
            f"{path}: {length} bytes long, but the path of a socket has at most "
            f"{SOCKET_PATH_BYTES_MAX} bytes. Use a shorter data directory."
        )
    return path
