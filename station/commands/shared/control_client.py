"""How does a command talk to a running station?

Over the Unix socket in its data directory: a line of JSON there, a line of JSON back.
"""

from __future__ import annotations

import json
import os
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from station.commands.shared.exits import CommandFailed, UsageError

STATION_SOCKET: Final = "control.sock"
DEVICES_SOCKET: Final = "emulator.sock"
SOCKET_PATH_BYTES_MAX: Final = 107  # bytes of a socket's path; the kernel's limit
RESPONSE_TIMEOUT_S: Final = 10.0  # it answers at once, or not at all
RESPONSE_BYTES_MAX: Final = 1 << 20  # bytes; `state` of a station has a few hundred


class StationUnreachable(UsageError):
    """No station answers on the socket."""


def send_request(path: Path, operation: str, /, **arguments: Any) -> dict[str, Any]:
    """Ask one thing; the answer, with numbers as int or Decimal.

    Raises:
        StationUnreachable: nobody listens, or hung up without a word.
        No: the answer is no.
    """
    check_socket_path(path)
    line = json.dumps({"op": operation, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as station:
            station.settimeout(RESPONSE_TIMEOUT_S)
            station.connect(os.fspath(path))
            station.sendall(line)
            with station.makefile("rb") as answers:
                answer = answers.readline(RESPONSE_BYTES_MAX)
    except TimeoutError:
        raise StationUnreachable(
            f"{path}: no answer within {RESPONSE_TIMEOUT_S:.0f} s. Is it stopped?"
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise StationUnreachable(
            f"{path}: no station answers ({why}). Start it: `station run`."
        ) from None
    if not answer:
        raise StationUnreachable(f"{path}: hung up on {operation}. Look into the station's log.")
    reply: dict[str, Any] = json.loads(answer, parse_float=Decimal)
    if reply.pop("ok", False) is not True:
        raise CommandFailed(f"{operation}: {reply.get('error', 'refused without a reason')}")
    return reply


def check_socket_path(path: Path) -> Path:
    """The path, if a socket can lie there.

    Raises:
        Misused: it is too long.
    """
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES_MAX:
        raise UsageError(
            f"{path}: a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, this one has {length}. "
            "Use a shorter data directory."
        )
    return path
