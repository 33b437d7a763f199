"""A broken invariant."""

from __future__ import annotations


class InvariantError(AssertionError):
    """An invariant, and how it was broken."""


def check(condition: object, invariant: str, message: str) -> None:
    """Raise InvariantError unless the condition holds."""
    if not condition:
        raise InvariantError(f"{invariant}: {message}")
