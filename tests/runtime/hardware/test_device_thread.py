"""The devices' loop in its thread: what crosses to the station's loop, in which order, and the end.

Real time: two loops have no virtual clock in common.
"""

from __future__ import annotations

import logging
import threading
import time

import pytest
import trio

from station.core.desired import DesiredState
from station.runtime.hardware.device_thread import DeviceThread
from station.runtime.watched_value import WatchedValue

TIMEOUT_S = 10


class ThreadBench:
    """A thread and what was called in the station's loop."""

    def __init__(self) -> None:
        self.desired = WatchedValue(DesiredState())
        self.thread = DeviceThread(self.desired)
        self.calls: list[tuple[object, int]] = []

    def note(self, what: object) -> None:
        self.calls.append((what, threading.get_ident()))

    def post(self, what: object) -> None:
        self.thread.post_to_station(lambda: self.note(what))


async def test_reports_arrive_in_the_stations_loop_in_order_also_the_last_ones() -> None:
    bench = ThreadBench()
    in_thread: list[int] = []

    async def work() -> None:
        in_thread.append(threading.get_ident())
        for number in range(1000):
            bench.post(number)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
                bench.post("last")

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.thread.run, work)
            while len(bench.calls) < 1000:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert [what for what, _ in bench.calls] == [*range(1000), "last"]
    assert {thread for _, thread in bench.calls} == {threading.get_ident()} != set(in_thread)


async def test_the_devices_see_each_newest_desired_state() -> None:
    bench = ThreadBench()
    newest = DesiredState(restart_reason="newest")

    async def work() -> None:
        seen = bench.thread.desired_state.value
        while seen is not newest:
            seen = await bench.thread.desired_state.wait_changed(seen)
        bench.post(threading.get_ident())

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.thread.run, work)
            for _ in range(100):
                bench.desired.set(DesiredState())
                await trio.lowlevel.checkpoint()
            bench.desired.set(newest)
    [(seen_in, called_in)] = bench.calls
    assert seen_in != called_in


async def test_a_failure_in_the_thread_is_raised() -> None:
    bench = ThreadBench()

    async def work() -> None:
        bench.post("before")
        raise KeyError("bug")

    with trio.fail_after(TIMEOUT_S), pytest.RaisesGroup(pytest.RaisesExc(KeyError)):
        await bench.thread.run(work)
    assert [what for what, _ in bench.calls] == ["before"]


async def test_a_failure_to_take_a_report_ends_the_devices_and_is_raised() -> None:
    bench = ThreadBench()
    ended: list[bool] = []

    def fail() -> None:
        raise KeyError("bug")

    async def work() -> None:
        bench.thread.post_to_station(fail)
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    with trio.fail_after(TIMEOUT_S), pytest.RaisesGroup(pytest.RaisesExc(KeyError)):
        await bench.thread.run(work)
    assert ended == [True]


async def test_a_cancellation_before_the_start_ends_it() -> None:
    bench = ThreadBench()
    with trio.fail_after(TIMEOUT_S), trio.CancelScope() as scope:
        scope.cancel()
        await bench.thread.run(trio.sleep_forever)
    assert scope.cancelled_caught


async def test_a_held_station_loop_does_not_hold_the_devices() -> None:
    bench = ThreadBench()
    latest: list[float] = []

    async def work() -> None:
        while True:
            due = trio.current_time() + 0.02
            await trio.sleep_until(due)
            latest.append(trio.current_time() - due)

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.thread.run, work)
            await trio.sleep(0.2)
            latest.clear()
            ends_at = time.monotonic() + 1.0
            while time.monotonic() < ends_at:  # computes without a checkpoint
                sum(range(1000))
            rounds = len(latest)
            nursery.cancel_scope.cancel()
    assert rounds > 15  # of 50; an idle machine makes 40


async def test_the_devices_log_is_written_in_the_stations_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = ThreadBench()
    threads: list[int] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            threads.append(threading.get_ident())

    noting = Noting()
    logging.getLogger().addHandler(noting)
    try:

        async def work() -> None:
            logging.getLogger("station.hardware").warning("io 1: lost")

        with trio.fail_after(TIMEOUT_S):
            await bench.thread.run(work)
    finally:
        logging.getLogger().removeHandler(noting)
    assert threads == [threading.get_ident()]
    assert logging.getLogger("station.hardware").propagate
