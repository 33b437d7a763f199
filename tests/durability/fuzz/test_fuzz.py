"""No input of a peer or a device costs more than its limit; `python -m tests.durability.fuzz`."""

from __future__ import annotations

from tests.durability.fuzz.__main__ import fuzz
from tests.durability.fuzz.target import CPU_MAX_S, Target, run_input

SECONDS = 60.0
ROUNDS = 300  # the same inputs on every machine


def test_no_input_is_too_expensive_or_raises() -> None:
    lines: list[str] = []
    assert fuzz(SECONDS, 0, lines.append, ROUNDS) == 0, lines


def test_an_expensive_input_and_an_exception_are_found() -> None:
    slow = Target("slow", lambda data: sum(range(len(data) * 10_000_000)), [], 1)
    assert run_input(slow, b"x").cpu_s > CPU_MAX_S
    raising = Target("raising", lambda data: {b"": 0}[data], [], 1)
    assert run_input(raising, b"x").failure.startswith("KeyError")
    allowed = raising._replace(expected=(KeyError,))
    assert run_input(allowed, b"x").failure == ""
