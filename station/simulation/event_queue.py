"""Queue of timed actions, and the clocks of a simulated host.

Simulated time jumps from one event to the next. Everything outside the station (CSMS, network,
EVs, people) acts through an `EventQueue`: it calls plain functions at their times, one after the
other, so that the same seed gives the same run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, NoReturn

import trio

START_TIME: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
INITIAL_UPTIME_MS: Final = 20_000  # uptime of a host when its programs start
FIRST_YEAR, LAST_YEAR = 1971, 9000  # a host's clock is not set beyond these

Action = Callable[[], None]


class EventQueue:
    """Actions by their due time; actions due at the same time keep their order."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Action]] = []
        self._sequence = count()
        self._head_changed = trio.Event()

    def run_after(self, seconds: float, action: Action) -> None:
        """Call `action` after so many seconds."""
        self.run_at(trio.current_time() + seconds, action)

    def run_at(self, due_s: float, action: Action) -> None:
        """Call `action` at a time of trio's clock."""
        heapq.heappush(self._queue, (due_s, next(self._sequence), action))
        if self._queue[0][0] == due_s:
            self._head_changed.set()

    def __len__(self) -> int:
        return len(self._queue)

    async def run(self) -> NoReturn:
        """Call due actions until cancelled. An exception of an action propagates."""
        while True:
            self._head_changed = trio.Event()
            while self._queue and self._queue[0][0] <= trio.current_time():
                _, _, action = heapq.heappop(self._queue)
                action()
                await trio.lowlevel.checkpoint()
            due_s = self._queue[0][0] if self._queue else float("inf")
            with trio.move_on_at(due_s):
                await self._head_changed.wait()


class SimulatedClock:
    """The clocks of a host: uptime follows trio's time; so does the wall clock, until stepped."""

    def __init__(self, start_utc: datetime = START_TIME) -> None:
        self._start_utc = start_utc
        self._started_s = trio.current_time()
        self._booted_s = self._started_s
        self.step_s = 0.0

    def uptime_ms(self) -> int:
        return INITIAL_UPTIME_MS + round((trio.current_time() - self._booted_s) * 1000)

    def utc(self) -> datetime:
        return self.true_utc() + timedelta(seconds=self.step_s)

    def true_utc(self) -> datetime:
        """The true time; the CSMS has it."""
        return self._start_utc + timedelta(seconds=trio.current_time() - self._started_s)

    def step_wall_clock(self, seconds: float) -> None:
        """Step the host's wall clock, unless it would leave `FIRST_YEAR` to `LAST_YEAR`."""
        step_s = self.step_s + seconds
        days = step_s / 86_400
        if FIRST_YEAR < self._start_utc.year + days / 365.25 < LAST_YEAR:
            self.step_s = step_s

    def reboot_host(self) -> None:
        """Restart the uptime; the wall clock is kept by a battery."""
        self._booted_s = trio.current_time()
