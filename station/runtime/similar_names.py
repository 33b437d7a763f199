"""The known name that is most like one that is not known.

`difflib` takes 0.2 MiB and most stations never need it: the thread that compares imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

SIMILARITY_MIN: Final = 0.5  # 1: equal


async def find_similar_name(name: str, known: Sequence[str]) -> str | None:
    """The most similar of the known names; None: none is similar enough."""
    return await trio.to_thread.run_sync(_find_similar_name, name, known)


def _find_similar_name(name: str, known: Sequence[str]) -> str | None:
    import difflib

    matches = difflib.get_close_matches(name, known, n=1, cutoff=SIMILARITY_MIN)
    return matches[0] if matches else None
