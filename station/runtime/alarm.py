"""Who wakes the station when something is due?"""

from __future__ import annotations

from collections.abc import Callable

import trio

from journal.observations import DeadlineReached
from journal.terms import Observation
from station.runtime.clock import Clock
from station.runtime.latest import Latest
from station.wanted import Wanted

PAUSE_MS = 100
SLICE_S = 60.0  # the loop's clock may stand still while the host sleeps; look again so often


async def alarm(
    wanted: Latest[Wanted], clock: Clock, observe: Callable[[Observation], None]
) -> None:
    """Say DeadlineReached when the earliest deadline passes.

    A deadline that nothing answers is said again after a pause, or it would fill the journal.
    """
    pause_ms = 0
    while True:
        current = wanted.value
        if current.wake_ms is None:
            await wanted.changed(_due_ms, None)
            continue
        rest_s = (max(current.wake_ms, pause_ms) - clock.uptime_ms()) / 1000
        if rest_s > 0:
            with trio.move_on_after(min(rest_s, SLICE_S)):
                await wanted.changed(_due_ms, current.wake_ms)
            continue
        observe(DeadlineReached(current.wake_ms))
        pause_ms = clock.uptime_ms() + PAUSE_MS
        await wanted.wait_changed(current)


def _due_ms(level: Wanted) -> int | None:
    return level.wake_ms
