"""Commit thread: the loop continues meanwhile, failures are raised, a cancellation waits. P3."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio

from journal.format.hash_chain import EntryRow
from journal.storage.errors import JournalFailed
from station.runtime.loop.commit_thread import CommitThread


async def test_the_loop_continues_while_the_disk_is_busy() -> None:
    disk = threading.Event()

    def write(rows: Sequence[EntryRow]) -> None:
        disk.wait()

    with CommitThread(write) as commit_thread:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit_thread.write_and_wait, ())
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            disk.set()


async def test_a_failure_is_raised_once() -> None:
    failures = [JournalFailed("the disk is gone")]

    def write(rows: Sequence[EntryRow]) -> None:
        if failures:
            raise failures.pop()

    with CommitThread(write) as commit_thread:
        with pytest.raises(JournalFailed, match="the disk is gone"):
            await commit_thread.write_and_wait(())
        await commit_thread.write_and_wait(())


async def test_a_cancelled_wait_returns_after_the_write_p3() -> None:
    disk, done = threading.Event(), []

    def write(rows: Sequence[EntryRow]) -> None:
        disk.wait()
        done.append(rows)

    with CommitThread(write) as commit_thread:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit_thread.write_and_wait, ())
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
            disk.set()
        assert done == [()]
