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

from journal import retention
from journal.observations import ClockStepped
from journal.projections.outbox import CallParked, CallQueued, RetryRequested, TransactionMark
from journal.projections.transactions import TransactionStarted
from journal.retention import SEGMENT_ENTRIES, Limits, archive
from journal.segments import segments_beside
from journal.state import State, encode_state, evolve
from journal.store import Head, JournalDamaged
from journal.terms import Entry, Event
from journal.verify import verify
from station.runtime import archiving
from station.runtime.archiving import LOOK_S, STEP_S, Archiving, Present
from station.runtime.memory import Memory
from tests.journal.kinds import SMALL, START

RETENTION = timedelta(days=30)
TICK: Event = ClockStepped(1)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No threads: the clock of these tests jumps while they work."""

    async def run_sync(work: Callable[..., object], *arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@contextmanager
def remembering(data: Path) -> Iterator[Memory]:
    memory = Memory(data, SMALL)
    try:
        yield memory
    finally:
        memory.close()


def lived(memory: Memory, events: list[Event], *, step_s: int = 60) -> State:
    """Append, and the state then."""
    first, state = memory.store.head.seq + 1, memory.state
    entries = [
        Entry(seq, START + timedelta(seconds=step_s * seq), 1000 * seq, event)
        for seq, event in enumerate(events, first)
    ]
    memory.store.append(entries)
    for entry in entries:
        state = evolve(state, entry)
    memory.state = state
    return state


class Station:
    """What the archive sees of a station."""

    def __init__(self, memory: Memory, data: Path, days: float) -> None:
        self.memory = memory
        self.days = days
        self.saved: list[int] = []
        self.work = Archiving(
            memory.store,
            data / "journal.db",
            RETENTION,
            present=self.present,
            snapshot=self.snapshot,
        )

    def present(self) -> Present:
        return Present(self.memory.store.head, self.memory.state, START + timedelta(days=self.days))

    def snapshot(self, head: Head, state: State) -> None:
        self.saved.append(head.seq)
        self.memory.snapshot(head, state)


async def looks(work: Archiving) -> None:
    """Let it work until it rests."""
    for _ in range(20):
        await wait_all_tasks_blocked()
        await trio.sleep(STEP_S)


def opens(transaction_id: str) -> Event:
    return TransactionStarted(
        transaction_id=transaction_id, evse_id=1, trigger_reason="CablePluggedIn"
    )


def tells(transaction_id: str, event_type: str) -> Event:
    mark = TransactionMark(transaction_id, 1, 0, event_type, "CablePluggedIn")  # type: ignore[arg-type]
    return CallQueued(
        lane="transaction", action="TransactionEvent", payload=msgspec.Raw(b"{}"), transaction=mark
    )


async def test_what_is_older_than_the_legal_period_moves_by_itself(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, inline: None
) -> None:
    with remembering(tmp_path) as memory:
        state = lived(memory, [TICK] * 3 * SEGMENT_ENTRIES)
        station = Station(memory, tmp_path, days=30 + 2 * SEGMENT_ENTRIES / 1440)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(station.work.run)
            await looks(station.work)
            moved, _ = memory.store.reader.archived()
            assert moved == 2 * SEGMENT_ENTRIES - 1, "up to what is thirty days old"
            assert station.saved == [3 * SEGMENT_ENTRIES] * 2
            station.days += 1
            await trio.sleep(LOOK_S)
            await wait_all_tasks_blocked()
            assert memory.store.reader.archived()[0] == moved, "a day is not worth a segment"
            nursery.cancel_scope.cancel()
    assert list(verify(tmp_path / "journal.db")) == []
    for forgotten in ((), ("snapshot",)):
        for name in forgotten:
            (tmp_path / name).unlink()
        with remembering(tmp_path) as memory:
            assert encode_state(memory.state) == encode_state(state)


async def test_it_waits_for_a_moment_without_a_transaction_but_not_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, inline: None
) -> None:
    with remembering(tmp_path) as memory:
        lived(memory, [*[TICK] * SEGMENT_ENTRIES, opens("t")])
        station = Station(memory, tmp_path, days=400)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(station.work.run)
            await trio.sleep(archiving.PATIENCE_S - STEP_S)
            assert memory.store.reader.archived()[0] == 0
            await trio.sleep(2 * STEP_S)
            await wait_all_tasks_blocked()
            assert memory.store.reader.archived()[0] == SEGMENT_ENTRIES
            nursery.cancel_scope.cancel()


async def test_a_disk_that_refuses_is_tried_again(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    inline: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with remembering(tmp_path) as memory:
        lived(memory, [TICK] * (SEGMENT_ENTRIES + 1))
        station = Station(memory, tmp_path, days=400)
        with monkeypatch.context() as patched:
            patched.setattr(retention, "written", refusing)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(station.work.run)
                await trio.sleep(LOOK_S / 2)
                assert "No space" in caplog.text
                patched.undo()
                await trio.sleep(LOOK_S)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert memory.store.reader.archived()[0] == SEGMENT_ENTRIES


async def test_a_damaged_journal_that_was_set_aside_is_kept_as_long_as_entries(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, inline: None
) -> None:
    with remembering(tmp_path) as memory:
        lived(memory, [TICK])
        for days in (29, 31):
            aside = tmp_path / f"journal.damaged-{days}"
            aside.mkdir()
            at = time.time() - days * 86_400
            os.utime(aside, (at, at))
        station = Station(memory, tmp_path, days=0)
        with trio.move_on_after(LOOK_S):
            await station.work.run()
    assert [one.name for one in tmp_path.glob("journal.damaged-*")] == ["journal.damaged-29"]


@pytest.mark.parametrize("charging", [False, True])
async def test_what_cannot_be_read_ends_the_life_once_nobody_charges(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, inline: None, charging: bool
) -> None:
    """The next one makes the file anew."""
    with remembering(tmp_path) as memory:
        lived(memory, [TICK] * SEGMENT_ENTRIES)
    path = tmp_path / "journal.db"
    content = path.read_bytes()
    at = content.index(b"ClockStepped", len(content) // 2)
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with remembering(tmp_path) as memory:
        lived(memory, [opens("t") if charging else TICK])
        station = Station(memory, tmp_path, days=400)
        with trio.move_on_after(2 * archiving.PATIENCE_S) as lasting:
            if charging:
                await station.work.run()
            with pytest.raises(JournalDamaged, match="is to be archived"):
                await station.work.run()
        assert lasting.cancelled_caught is charging
        assert memory.store.reader.archived()[0] == 0


def refusing(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("events", "first"),
    [
        ([TICK] * 10, 10),
        ([TICK, TICK, opens("t"), TICK], 3),
        ([opens("t"), TICK, tells("t", "Ended"), TICK], 3),
        ([opens("t"), tells("t", "Ended"), TICK], 2),
    ],
)
def test_what_the_memory_may_ask_for_stays_in_the_file_p2(events: list[Event], first: int) -> None:
    state = State("0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e")
    for seq, event in enumerate(events, 1):
        state = evolve(state, Entry(seq, START, 0, event))
    limits = Limits.of(state, len(events), START)
    assert limits.first == first
    waits = any(isinstance(event, CallQueued) for event in events)
    assert set(limits.transactions) == ({"t"} if waits else set())


def test_a_call_that_is_parked_is_sent_again_from_the_archive_p2(tmp_path: Path) -> None:
    """It does not keep the file long, and is not lost."""
    with remembering(tmp_path) as memory:
        parked = [opens("t"), tells("t", "Ended"), CallParked(2, "refused"), *[TICK] * 5000]
        state = lived(memory, parked)
        assert archive(
            memory.store,
            tmp_path / "journal.db",
            Limits.of(state, memory.store.head.seq, START + timedelta(days=300)),
            worth=True,
        )
        state = lived(memory, [RetryRequested()])
        assert state.outbox.transaction.head == 2
        queued = memory.store.entry(2).event
        assert isinstance(queued, CallQueued)
        assert bytes(queued.payload) == b"{}"
    with remembering(tmp_path) as memory:
        assert encode_state(memory.state) == encode_state(state)


@pytest.mark.parametrize("rotten", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_station_without_its_archive_boots_from_the_snapshot_and_says_so_without_p8(
    tmp_path: Path, rotten: Callable[[Path], None]
) -> None:
    with remembering(tmp_path) as memory:
        state = lived(memory, [TICK] * (SEGMENT_ENTRIES + 100))
        station = Station(memory, tmp_path, days=400)
        assert station.work._step(station.present())
        [segment] = segments_beside(tmp_path / "journal.db", memory.store.journal_id)
    rotten(segment.path)
    with remembering(tmp_path) as memory:
        assert encode_state(memory.state) == encode_state(state)
        assert memory.found == []
        lived(memory, [TICK])
    (tmp_path / "snapshot").unlink()
    with remembering(tmp_path) as memory:
        [damage] = memory.found
        assert (damage.first, memory.store.head.seq) == (1, SEGMENT_ENTRIES + 101)
    assert [each.entry for each in verify(tmp_path / "journal.db")] == [1]
