"""Which cases get a station of their own, and of what kind?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Play = TypeVar("Play", bound=Callable[..., None])


def needs_fresh_station(play: Play) -> Play:
    """Mark a case after which the station is not what others expect: other CSMS, other secrets."""
    play.fresh = True  # type: ignore[attr-defined]
    return play


def without_tls(play: Play) -> Play:
    """Mark a case that begins on security profile 1, without TLS."""
    play.security_profile = 1  # type: ignore[attr-defined]
    return needs_fresh_station(play)
