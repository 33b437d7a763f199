"""Does the station wake when something is due, and only then?"""

from __future__ import annotations

from datetime import UTC, datetime

import trio

from journal.events import Observation
from journal.observations import DeadlineReached
from station.core.desired import DesiredState
from station.runtime.timer import report_deadlines
from station.runtime.watched_value import WatchedValue


class LoopClock:
    """Uptime is the loop's own time."""

    def uptime_ms(self) -> int:
        return round(trio.current_time() * 1000)

    def utc(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)


async def test_a_deadline_is_said_once_when_it_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, heard = LoopClock(), []
    wanted = WatchedValue(DesiredState(next_due_ms=clock.uptime_ms() + 5_000))

    def observe(observation: Observation) -> None:
        heard.append((observation, trio.current_time()))
        wanted.set(DesiredState())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_deadlines, wanted, clock, observe)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    [(said, at)] = heard
    assert isinstance(said, DeadlineReached)
    assert abs(at - began - 5) < 0.01


async def test_an_earlier_deadline_replaces_a_later_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, heard = LoopClock(), []
    wanted = WatchedValue(DesiredState(next_due_ms=clock.uptime_ms() + 600_000))

    def observe(observation: Observation) -> None:
        heard.append(trio.current_time())
        wanted.set(DesiredState())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_deadlines, wanted, clock, observe)
        await trio.sleep(1)
        wanted.set(DesiredState(next_due_ms=clock.uptime_ms() + 1_000))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    [at] = heard
    assert abs(at - began - 2) < 0.01


async def test_a_deadline_nobody_answers_does_not_flood_the_journal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, heard = LoopClock(), []
    wanted = WatchedValue(DesiredState(next_due_ms=0))

    def observe(observation: Observation) -> None:
        heard.append(observation)
        wanted.set(DesiredState(next_due_ms=0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_deadlines, wanted, clock, observe)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert 2 <= len(heard) <= 110
