"""Waiting until a time or a signal, on the clock of the devices' loop and on trio's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from drivers.alarm import Alarm, AlarmClock, sleep_until

RunLoop = Callable[[Callable[[], Awaitable[Any]]], Any]
SOON_S = 0.02
NEVER_S = 1_000_000.0


def run_on_alarm_clock(work: Callable[[], Awaitable[Any]]) -> Any:
    clock = AlarmClock()
    return trio.run(work, clock=clock, instruments=[clock])


@pytest.fixture(params=[run_on_alarm_clock, trio.run], ids=["AlarmClock", "trio"])
def run_loop(request: pytest.FixtureRequest) -> RunLoop:
    run: RunLoop = request.param
    return run


def test_a_wait_ends_at_its_time(run_loop: RunLoop) -> None:
    async def work() -> None:
        alarm = Alarm()
        for _ in range(3):
            at = trio.current_time() + SOON_S
            assert not await alarm.wait_until(at)
            assert trio.current_time() >= at
        await sleep_until(at - 1)  # a time that has passed
        at = trio.current_time() + SOON_S
        await sleep_until(at)
        assert trio.current_time() >= at

    run_loop(work)


def test_ring_ends_the_wait_or_the_next_one_and_reset_takes_it_back(run_loop: RunLoop) -> None:
    async def work() -> None:
        alarm = Alarm()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alarm.wait_until, NEVER_S)
            await trio.testing.wait_all_tasks_blocked()
            alarm.ring()
            alarm.ring()  # of the same wait
        alarm.ring()
        assert await alarm.wait_until(NEVER_S)
        alarm.ring()
        alarm.reset()
        assert not await alarm.wait_until(trio.current_time() + SOON_S)

    run_loop(work)


def test_a_cancelled_wait_does_not_end_a_later_one(run_loop: RunLoop) -> None:
    async def work() -> None:
        alarm, began_at = Alarm(), trio.current_time()
        for waited in (trio.move_on_after(0), trio.move_on_after(SOON_S)):
            with waited:
                await alarm.wait_until(began_at + 2 * SOON_S)
            assert waited.cancelled_caught or trio.current_time() >= began_at + 2 * SOON_S
        assert not await alarm.wait_until(began_at + 4 * SOON_S)
        assert trio.current_time() >= began_at + 4 * SOON_S

    run_loop(work)


def test_a_wait_that_was_rung_does_not_end_the_next_one_at_its_time(run_loop: RunLoop) -> None:
    async def work() -> None:
        alarm, began_at = Alarm(), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alarm.wait_until, began_at + SOON_S)
            await trio.testing.wait_all_tasks_blocked()
            alarm.ring()
        assert not await alarm.wait_until(began_at + 3 * SOON_S)
        assert trio.current_time() >= began_at + 3 * SOON_S

    run_loop(work)


def test_a_second_task_cannot_wait(run_loop: RunLoop) -> None:
    async def work() -> None:
        alarm = Alarm()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alarm.wait_until, trio.current_time() + NEVER_S)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="another task waits"):
                await alarm.wait_until(trio.current_time())
            nursery.cancel_scope.cancel()
        assert not await alarm.wait_until(trio.current_time())

    run_loop(work)


def test_every_wait_is_a_checkpoint(run_loop: RunLoop) -> None:
    async def wait(alarm: Alarm) -> None:
        alarm.ring()
        await alarm.wait_until(NEVER_S)
        await alarm.wait_until(0)

    async def work() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await wait(Alarm())
        assert scope.cancelled_caught

    run_loop(work)


def test_alarms_and_deadlines_of_trio_end_in_the_order_of_their_times() -> None:
    ended = []

    async def wait(name: str, at: float) -> None:
        await (trio.sleep_until(at) if "trio" in name else sleep_until(at))
        ended.append(name)

    async def work() -> None:
        now = trio.current_time()
        async with trio.open_nursery() as nursery:
            for place, name in enumerate(("1", "2 trio", "3", "4 trio", "5")):
                nursery.start_soon(wait, name, now + (place + 1) * SOON_S)

    run_on_alarm_clock(work)
    assert ended == ["1", "2 trio", "3", "4 trio", "5"]


def test_tasks_that_are_due_together_wake_the_loop_once() -> None:
    passes = []

    class Counter(trio.abc.Instrument):
        def after_io_wait(self, timeout: float) -> None:
            passes.append(timeout)

    async def work() -> None:
        at = trio.current_time() + 5 * SOON_S
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(partial(sleep_until, at))
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(Counter())

    run_on_alarm_clock(work)
    assert len(passes) < 20, "each task had a pass of its own"
