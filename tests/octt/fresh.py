"""Which cases get a station of their own?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Play = TypeVar("Play", bound=Callable[..., None])


def fresh(play: Play) -> Play:
    """Mark a case after which the station is not what others expect: other CSMS, other secrets."""
    play.fresh = True  # type: ignore[attr-defined]
    return play
