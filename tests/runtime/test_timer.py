"""Timer: one report per deadline, and no flood."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
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


async def test_a_deadline_is_reported_once_when_it_is_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, reports = LoopClock(), []
    desired_state = WatchedValue(DesiredState(next_due_ms=clock.uptime_ms() + 5_000))

    def observe(observation: Observation) -> None:
        reports.append((observation, trio.current_time()))
        desired_state.set(DesiredState())

    started_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_deadlines, desired_state, clock, observe)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    [(report, at)] = reports
    assert isinstance(report, DeadlineReached)
    assert abs(at - started_at - 5) < 0.01


async def test_an_earlier_deadline_replaces_a_later_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, reports = LoopClock(), []
    desired_state = WatchedValue(DesiredState(next_due_ms=clock.uptime_ms() + 600_000))

    def observe(observation: Observation) -> None:
        reports.append(trio.current_time())
        desired_state.set(DesiredState())

    started_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_deadlines, desired_state, clock, observe)
        await trio.sleep(1)
        desired_state.set(DesiredState(next_due_ms=clock.uptime_ms() + 1_000))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    [at] = reports
    assert abs(at - started_at - 2) < 0.01


async def test_a_deadline_that_changes_nothing_does_not_flood_the_journal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, reports = LoopClock(), []
    desired_state = WatchedValue(DesiredState(next_due_ms=0))

    def observe(observation: Observation) -> None:
        reports.append(observation)
        desired_state.set(DesiredState(next_due_ms=0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_deadlines, desired_state, clock, observe)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert 8 <= len(reports) <= 14


async def test_the_pause_is_short_again_after_a_deadline_with_an_effect(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, reported_at = LoopClock(), []
    desired_state = WatchedValue(DesiredState(next_due_ms=0))
    started_at = trio.current_time()

    def observe(observation: Observation) -> None:
        reported_at.append(trio.current_time() - started_at)
        has_effect = len(reported_at) == 5
        due_ms = clock.uptime_ms() + 300 if has_effect else 0
        desired_state.set(DesiredState(next_due_ms=due_ms))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_deadlines, desired_state, clock, observe)
        await trio.sleep(3.1)
        nursery.cancel_scope.cancel()
    assert reported_at == pytest.approx([0, 0.2, 0.6, 1.4, 2.4, 2.7, 2.9], abs=0.01)
