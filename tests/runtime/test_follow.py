"""Is work done for every level that is wanted, and stopped with it?"""

from __future__ import annotations

import msgspec
import trio
from trio.testing import MockClock

from station.runtime.follow import follow
from station.runtime.latest import Latest
from station.wanted import Wanted


class Diary:
    """Work that takes ten seconds and notes what became of it."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def work(self, level: str | None) -> None:
        self.notes.append(f"begins {level}")
        try:
            await trio.sleep(10)
        except trio.Cancelled:
            self.notes.append(f"leaves {level}")
            raise
        self.notes.append(f"ends {level}")


def wants(restart: str | None, wake_ms: int = 0) -> Wanted:
    return msgspec.structs.replace(Wanted(), restart=restart, wake_ms=wake_ms)


async def run(
    autojump_clock: MockClock, *changes: tuple[float, Wanted], first: str | None
) -> list[str]:
    """What the diary says after these changes, each so many seconds after the last."""
    diary, wanted = Diary(), Latest(wants(first))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, wanted, lambda level: level.restart, diary.work)
        for seconds, level in changes:
            await trio.sleep(seconds)
            wanted.set(level)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    return diary.notes


async def test_each_level_gets_its_work(autojump_clock: MockClock) -> None:
    notes = await run(autojump_clock, (20, wants("b")), first="a")
    assert notes == ["begins a", "ends a", "begins b", "ends b"]


async def test_work_nobody_wants_any_more_is_left(autojump_clock: MockClock) -> None:
    notes = await run(autojump_clock, (5, wants(None)), first="a")
    assert notes == ["begins a", "leaves a", "begins None", "ends None"]


async def test_the_same_level_again_changes_nothing(autojump_clock: MockClock) -> None:
    changes = [(1.0, wants("a", wake_ms=number)) for number in range(30)]
    assert await run(autojump_clock, *changes, first="a") == ["begins a", "ends a"]


async def test_a_level_that_comes_back_is_begun_again(autojump_clock: MockClock) -> None:
    notes = await run(autojump_clock, (1, wants("b")), (1, wants("a")), first="a")
    assert notes == ["begins a", "leaves a", "begins b", "leaves b", "begins a", "ends a"]
