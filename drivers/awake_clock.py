"""Clock for judging devices: the time in which this process does not run does not count.

A device is not silent while this process does not read. A program that gets no processor, is
stopped by a debugger, or runs in a virtual machine that was paused finds all its deadlines passed
at once. Deadlines that open a contactor or switch off are on real time; whether a device answered
in time is judged by this clock.
"""

from __future__ import annotations

from typing import Final

import trio

PAUSE_MAX_S: Final = 0.1  # as much of a pause counts


class AwakeClock:
    """Seconds in which this process ran. Of each pause between two calls, `PAUSE_MAX_S` counts.

    It advances only as fast as `trio.current_time` if it is read at least every `PAUSE_MAX_S`.
    """

    def __init__(self) -> None:
        self._read_at: float | None = None
        self._awake_s = 0.0

    def now(self) -> float:
        """Seconds; begins at `trio.current_time()` and never runs faster."""
        at = trio.current_time()
        if self._read_at is None:
            self._awake_s = self._read_at = at
        self._awake_s += min(at - self._read_at, PAUSE_MAX_S)
        self._read_at = at
        return self._awake_s
