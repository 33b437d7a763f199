"""What happens when, in a world whose time only jumps from one event to the next?

`EventQueue` is everything outside the station: the CSMS, the network, cars and people. It calls plain
functions at their times, one after the other, so that the same seed gives the same run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, NoReturn

import trio

START_TIME: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
INITIAL_UPTIME_MS: Final = 20_000  # uptime of a host when its programs begin
FIRST_YEAR, LAST_YEAR = 1971, 9000  # beyond them a host's clock is not set

Action = Callable[[], None]


class EventQueue:
    """Acts by the time they are due; what is due at the same time keeps its order."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Action]] = []
        self._sequence = count()
        self._head_changed = trio.Event()

    def run_after(self, seconds: float, action: Action) -> None:
        """Do something in so many seconds."""
        self.run_at(trio.current_time() + seconds, action)

    def run_at(self, due_s: float, action: Action) -> None:
        """Do something at a time of trio's clock."""
        heapq.heappush(self._queue, (due_s, next(self._sequence), action))
        if self._queue[0][0] == due_s:
            self._head_changed.set()

    def __len__(self) -> int:
        return len(self._queue)

    async def run(self) -> NoReturn:
        """Do what is due until cancelled. Whatever an act raises ends it."""
        while True:
            self._head_changed = trio.Event()
            while self._queue and self._queue[0][0] <= trio.current_time():
                _, _, act = heapq.heappop(self._queue)
                act()
                await trio.lowlevel.checkpoint()
            due = self._queue[0][0] if self._queue else float("inf")
            with trio.move_on_at(due):
                await self._head_changed.wait()


class SimulatedClock:
    """A host's clocks: uptime follows trio's time; the wall clock too, until it is stepped."""

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
        """What the time really is: the CSMS knows it."""
        return self._start_utc + timedelta(seconds=trio.current_time() - self._started_s)

    def step_wall_clock(self, seconds: float) -> None:
        """Move the host's wall clock, if there is such a time."""
        moved = self.step_s + seconds
        days = moved / 86_400
        if FIRST_YEAR < self._start_utc.year + days / 365.25 < LAST_YEAR:
            self.step_s = moved

    def reboot_host(self) -> None:
        """The host begins anew; its wall clock is kept by a battery."""
        self._booted_s = trio.current_time()
