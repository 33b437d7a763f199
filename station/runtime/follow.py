"""How does a task do what is wanted, and stop when something else is?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from station.runtime.latest import Latest
from station.wanted import Wanted

Level = TypeVar("Level")


async def follow(
    wanted: Latest[Wanted],
    pick: Callable[[Wanted], Level],
    work: Callable[[Level], Awaitable[None]],
) -> None:
    """Do the work for each level that `pick` gives; it is cancelled once another is wanted.

    Work that ends before that has done what it could, and is not begun again.
    """
    current = wanted.value
    while True:
        level = pick(current)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, level)
            current = await wanted.changed(pick, level)
            nursery.cancel_scope.cancel()
