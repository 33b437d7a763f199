"""Watched value: which readers a change wakes."""

from __future__ import annotations

import trio
import trio.testing

from station.runtime.watched_value import WatchedValue

Value = tuple[str, int]


async def test_a_reader_of_a_part_sleeps_while_the_rest_changes() -> None:
    watched: WatchedValue[Value] = WatchedValue(("a", 1))
    results: list[Value] = []

    async def reader() -> None:
        results.append(await watched.wait_part_changed(lambda value: value[0], "a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        [asleep] = watched._waiters
        watched.set(("a", 2))
        await trio.testing.wait_all_tasks_blocked()
        assert list(watched._waiters) == [asleep], "it was woken"
        watched.set(("b", 2))
    assert results == [("b", 2)]


async def test_a_change_that_was_reverted_returns_to_no_reader() -> None:
    watched: WatchedValue[Value] = WatchedValue(("a", 1))
    results: list[Value] = []

    async def reader() -> None:
        results.append(await watched.wait_changed(watched.value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        before = watched.value
        watched.set(("b", 1))
        watched.set(before)
        await trio.testing.wait_all_tasks_blocked()
        assert not results
        watched.set(("c", 1))
    assert results == [("c", 1)]


async def test_a_cancelled_reader_is_removed() -> None:
    watched: WatchedValue[Value] = WatchedValue(("a", 1))
    with trio.move_on_after(0):
        await watched.wait_part_changed(lambda value: value[1], 1)
    assert not watched._waiters
