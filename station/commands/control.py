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

from station.commands.answers import Misused, No

STATION: Final = "control.sock"
DEVICES: Final = "emulator.sock"
PATH_MAX: Final = 107  # bytes of a socket's path; the kernel's limit
PATIENCE_S: Final = 10.0  # it answers at once, or not at all
ANSWER_MAX: Final = 1 << 20  # bytes; `state` of a station has a few hundred


class NobodyThere(Misused):
    """No station answers on the socket."""


def asked(path: Path, op: str, /, **arguments: Any) -> dict[str, Any]:
    """Ask one thing; the answer, with numbers as int or Decimal.

    Raises:
        NobodyThere: nobody listens, or hung up without a word.
        No: the answer is no.
    """
    fitting(path)
    line = json.dumps({"op": op, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as station:
            station.settimeout(PATIENCE_S)
            station.connect(os.fspath(path))
            station.sendall(line)
            with station.makefile("rb") as answers:
                answer = answers.readline(ANSWER_MAX)
    except TimeoutError:
        raise NobodyThere(f"{path}: no answer within {PATIENCE_S:.0f} s. Is it stopped?") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise NobodyThere(f"{path}: no station answers ({why}). Start it: `station run`.") from None
    if not answer:
        raise NobodyThere(f"{path}: hung up on {op}. Look into the station's log.")
    reply: dict[str, Any] = json.loads(answer, parse_float=Decimal)
    if reply.pop("ok", False) is not True:
        raise No(f"{op}: {reply.get('error', 'refused without a reason')}")
    return reply


def fitting(path: Path) -> Path:
    """The path, if a socket can lie there.

    Raises:
        Misused: it is too long.
    """
    length = len(os.fsencode(path))
    if length > PATH_MAX:
        raise Misused(
            f"{path}: a socket's path has at most {PATH_MAX} bytes, this one has {length}. "
            "Use a shorter data directory."
        )
    return path
