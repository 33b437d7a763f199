"""The feed follows a journal: while it is written, replaced, damaged, or not there yet."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import trio

from journal.observations import StopButtonPressed
from station.page.journal_feed import JournalFeed
from tests.runtime.fixtures_recorder import STATION_STARTED, open_recorder


@asynccontextmanager
async def run_feed(directory: Path) -> AsyncIterator[JournalFeed]:
    feed = JournalFeed(directory)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.run)
        yield feed
        nursery.cancel_scope.cancel()


async def wait_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.02)


def seqs(feed: JournalFeed) -> list[int]:
    return [line.seq for line in feed.kept_lines(0, 10_000)]


async def test_a_commit_is_read_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, _, _):
        recorder.observe(STATION_STARTED)
        await recorder.commit_now()
        async with run_feed(tmp_path) as feed:
            await wait_until(lambda: feed.generation == 1)
            for _ in range(5):
                recorder.observe(StopButtonPressed(1))
                await recorder.commit_now()
                changed, began = feed.changed, trio.current_time()
                await changed.wait()
                assert trio.current_time() - began < 1  # 0.1 on a machine that is not loaded
            assert seqs(feed) == list(range(1, recorder.head.seq + 1))


async def test_a_journal_that_appears_later_is_read(tmp_path: Path) -> None:
    async with run_feed(tmp_path) as feed:
        await wait_until(lambda: "No such file" in feed.failure)
        with open_recorder(tmp_path) as (recorder, _, _):
            recorder.observe(STATION_STARTED)
            await recorder.commit_now()
            await wait_until(lambda: feed.generation == 1)
            assert feed.failure == ""
            assert feed.head_seq == recorder.head.seq


async def test_another_journal_in_its_place_starts_a_generation(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, _, _):
        for _ in range(10):
            recorder.observe(StopButtonPressed(1))
        await recorder.commit_now()
    async with run_feed(tmp_path) as feed:
        await wait_until(lambda: feed.generation == 1)
        (tmp_path / "old").mkdir()
        for path in tmp_path.glob("journal.db*"):
            path.rename(tmp_path / "old" / path.name)
        with open_recorder(tmp_path) as (recorder, _, _):
            recorder.observe(STATION_STARTED)
            await recorder.commit_now()
            await wait_until(lambda: feed.generation == 2)
            assert seqs(feed) == list(range(1, recorder.head.seq + 1))


async def test_a_copy_of_the_same_journal_in_its_place_continues(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, _, _):
        recorder.observe(STATION_STARTED)
        await recorder.commit_now()
    async with run_feed(tmp_path) as feed:
        await wait_until(lambda: feed.generation == 1)
        shutil.copy(tmp_path / "journal.db", tmp_path / "copy")
        (tmp_path / "copy").rename(tmp_path / "journal.db")
        with open_recorder(tmp_path) as (recorder, _, _):
            recorder.observe(StopButtonPressed(1))
            await recorder.commit_now()
            head = recorder.head.seq
            await wait_until(lambda: feed.head_seq == head)
        assert feed.generation == 1
        assert seqs(feed) == list(range(1, head + 1))


async def test_an_unreadable_entry_has_a_line_in_its_place(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, _, _):
        for _ in range(3):
            recorder.observe(StopButtonPressed(1))
        await recorder.commit_now()
        head = recorder.head.seq
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("UPDATE entry SET kind = 'Unheard' WHERE seq = 2")
        connection.commit()
    async with run_feed(tmp_path) as feed:
        await wait_until(lambda: feed.generation == 1)
        assert seqs(feed) == list(range(1, head + 1))
        line = msgspec.json.decode(feed.kept_lines(1, 1)[0].body)
        assert line["kind"] == "Unreadable"
