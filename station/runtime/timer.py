"""Timer: reports DeadlineReached when the earliest deadline of the desired state has passed."""

from __future__ import annotations

from collections.abc import Callable

import trio

from journal.events import Observation
from journal.observations import DeadlineReached
from station.core.desired import DesiredState
from station.runtime.clock import Clock
from station.runtime.watched_value import WatchedValue

REPEAT_PAUSE_MS = 100  # between two reports
REPEAT_PAUSE_MAX_MS = (
    1_000  # while the deadline stays in the past: doubled at each report up to this
)
RECHECK_INTERVAL_S = (
    60.0  # the loop's clock may stop while the host sleeps: check uptime this often
)


async def report_deadlines(
    desired_state: WatchedValue[DesiredState], clock: Clock, observe: Callable[[Observation], None]
) -> None:
    """Report DeadlineReached for each deadline; runs until cancelled.

    If a report changes nothing, the deadline is reported again after 200 ms, then 400 ms, at last
    every second. Without that pause it would fill the journal.
    """
    not_before_ms = repeats = 0
    while True:
        current = desired_state.value
        if current.next_due_ms is None:
            await desired_state.wait_part_changed(_due_ms, None)
            continue
        remaining_s = (max(current.next_due_ms, not_before_ms) - clock.uptime_ms()) / 1000
        if remaining_s > 0:
            with trio.move_on_after(min(remaining_s, RECHECK_INTERVAL_S)):
                await desired_state.wait_part_changed(_due_ms, current.next_due_ms)
            continue
        observe(DeadlineReached(current.next_due_ms))
        reported_ms = clock.uptime_ms()
        due_ms = _due_ms(await desired_state.wait_changed(current))
        stays_past = due_ms is not None and due_ms <= reported_ms
        repeats = repeats + 1 if stays_past else 0
        not_before_ms = reported_ms + min(REPEAT_PAUSE_MS << repeats, REPEAT_PAUSE_MAX_MS)


def _due_ms(desired_state: DesiredState) -> int | None:
    return desired_state.next_due_ms
