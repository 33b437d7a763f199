"""Archiver: when entries leave the journal's file, and that nothing is lost. P2, P8."""

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
    """No threads: the mock clock would jump while they run."""

    async def run_sync(archiver_task: Callable[..., object], *arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        return archiver_task(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@contextmanager
def open_startup(data: Path) -> Iterator[Startup]:
    startup = Startup(data, SMALL_JOURNAL)
    try:
        yield startup
    finally:
        startup.close()


def append_events(startup: Startup, events: list[Event], *, step_s: int = 60) -> State:
    """Append events and return the state after them."""
    first, state = startup.store.head.seq + 1, startup.state
    entries = [
        Entry(seq, START + timedelta(seconds=step_s * seq), 1000 * seq, event)
        for seq, event in enumerate(events, first)
    ]
    startup.store.append(entries)
    for entry in entries:
        state = apply_entry(state, entry)
    startup.state = state
    return state


class ArchivedStation:
    """A station as the archiver uses it, with a time that the test sets."""

    def __init__(self, startup: Startup, data: Path, days: float) -> None:
        self.startup = startup
        self.days = days
        self.saved: list[int] = []
        self.archiver_task = Archiver(
            startup.store,
            data / "journal.db",
            RETENTION,
            read_current=self.read_current,
            write_snapshot=self.write_snapshot,
        )

    def read_current(self) -> CurrentState:
        return CurrentState(
            self.startup.store.head, self.startup.state, START + timedelta(days=self.days)
        )

    def write_snapshot(self, head: Head, state: State) -> None:
        self.saved.append(head.seq)
        self.startup.save_snapshot(head, state)


async def run_archiver(archiver_task: Archiver) -> None:
    """Give the archiver time to move every segment it may."""
    for _ in range(20):
        await wait_all_tasks_blocked()
        await trio.sleep(SEGMENT_INTERVAL_S)


def transaction_started(transaction_id: str) -> Event:
    return TransactionStarted(
        transaction_id=transaction_id, evse_id=1, trigger_reason="CablePluggedIn"
    )


def event_queued(transaction_id: str, event_type: str) -> Event:
    summary = TransactionEventSummary(transaction_id, 1, 0, event_type, "CablePluggedIn")  # type: ignore[arg-type]
    return CallQueued(
        lane="transaction",
        action="TransactionEvent",
        payload=msgspec.Raw(b"{}"),
        transaction_event=summary,
    )


async def test_entries_older_than_the_retention_are_archived(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None
) -> None:
    with open_startup(tmp_path) as startup:
        state = append_events(startup, [TICK] * 3 * SEGMENT_ENTRIES)
        station = ArchivedStation(startup, tmp_path, days=30 + 2 * SEGMENT_ENTRIES / 1440)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(station.archiver_task.run)
            await run_archiver(station.archiver_task)
            moved, _ = startup.store.reader.archived_position()
            assert moved == 2 * SEGMENT_ENTRIES - 1, "entries up to thirty days old stay"
            assert station.saved == [3 * SEGMENT_ENTRIES] * 2
            station.days += 1
            await trio.sleep(CHECK_INTERVAL_S)
            await wait_all_tasks_blocked()
            assert startup.store.reader.archived_position()[0] == moved, (
                "a day is not worth a segment"
            )
            nursery.cancel_scope.cancel()
    assert list(verify(tmp_path / "journal.db")) == []
    for deleted_files in ((), ("snapshot",)):
        for name in deleted_files:
            (tmp_path / name).unlink()
        with open_startup(tmp_path) as startup:
            assert encode_state(startup.state) == encode_state(state)


async def test_it_waits_until_no_transaction_is_open_for_a_day_at_most(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None
) -> None:
    with open_startup(tmp_path) as startup:
        append_events(startup, [*[TICK] * SEGMENT_ENTRIES, transaction_started("t")])
        station = ArchivedStation(startup, tmp_path, days=400)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(station.archiver_task.run)
            await trio.sleep(archiver.IDLE_TIMEOUT_S - SEGMENT_INTERVAL_S)
            assert startup.store.reader.archived_position()[0] == 0
            await trio.sleep(2 * SEGMENT_INTERVAL_S)
            await wait_all_tasks_blocked()
            assert startup.store.reader.archived_position()[0] == SEGMENT_ENTRIES
            nursery.cancel_scope.cancel()


async def test_a_full_disk_is_tried_again(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    run_threads_inline: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with open_startup(tmp_path) as startup:
        append_events(startup, [TICK] * (SEGMENT_ENTRIES + 1))
        station = ArchivedStation(startup, tmp_path, days=400)
        with monkeypatch.context() as patched:
            patched.setattr(retention, "write_atomically", raise_no_space)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(station.archiver_task.run)
                await trio.sleep(CHECK_INTERVAL_S / 2)
                assert "No space" in caplog.text
                patched.undo()
                await trio.sleep(CHECK_INTERVAL_S)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert startup.store.reader.archived_position()[0] == SEGMENT_ENTRIES


async def test_a_damaged_journal_that_was_set_aside_is_kept_as_long_as_entries(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None
) -> None:
    with open_startup(tmp_path) as startup:
        append_events(startup, [TICK])
        for days in (29, 31):
            quarantine = tmp_path / f"journal.damaged-{days}"
            quarantine.mkdir()
            at = time.time() - days * 86_400
            os.utime(quarantine, (at, at))
        station = ArchivedStation(startup, tmp_path, days=0)
        with trio.move_on_after(CHECK_INTERVAL_S):
            await station.archiver_task.run()
    assert [directory.name for directory in tmp_path.glob("journal.damaged-*")] == [
        "journal.damaged-29"
    ]


@pytest.mark.parametrize("charging", [False, True])
async def test_unreadable_entries_end_the_run_once_no_transaction_is_open(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, run_threads_inline: None, charging: bool
) -> None:
    """The next run rebuilds the file."""
    with open_startup(tmp_path) as startup:
        append_events(startup, [TICK] * SEGMENT_ENTRIES)
    path = tmp_path / "journal.db"
    content = path.read_bytes()
    at = content.index(b"ClockStepped", len(content) // 2)
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with open_startup(tmp_path) as startup:
        append_events(startup, [transaction_started("t") if charging else TICK])
        station = ArchivedStation(startup, tmp_path, days=400)
        with trio.move_on_after(2 * archiver.IDLE_TIMEOUT_S) as timeout:
            if charging:
                await station.archiver_task.run()
            with pytest.raises(JournalDamaged, match="is to be archived"):
                await station.archiver_task.run()
        assert timeout.cancelled_caught is charging
        assert startup.store.reader.archived_position()[0] == 0


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
def test_entries_the_state_refers_to_stay_in_the_file_p2(events: list[Event], first: int) -> None:
    state = State("0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e")
    for seq, event in enumerate(events, 1):
        state = apply_entry(state, Entry(seq, START, 0, event))
    limits = RetentionLimits.from_state(state, len(events), START)
    assert limits.first_kept_seq == first
    waits = any(isinstance(event, CallQueued) for event in events)
    assert set(limits.unsent_transaction_ids) == ({"t"} if waits else set())


def test_a_call_that_is_parked_is_sent_again_from_the_archive_p2(tmp_path: Path) -> None:
    """A parked call does not keep entries in the file, and is not lost."""
    with open_startup(tmp_path) as startup:
        parked = [
            transaction_started("t"),
            event_queued("t", "Ended"),
            CallParked(2, "refused"),
            *[TICK] * 5000,
        ]
        state = append_events(startup, parked)
        assert archive_oldest_entries(
            startup.store,
            tmp_path / "journal.db",
            RetentionLimits.from_state(state, startup.store.head.seq, START + timedelta(days=300)),
            only_if_worthwhile=True,
        )
        state = append_events(startup, [CallRetryRequested()])
        assert state.outbox.transaction.head == 2
        queued = startup.store.read_entry(2).event
        assert isinstance(queued, CallQueued)
        assert bytes(queued.payload) == b"{}"
    with open_startup(tmp_path) as startup:
        assert encode_state(startup.state) == encode_state(state)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_missing_segments_are_reported_only_when_the_snapshot_is_missing_too_p8(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with open_startup(tmp_path) as startup:
        state = append_events(startup, [TICK] * (SEGMENT_ENTRIES + 100))
        station = ArchivedStation(startup, tmp_path, days=400)
        assert station.archiver_task._archive_segment(station.read_current())
        [segment] = find_segments(tmp_path / "journal.db", startup.store.journal_id)
    damage(segment.path)
    with open_startup(tmp_path) as startup:
        assert encode_state(startup.state) == encode_state(state)
        assert startup.damage_found == []
        append_events(startup, [TICK])
    (tmp_path / "snapshot").unlink()
    with open_startup(tmp_path) as startup:
        [lost] = startup.damage_found
        assert (lost.first_seq, startup.store.head.seq) == (1, SEGMENT_ENTRIES + 101)
    assert [each.seq for each in verify(tmp_path / "journal.db")] == [1]
