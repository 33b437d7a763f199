"""Executes orders in a process of their own.

If the process gives no answer, because it was killed or lacked memory, the order is executed in the
station: the result is the same, and `cryptography` stays in its memory.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from station.runtime.crypto.program import (
    JOB_ORDERS,
    Answer,
    KeyPairCreated,
    KeyPairOrder,
    Order,
    Refused,
    execute,
)
from station.runtime.secrets.key_pairs import KeyPair

log = logging.getLogger("station.crypto")

PROGRAM: Final = (sys.executable, "-m", "station.runtime.crypto.program")
TIMEOUT_S: Final = 10.0  # usually 0.3 s; a CSMS waits for the answer
JOB_TIMEOUT_S: Final = 60.0  # an RSA key of 4096 bits takes seconds on a small computer
WORDS_CHARS_MAX: Final = 200  # of its last line in the log

# Made here and not in the threads: see `journal.codec`.
_decoder: Final[msgspec.json.Decoder[Answer]] = msgspec.json.Decoder(Answer)

Execute: TypeAlias = Callable[[Order], Answer]


def execute_apart(order: Order, *, program: tuple[str, ...] = PROGRAM) -> Answer:
    """Execute an order in a process of its own. Blocks.

    Args:
        order: on its stdin, because arguments and environment can be read by other users.
        program: see `station.runtime.crypto.program`.
    """
    timeout_s = JOB_TIMEOUT_S if isinstance(order, JOB_ORDERS) else TIMEOUT_S
    try:
        done = subprocess.run(
            program, input=msgspec.json.encode(order), capture_output=True, timeout=timeout_s
        )
        return _decoder.decode(done.stdout)
    except OSError as error:
        problem = f"{program[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        problem = f"no answer within {timeout_s:.0f} s"
    except (msgspec.DecodeError, UnicodeDecodeError):
        last_line = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        problem = f"exit code {done.returncode}: {last_line[:WORDS_CHARS_MAX]}"
    log.warning("the process for keys and certificates failed: %s", problem)
    return execute(order)


def create_key_pair_apart(key_type: str, common_name: str, organization: str) -> KeyPair:
    """As `secrets.key_pairs.create_key_pair`, in a process of its own."""
    match execute_apart(KeyPairOrder(key_type, common_name, organization)):
        case KeyPairCreated(pair):
            return pair
        case Refused(reason):
            raise ValueError(reason)
        case answer:
            raise AssertionError(answer)
