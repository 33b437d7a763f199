"""Work for a part of the desired state: started, cancelled, not repeated."""

from __future__ import annotations

import msgspec
import trio
from trio.testing import MockClock

from station.core.desired import DesiredState
from station.runtime.reconcile import run_while_desired
from station.runtime.watched_value import WatchedValue


class RecordedWork:
    """Work of ten seconds that notes its start and its end."""

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
    """The notes after these changes, each so many seconds after the one before."""
    work, desired = RecordedWork(), WatchedValue(desired_state(first))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run_while_desired, desired, lambda state: state.restart_reason, work.run_work
        )
        for seconds, changed in changes:
            await trio.sleep(seconds)
            desired.set(changed)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    return work.notes


async def test_each_value_gets_its_work(autojump_clock: MockClock) -> None:
    notes = await run_changes(autojump_clock, (20, desired_state("b")), first="a")
    assert notes == ["begins a", "ends a", "begins b", "ends b"]


async def test_work_for_an_old_value_is_cancelled(autojump_clock: MockClock) -> None:
    notes = await run_changes(autojump_clock, (5, desired_state(None)), first="a")
    assert notes == ["begins a", "leaves a", "begins None", "ends None"]


async def test_the_same_value_again_changes_nothing(autojump_clock: MockClock) -> None:
    changes = [(1.0, desired_state("a", wake_ms=number)) for number in range(30)]
    assert await run_changes(autojump_clock, *changes, first="a") == ["begins a", "ends a"]


async def test_a_value_that_returns_is_started_again(autojump_clock: MockClock) -> None:
    notes = await run_changes(
        autojump_clock, (1, desired_state("b")), (1, desired_state("a")), first="a"
    )
    assert notes == ["begins a", "leaves a", "begins b", "leaves b", "begins a", "ends a"]
