"""Is work done for every level that is wanted, and stopped with it?"""

from __future__ import annotations

import msgspec
import trio
from trio.testing import MockClock

from station.core.desired import DesiredState
from station.runtime.reconcile import run_while_desired
from station.runtime.watched_value import WatchedValue


class RecordedWork:
    """Work that takes ten seconds and notes what became of it."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def run_work(self, value: str | None) -> None:
        self.notes.append(f"begins {value}")
        try:
            await trio.sleep(10)
        except trio.Cancelled:
            self.notes.append(f"leaves {value}")
            raise
        self.notes.append(f"ends {value}")


def desired_state(restart: str | None, wake_ms: int = 0) -> DesiredState:
    return msgspec.structs.replace(DesiredState(), restart_reason=restart, next_due_ms=wake_ms)


async def run_changes(
    autojump_clock: MockClock, *changes: tuple[float, DesiredState], first: str | None
) -> list[str]:
    """What the diary says after these changes, each so many seconds after the last."""
    diary, wanted = RecordedWork(), WatchedValue(desired_state(first))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run_while_desired, wanted, lambda level: level.restart_reason, diary.run_work
        )
        for seconds, level in changes:
            await trio.sleep(seconds)
            wanted.set(level)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    return diary.notes


async def test_each_level_gets_its_work(autojump_clock: MockClock) -> None:
    notes = await run_changes(autojump_clock, (20, desired_state("b")), first="a")
    assert notes == ["begins a", "ends a", "begins b", "ends b"]


async def test_work_nobody_wants_any_more_is_left(autojump_clock: MockClock) -> None:
    notes = await run_changes(autojump_clock, (5, desired_state(None)), first="a")
    assert notes == ["begins a", "leaves a", "begins None", "ends None"]


async def test_the_same_level_again_changes_nothing(autojump_clock: MockClock) -> None:
    changes = [(1.0, desired_state("a", wake_ms=number)) for number in range(30)]
    assert await run_changes(autojump_clock, *changes, first="a") == ["begins a", "ends a"]


async def test_a_level_that_comes_back_is_begun_again(autojump_clock: MockClock) -> None:
    notes = await run_changes(
        autojump_clock, (1, desired_state("b")), (1, desired_state("a")), first="a"
    )
    assert notes == ["begins a", "leaves a", "begins b", "leaves b", "begins a", "ends a"]
