"""Does a commit in a thread come back as it went, and does the loop go on meanwhile?"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio

from journal.format.hash_chain import EntryRow
from journal.storage.errors import JournalFailed
from station.runtime.loop.commit_thread import CommitThread


async def test_the_loop_goes_on_while_the_disk_does_not() -> None:
    disk = threading.Event()

    def write(rows: Sequence[EntryRow]) -> None:
        disk.wait()

    with CommitThread(write) as writer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.write_and_wait, ())
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            disk.set()


async def test_a_commit_that_fails_says_so_and_the_next_does_not() -> None:
    failures = [JournalFailed("the disk is gone")]

    def write(rows: Sequence[EntryRow]) -> None:
        if failures:
            raise failures.pop()

    with CommitThread(write) as writer:
        with pytest.raises(JournalFailed, match="the disk is gone"):
            await writer.write_and_wait(())
        await writer.write_and_wait(())


async def test_whoever_is_cancelled_still_waits_for_the_disk_p3() -> None:
    disk, done = threading.Event(), []

    def write(rows: Sequence[EntryRow]) -> None:
        disk.wait()
        done.append(rows)

    with CommitThread(write) as writer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.write_and_wait, ())
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
            disk.set()
        assert done == [()]
