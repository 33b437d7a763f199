"""Who wakes when a level changes?"""

from __future__ import annotations

import trio
import trio.testing

from station.runtime.watched_value import WatchedValue

Level = tuple[str, int]


async def test_a_reader_of_a_part_sleeps_while_the_rest_changes() -> None:
    level: WatchedValue[Level] = WatchedValue(("a", 1))
    seen: list[Level] = []

    async def reader() -> None:
        seen.append(await level.wait_part_changed(lambda value: value[0], "a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        [asleep] = level._waiters
        level.set(("a", 2))
        await trio.testing.wait_all_tasks_blocked()
        assert list(level._waiters) == [asleep], "it was woken"
        level.set(("b", 2))
    assert seen == [("b", 2)]


async def test_a_change_that_was_taken_back_wakes_nobody_for_good() -> None:
    level: WatchedValue[Level] = WatchedValue(("a", 1))
    seen: list[Level] = []

    async def reader() -> None:
        seen.append(await level.wait_changed(level.value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        before = level.value
        level.set(("b", 1))
        level.set(before)
        await trio.testing.wait_all_tasks_blocked()
        assert not seen
        level.set(("c", 1))
    assert seen == [("c", 1)]


async def test_a_reader_that_is_cancelled_is_forgotten() -> None:
    level: WatchedValue[Level] = WatchedValue(("a", 1))
    with trio.move_on_after(0):
        await level.wait_part_changed(lambda value: value[1], 1)
    assert not level._waiters
