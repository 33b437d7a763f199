"""Waiting until a time or a signal, at less than half of the cost of a deadline of trio.

A deadline of trio is a cancel scope: each one that ends raises Cancelled through the task. Drivers
wait for the next cycle far more often than for anything else, so the devices' loop runs on an
`AlarmClock`: it keeps the times of all waiting tasks in a heap, bounds the pause of the loop by the
earliest one, and reschedules the tasks that are due right after the pause, several at once if they
are due together (`drivers.beat`). On any other clock, that of a test for example, an `Alarm` waits
with a deadline of trio.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from time import perf_counter
from typing import Final

import trio

STARTS_AT_S: Final = 10_000.0  # as trio's clock at least: a time of 0 is long ago


class AlarmClock(trio.abc.Clock, trio.abc.Instrument):
    """The clock of a loop, and its instrument: pass it to `trio.run` as both.

    It runs like trio's own clock, from `STARTS_AT_S`.
    """

    def __init__(self) -> None:
        self._zero_at = perf_counter() - STARTS_AT_S
        self._waiting: list[tuple[float, int, Alarm]] = []  # a heap; outdated ones are skipped
        self._numbers = count()

    def start_clock(self) -> None:
        """Part of trio's interface."""

    def current_time(self) -> float:
        return perf_counter() - self._zero_at

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds until a deadline of trio or an alarm, whichever is earlier."""
        waiting = self._waiting
        if waiting and waiting[0][0] < deadline:
            deadline = waiting[0][0]
        return deadline - self.current_time()

    def after_io_wait(self, timeout: float) -> None:
        """Wake the tasks whose time has come."""
        waiting = self._waiting
        if not waiting:
            return
        now = self.current_time()
        while waiting and waiting[0][0] <= now:
            _, number, alarm = heappop(waiting)
            alarm.wake(number)

    def add(self, at: float, alarm: Alarm) -> int:
        """Wake `alarm` at a time; returns the number of this wait, from 0."""
        number = next(self._numbers)
        heappush(self._waiting, (at, number, alarm))
        return number


class Alarm:
    """Lets one task wait until a time; `ring` ends the wait, or the next one, early."""

    def __init__(self) -> None:
        self._is_rung = False
        self._task: trio.lowlevel.Task | None = None  # waiting on an AlarmClock
        self._number = -1  # of its wait
        self._event: trio.Event | None = None  # on another clock

    def ring(self) -> None:
        """End the wait, or the next one if no task waits."""
        self._is_rung = True
        if self._task is not None:
            self.wake(self._number)
        elif self._event is not None:
            self._event.set()

    def reset(self) -> None:
        """Take back a `ring` before the wait."""
        self._is_rung = False

    def wake(self, number: int) -> None:
        """Reschedule the waiting task, if `number` is that of its wait."""
        task = self._task
        if task is not None and number == self._number:
            self._task = None
            trio.lowlevel.reschedule(task)

    async def wait_until(self, at: float) -> bool:
        """Wait until `at`, a time of the loop's clock.

        Returns:
            True if `ring` ended the wait.

        Raises:
            RuntimeError: another task waits; it would never be woken.
        """
        if self._task is not None or self._event is not None:
            raise RuntimeError("another task waits for this alarm")
        clock = trio.lowlevel.current_clock()
        if self._is_rung:
            await trio.lowlevel.checkpoint()
        elif isinstance(clock, AlarmClock):
            await self._wait_on_clock(clock, at)
        else:
            await self._wait_with_deadline(at)
        was_rung, self._is_rung = self._is_rung, False
        return was_rung

    async def _wait_on_clock(self, clock: AlarmClock, at: float) -> None:
        self._task = trio.lowlevel.current_task()
        self._number = clock.add(at, self)
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _wait_with_deadline(self, at: float) -> None:
        self._event = trio.Event()
        try:
            with trio.move_on_at(at):
                await self._event.wait()
        finally:
            self._event = None


async def sleep_until(at: float) -> None:
    """As `trio.sleep_until`."""
    await Alarm().wait_until(at)
