"""What happens when, in a world whose time only jumps from one event to the next?

`Agenda` is everything outside the station: the CSMS, the network, cars and people. It calls plain
functions at their times, one after the other, so that the same seed gives the same run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, NoReturn

import trio

NOON: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UP_SINCE_MS: Final = 20_000  # uptime of a host when its programs begin
FIRST_YEAR, LAST_YEAR = 1971, 9000  # beyond them a host's clock is not set

Act = Callable[[], None]


class Agenda:
    """Acts by the time they are due; what is due at the same time keeps its order."""

    def __init__(self) -> None:
        self._acts: list[tuple[float, int, Act]] = []
        self._count = count()
        self._sooner = trio.Event()

    def after(self, seconds: float, act: Act) -> None:
        """Do something in so many seconds."""
        self.at(trio.current_time() + seconds, act)

    def at(self, due: float, act: Act) -> None:
        """Do something at a time of trio's clock."""
        heapq.heappush(self._acts, (due, next(self._count), act))
        if self._acts[0][0] == due:
            self._sooner.set()

    def __len__(self) -> int:
        return len(self._acts)

    async def run(self) -> NoReturn:
        """Do what is due until cancelled. Whatever an act raises ends it."""
        while True:
            self._sooner = trio.Event()
            while self._acts and self._acts[0][0] <= trio.current_time():
                _, _, act = heapq.heappop(self._acts)
                act()
                await trio.lowlevel.checkpoint()
            due = self._acts[0][0] if self._acts else float("inf")
            with trio.move_on_at(due):
                await self._sooner.wait()


class SimulatedClock:
    """A host's clocks: uptime follows trio's time; the wall clock too, until it is stepped."""

    def __init__(self, wall: datetime = NOON) -> None:
        self._wall = wall
        self._began = trio.current_time()
        self._booted = self._began
        self.step_s = 0.0

    def uptime_ms(self) -> int:
        return UP_SINCE_MS + round((trio.current_time() - self._booted) * 1000)

    def utc(self) -> datetime:
        return self.true_utc() + timedelta(seconds=self.step_s)

    def true_utc(self) -> datetime:
        """What the time really is: the CSMS knows it."""
        return self._wall + timedelta(seconds=trio.current_time() - self._began)

    def step(self, seconds: float) -> None:
        """Move the host's wall clock, if there is such a time."""
        moved = self.step_s + seconds
        days = moved / 86_400
        if FIRST_YEAR < self._wall.year + days / 365.25 < LAST_YEAR:
            self.step_s = moved

    def reboot(self) -> None:
        """The host begins anew; its wall clock is kept by a battery."""
        self._booted = trio.current_time()
