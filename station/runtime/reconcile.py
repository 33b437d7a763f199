"""Run a task for a part of the desired state; cancel it when that part changes."""

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
    """Run `work` for each value of a part of the desired state; a new value cancels it.

    Work that returns earlier is not started again for the same value.
    """
    current = desired_state.value
    while True:
        part = select(current)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, part)
            current = await desired_state.wait_part_changed(select, part)
            nursery.cancel_scope.cancel()
