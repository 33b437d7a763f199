"""When entries leave the journal's file, and what the station notices of it: nothing."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from journal.events import Entry, Event
from journal.format.segments import find_segments
from journal.maintenance import retention
from journal.maintenance.retention import SEGMENT_ENTRIES, RetentionLimits, archive_oldest_entries
from journal.maintenance.verify import verify
from journal.observations import ClockStepped
from journal.projections.outbox import (
    CallParked,
    CallQueued,
    CallRetryRequested,
    TransactionEventSummary,
)
from journal.projections.transactions import TransactionStarted
from journal.state import State, apply_entry, encode_state
from journal.storage.errors import JournalDamaged
from journal.storage.reader import Head
from station.runtime.disk import archiver
from station.runtime.disk.archiver import (
    CHECK_INTERVAL_S,
    SEGMENT_INTERVAL_S,
    Archiver,
    CurrentState,
)
from station.runtime.loop.startup import Startup
from tests.journal.kinds import SMALL_JOURNAL, START

RETENTION = timedelta(days=30)
TICK: Event = ClockStepped(1)


@pytest.fixture
def run_threads_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No threads: the clock of these tests jumps while they work."""

    async def run_sync(work: Callable[..., object], *arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@contextmanager
def open_memory(data: Path) -> Iterator[Startup]:
    memory = Startup(data, SMALL_JOURNAL)
    try:
        yield memory
    finally:
        memory.close()


def append_events(memory: Startup, events: list[Event], *, step_s: int = 60) -> State:
    """Append, and the state then."""
    first, state = memory.store.head.seq + 1, memory.state
    entries = [
        Entry(seq, START + timedelta(seconds=step_s * seq), 1000 * seq, event)
        for seq, event in enumerate(events, first)
    ]
    memory.store.append(entries)
    for entry in entries:
        state = apply_entry(state, entry)
    memory.state = state
    return state


class ArchivedStation:
    """What the archive sees of a station."""

    def __init__(self, memory: Startup, data: Path, days: float) -> None:
        self.memory = memory
        self.days = days
        self.saved: list[int] = []
        self.work = Archiver(
            memory.store,
            data / "journal.db",
            RETENTION,
            read_current=self.present,
            write_snapshot=self.snapshot,
        )

    def present(self) -> CurrentState:
        return CurrentState(
            self.memory.store.head, self.memory.state, START + timedelta(days=self.days)
        )

    def snapshot(self, head: Head, state: State) -> None:
        self.saved.append(head.seq)
        self.memory.save_snapshot(head, state)


async def run_archiver(work: Archiver) -> None:
    """Let it work until it rests."""
    for _ in range(20):
        await wait_all_tasks_blocked()
        await trio.sleep(SEGMENT_INTERVAL_S)


def transaction_started(transaction_id: str) -> Event:
    return TransactionStarted(
        transaction_id=transaction_id, evse_id=1, trigger_reason="CablePluggedIn"
    )


def event_queued(transaction_id: str, event_type: str) -> Event:
    mark = TransactionEventSummary(transaction_id, 1, 0, event_type, "CablePluggedIn")  # type: ignore[arg-type]
    return CallQueued(
        lane="transaction",
        action="TransactionEvent",
        payload=msgspec.Raw(b"{}"),
        transaction_event=mark,
    )


async def test_what_is_older_than_the_legal_period_moves_by_itself(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None
) -> None:
    with open_memory(tmp_path) as memory:
        state = append_events(memory, [TICK] * 3 * SEGMENT_ENTRIES)
        station = ArchivedStation(memory, tmp_path, days=30 + 2 * SEGMENT_ENTRIES / 1440)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(station.work.run)
            await run_archiver(station.work)
            moved, _ = memory.store.reader.archived_position()
            assert moved == 2 * SEGMENT_ENTRIES - 1, "up to what is thirty days old"
            assert station.saved == [3 * SEGMENT_ENTRIES] * 2
            station.days += 1
            await trio.sleep(CHECK_INTERVAL_S)
            await wait_all_tasks_blocked()
            assert memory.store.reader.archived_position()[0] == moved, (
                "a day is not worth a segment"
            )
            nursery.cancel_scope.cancel()
    assert list(verify(tmp_path / "journal.db")) == []
    for forgotten in ((), ("snapshot",)):
        for name in forgotten:
            (tmp_path / name).unlink()
        with open_memory(tmp_path) as memory:
            assert encode_state(memory.state) == encode_state(state)


async def test_it_waits_for_a_moment_without_a_transaction_but_not_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None
) -> None:
    with open_memory(tmp_path) as memory:
        append_events(memory, [*[TICK] * SEGMENT_ENTRIES, transaction_started("t")])
        station = ArchivedStation(memory, tmp_path, days=400)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(station.work.run)
            await trio.sleep(archiver.IDLE_TIMEOUT_S - SEGMENT_INTERVAL_S)
            assert memory.store.reader.archived_position()[0] == 0
            await trio.sleep(2 * SEGMENT_INTERVAL_S)
            await wait_all_tasks_blocked()
            assert memory.store.reader.archived_position()[0] == SEGMENT_ENTRIES
            nursery.cancel_scope.cancel()


async def test_a_disk_that_refuses_is_tried_again(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    run_threads_inline: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with open_memory(tmp_path) as memory:
        append_events(memory, [TICK] * (SEGMENT_ENTRIES + 1))
        station = ArchivedStation(memory, tmp_path, days=400)
        with monkeypatch.context() as patched:
            patched.setattr(retention, "write_atomically", raise_no_space)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(station.work.run)
                await trio.sleep(CHECK_INTERVAL_S / 2)
                assert "No space" in caplog.text
                patched.undo()
                await trio.sleep(CHECK_INTERVAL_S)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert memory.store.reader.archived_position()[0] == SEGMENT_ENTRIES


async def test_a_damaged_journal_that_was_set_aside_is_kept_as_long_as_entries(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None
) -> None:
    with open_memory(tmp_path) as memory:
        append_events(memory, [TICK])
        for days in (29, 31):
            aside = tmp_path / f"journal.damaged-{days}"
            aside.mkdir()
            at = time.time() - days * 86_400
            os.utime(aside, (at, at))
        station = ArchivedStation(memory, tmp_path, days=0)
        with trio.move_on_after(CHECK_INTERVAL_S):
            await station.work.run()
    assert [one.name for one in tmp_path.glob("journal.damaged-*")] == ["journal.damaged-29"]


@pytest.mark.parametrize("charging", [False, True])
async def test_what_cannot_be_read_ends_the_life_once_nobody_charges(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None, charging: bool
) -> None:
    """The next one makes the file anew."""
    with open_memory(tmp_path) as memory:
        append_events(memory, [TICK] * SEGMENT_ENTRIES)
    path = tmp_path / "journal.db"
    content = path.read_bytes()
    at = content.index(b"ClockStepped", len(content) // 2)
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with open_memory(tmp_path) as memory:
        append_events(memory, [transaction_started("t") if charging else TICK])
        station = ArchivedStation(memory, tmp_path, days=400)
        with trio.move_on_after(2 * archiver.IDLE_TIMEOUT_S) as lasting:
            if charging:
                await station.work.run()
            with pytest.raises(JournalDamaged, match="is to be archived"):
                await station.work.run()
        assert lasting.cancelled_caught is charging
        assert memory.store.reader.archived_position()[0] == 0


def raise_no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("events", "first"),
    [
        ([TICK] * 10, 10),
        ([TICK, TICK, transaction_started("t"), TICK], 3),
        ([transaction_started("t"), TICK, event_queued("t", "Ended"), TICK], 3),
        ([transaction_started("t"), event_queued("t", "Ended"), TICK], 2),
    ],
)
def test_what_the_memory_may_ask_for_stays_in_the_file_p2(events: list[Event], first: int) -> None:
    state = State("0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e")
    for seq, event in enumerate(events, 1):
        state = apply_entry(state, Entry(seq, START, 0, event))
    limits = RetentionLimits.from_state(state, len(events), START)
    assert limits.first_kept_seq == first
    waits = any(isinstance(event, CallQueued) for event in events)
    assert set(limits.unsent_transaction_ids) == ({"t"} if waits else set())


def test_a_call_that_is_parked_is_sent_again_from_the_archive_p2(tmp_path: Path) -> None:
    """It does not keep the file long, and is not lost."""
    with open_memory(tmp_path) as memory:
        parked = [
            transaction_started("t"),
            event_queued("t", "Ended"),
            CallParked(2, "refused"),
            *[TICK] * 5000,
        ]
        state = append_events(memory, parked)
        assert archive_oldest_entries(
            memory.store,
            tmp_path / "journal.db",
            RetentionLimits.from_state(state, memory.store.head.seq, START + timedelta(days=300)),
            only_if_worthwhile=True,
        )
        state = append_events(memory, [CallRetryRequested()])
        assert state.outbox.transaction.head == 2
        queued = memory.store.read_entry(2).event
        assert isinstance(queued, CallQueued)
        assert bytes(queued.payload) == b"{}"
    with open_memory(tmp_path) as memory:
        assert encode_state(memory.state) == encode_state(state)


@pytest.mark.parametrize("rotten", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_station_without_its_archive_boots_from_the_snapshot_and_says_so_without_p8(
    tmp_path: Path, rotten: Callable[[Path], None]
) -> None:
    with open_memory(tmp_path) as memory:
        state = append_events(memory, [TICK] * (SEGMENT_ENTRIES + 100))
        station = ArchivedStation(memory, tmp_path, days=400)
        assert station.work._archive_segment(station.present())
        [segment] = find_segments(tmp_path / "journal.db", memory.store.journal_id)
    rotten(segment.path)
    with open_memory(tmp_path) as memory:
        assert encode_state(memory.state) == encode_state(state)
        assert memory.damage_found == []
        append_events(memory, [TICK])
    (tmp_path / "snapshot").unlink()
    with open_memory(tmp_path) as memory:
        [damage] = memory.damage_found
        assert (damage.first_seq, memory.store.head.seq) == (1, SEGMENT_ENTRIES + 101)
    assert [each.seq for each in verify(tmp_path / "journal.db")] == [1]
