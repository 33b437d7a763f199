"""Who wakes the station when something is due?"""

from __future__ import annotations

from collections.abc import Callable

import trio

from journal.events import Observation
from journal.observations import DeadlineReached
from station.core.desired import DesiredState
from station.runtime.clock import Clock
from station.runtime.watched_value import WatchedValue

REPEAT_PAUSE_MS = 100
RECHECK_INTERVAL_S = (
    60.0  # the loop's clock may stand still while the host sleeps; look again so often
)


async def report_deadlines(
    desired_state: WatchedValue[DesiredState], clock: Clock, observe: Callable[[Observation], None]
) -> None:
    """Say DeadlineReached when the earliest deadline passes.

    A deadline that nothing answers is said again after a pause, or it would fill the journal.
    """
    pause_ms = 0
    while True:
        current = desired_state.value
        if current.next_due_ms is None:
            await desired_state.wait_part_changed(_due_ms, None)
            continue
        rest_s = (max(current.next_due_ms, pause_ms) - clock.uptime_ms()) / 1000
        if rest_s > 0:
            with trio.move_on_after(min(rest_s, RECHECK_INTERVAL_S)):
                await desired_state.wait_part_changed(_due_ms, current.next_due_ms)
            continue
        observe(DeadlineReached(current.next_due_ms))
        pause_ms = clock.uptime_ms() + REPEAT_PAUSE_MS
        await desired_state.wait_changed(current)


def _due_ms(desired_state: DesiredState) -> int | None:
    return desired_state.next_due_ms
