"""How does a task do what is wanted, and stop when something else is?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from station.core.desired import DesiredState
from station.runtime.watched_value import WatchedValue

Part = TypeVar("Part")


async def run_while_desired(
    desired_state: WatchedValue[DesiredState],
    select: Callable[[DesiredState], Part],
    work: Callable[[Part], Awaitable[None]],
) -> None:
    """Do the work for each level that `pick` gives; it is cancelled once another is wanted.

    Work that ends before that has done what it could, and is not begun again.
    """
    current = desired_state.value
    while True:
        level = select(current)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, level)
            current = await desired_state.wait_part_changed(select, level)
            nursery.cancel_scope.cancel()
