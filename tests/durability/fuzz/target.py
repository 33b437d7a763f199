"""One target of the fuzzing, how its inputs are changed, and what one input costs."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

CPU_MAX_S: Final = 0.02  # of an input that the loop handles
REPEATED: Final = 3  # an expensive input is measured again: another program may have disturbed
Mutate = Callable[[random.Random, bytes, int], bytes]
FRAGMENTS: Final = (
    *(b'"', b"[", b"{", b"}", b"\\u0000", b"\\ud800", b"1e999", b"-0", b"null", b"\xff"),
    *(b"9" * 400, b"[" * 600, b'{"a":' * 300, b"\x01\x03" * 200, b"t" * 50, b"\r" * 50),
    *(b"-----BEGIN CERTIFICATE-----\n", b"0" * 2000),
)


def mutate(dice: random.Random, data: bytes, bytes_max: int) -> bytes:
    """Change bytes, remove, insert and repeat pieces."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(5):
            case 0:
                changed[at : at + 1] = dice.randbytes(1)
            case 1:
                del changed[at : at + dice.randrange(1, 20)]
            case 2:
                changed[at:at] = dice.randbytes(dice.randrange(1, 20))
            case 3:
                piece = changed[at : at + dice.randrange(1, 50)]
                changed[at:at] = piece * dice.choice((1, 10, 1000))
            case _:
                changed[at:at] = dice.choice(FRAGMENTS) * dice.choice((1, 1, 1, 50))
    return bytes(changed[:bytes_max])


class Target(NamedTuple):
    """A parser, inputs to begin with, and what it may raise."""

    name: str
    run: Callable[[bytes], object]
    seeds: list[bytes]
    bytes_max: int
    expected: tuple[type[Exception], ...] = ()
    mutate: Mutate = mutate
    cpu_max_s: float = CPU_MAX_S
    every: int = 1  # rounds; an input of an expensive target comes less often


class Result(NamedTuple):
    """What one input cost."""

    cpu_s: float
    failure: str  # the exception that was not expected; empty: none


def run_input(target: Target, data: bytes) -> Result:
    """Processor seconds of this thread; the shortest of several, if they are many."""
    shortest = float("inf")
    for _ in range(REPEATED):
        began, failure = time.thread_time(), ""
        try:
            target.run(data)
        except target.expected:
            pass
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        shortest = min(shortest, time.thread_time() - began)
        if shortest <= target.cpu_max_s:
            break
    return Result(shortest, failure)


def memory_of(target: Target, data: bytes) -> int:
    """Bytes that were allocated at once; what it raises was seen by `run_input`."""
    tracemalloc.start()
    try:
        with suppress(Exception):
            target.run(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
