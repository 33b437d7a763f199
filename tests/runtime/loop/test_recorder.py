"""Recorder: commit before effect, group commit, readings, clock steps, failing disk. P3, P4, P6."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from journal.events import IdToken
from journal.format.hash_chain import EntryRow
from journal.observations import (
    CableReported,
    ClockStepped,
    ContactorReported,
    DeviceFaulted,
    DeviceRecovered,
    FrameSent,
    IdTokenPresented,
    LinkOpened,
    MeterRead,
    VariablePreset,
)
from journal.projections.authorizations import AuthorizationRefused
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from journal.state import State, apply_entry, digest_state
from journal.storage.errors import DiskFull, JournalFailed
from journal.storage.store import Store
from station.runtime.loop.commit_thread import WriteRows
from station.runtime.loop.recorder import BATCH_MAX, LAZY_DELAY_S, LOGGED_EVENTS
from tests.runtime.fixtures_recorder import IDLE_REPORTS, STATION_STARTED, open_recorder

ALICE = IdToken("#0123456789abcdef", "ISO14443")


async def test_the_desired_state_changes_after_the_commit_p3(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        committed_seqs: list[int] = []
        append = store.append

        def checked_append(entries: Any) -> None:
            assert recorder.desired_state.value.link.open_count == 0, "visible before the commit"
            append(entries)
            committed_seqs.append(store.head.seq)

        store.append = checked_append  # type: ignore[method-assign]
        recorder.observe(STATION_STARTED)
        recorder.observe(LinkOpened(1, "ws://csms", 1))
        await recorder.commit_now()
        assert recorder.desired_state.value.link.open_count == 1
        opened = recorder.state.link.opened_seq
        assert type(store.read_entry(opened).event).__name__ == "LinkOpened"
        assert recorder.desired_state.value.call is not None  # BootNotification
        assert committed_seqs == [store.head.seq]


async def test_what_a_technician_looks_for_first_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="station")
    with open_recorder(tmp_path) as (recorder, _, _):
        recorder.observe(STATION_STARTED)
        recorder.observe(DeviceFaulted(0, "emergency_stop", "pressed", blocks_charging=True))
        recorder.observe(DeviceRecovered(0, "emergency_stop", "pressed"))
        await recorder.commit_now()
    texts = [record.getMessage() for record in caplog.records]
    [pressed, _] = [text for text in texts if "emergency_stop pressed" in text]
    assert pressed.startswith("entry "), "the number for `station why`"
    assert "charging not allowed" in pressed
    kinds = {AuthorizationRefused, TransactionStarted, TransactionStopOrdered}
    assert kinds <= LOGGED_EVENTS.keys()


async def test_observations_queued_together_share_a_commit(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        commits: list[int] = []
        append = store.append

        def counting_append(entries: Any) -> None:
            append(entries)
            commits.append(len(entries))

        store.append = counting_append  # type: ignore[method-assign]
        for report in (STATION_STARTED, *IDLE_REPORTS):
            recorder.observe(report)
        await recorder.commit_now()
        assert len(commits) == 1
        assert commits[0] >= 5


async def test_replay_gives_the_same_state_p4(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, clock):
        for report in (STATION_STARTED, *IDLE_REPORTS, LinkOpened(1, "ws://csms", 1)):
            recorder.observe(report)
            clock.advance(1)
            await recorder.commit_now()
        state = State(store.journal_id)
        for entry in store.iter_entries():
            state = apply_entry(state, entry)
        assert digest_state(state) == digest_state(recorder.state)


async def test_a_reading_is_journaled_with_the_message_that_carries_it(tmp_path: Path) -> None:
    reading = MeterRead(1, Decimal("2935.600"))
    with open_recorder(tmp_path, latest_reading=lambda evse_id: reading) as (recorder, store, _):
        for report in (STATION_STARTED, *IDLE_REPORTS):
            recorder.observe(report)
        await recorder.commit_now()
        before = store.head.seq
        recorder.state = evolve_authorized(recorder.state)
        recorder.observe(CableReported(1, 1, True))
        await recorder.commit_now()
        kinds = [type(entry.event).__name__ for entry in store.iter_entries(before + 1)]
        assert kinds[0] == "MeterRead"
        [started] = [
            entry.event
            for entry in store.iter_entries(before + 1)
            if isinstance(entry.event, CallQueued) and entry.event.action == "TransactionEvent"
        ]
        assert b"2935.600" in bytes(started.payload)


async def test_a_transaction_without_an_evse_reads_no_meter_e01_fr_03(tmp_path: Path) -> None:
    meters = {1: MeterRead(1, Decimal("2935.600")), 2: MeterRead(2, Decimal("17"))}
    with open_recorder(tmp_path, latest_reading=meters.__getitem__) as (recorder, store, _):
        for report in (
            STATION_STARTED,
            VariablePreset("TxCtrlr.TxStartPoint", "Authorized"),
            *IDLE_REPORTS,
        ):
            recorder.observe(report)
        await recorder.commit_now()
        recorder.state = evolve_authorized(recorder.state)
        recorder.observe(ContactorReported(1, False))
        await recorder.commit_now()
        [started] = [
            entry.event
            for entry in store.iter_entries()
            if isinstance(entry.event, CallQueued) and entry.event.action == "TransactionEvent"
        ]
        assert started.transaction_event is not None
        assert started.transaction_event.evse_id == 0


def evolve_authorized(state: State) -> State:
    """The state after the CSMS has authorized Alice, at no EVSE yet."""
    from journal.events import Entry
    from journal.projections.authorizations import AuthorizationGranted
    from tests.runtime.fixtures_recorder import ManualClock

    granted = AuthorizationGranted(id_token=ALICE, authorized_by="CSMS")
    return apply_entry(state, Entry(3, ManualClock().utc(), 1_000, granted))


async def test_a_clock_step_is_recorded_before_the_next_observation_p7(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, clock):
        recorder.observe(STATION_STARTED)
        await recorder.commit_now()
        before = store.head.seq
        clock.advance(10)
        clock.now_utc = clock.now_utc.replace(year=1976)
        recorder.observe(IdTokenPresented(ALICE))
        await recorder.commit_now()
        step = store.read_entry(before + 1).event
        assert isinstance(step, ClockStepped)
        assert step.step_ms < -49 * 365 * 86_400_000
        assert store.read_entry(before + 1).uptime_ms == 11_000


async def test_the_station_time_has_the_offset_from_the_csms(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, _, clock):
        recorder.observe(STATION_STARTED)
        await recorder.commit_now()
        from journal.events import Entry

        corrected = ClockCorrected(90_000, 90_000, "Heartbeat")
        recorder.state = apply_entry(recorder.state, Entry(2, clock.utc(), 1_000, corrected))
        assert (recorder.station_time(recorder.state) - clock.utc()).total_seconds() == 90


async def test_a_failed_commit_changes_neither_state_nor_desired_state(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        recorder.observe(STATION_STARTED)
        await recorder.commit_now()
        state, desired = recorder.state, recorder.desired_state.value

        def full(entries: Any) -> None:
            raise JournalFailed("disk full")

        store.append = full  # type: ignore[method-assign]
        recorder.observe(LinkOpened(1, "ws://csms", 1))
        with pytest.raises(JournalFailed):
            await recorder.commit_now()
        assert recorder.state is state
        assert recorder.desired_state.value is desired


async def test_a_lazy_observation_shares_a_later_commit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        recorder.observe(STATION_STARTED)
        await recorder.commit_now()
        before = store.head.seq
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.run)
            recorder.observe(FrameSent("x"), lazy=True)
            await trio.sleep(LAZY_DELAY_S / 2)
            assert store.head.seq == before
            await trio.sleep(LAZY_DELAY_S)
            assert store.head.seq == before + 1
            recorder.observe(FrameSent("y"), lazy=True)
            recorder.observe(LinkOpened(1, "ws://csms", 1))
            await recorder.committed.wait()
            assert store.head.seq > before + 2
            nursery.cancel_scope.cancel()


async def test_queued_observations_are_committed_before_the_end(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.run)
            await trio.testing.wait_all_tasks_blocked()
            recorder.observe(STATION_STARTED)
            nursery.cancel_scope.cancel()
        assert type(store.read_entry(1).event).__name__ == "StationStarted"


async def test_a_full_queue_waits_for_a_commit_p6(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        for number in range(BATCH_MAX):
            recorder.observe(FrameSent(str(number)))
        with trio.move_on_after(0) as waiting:
            await recorder.wait_for_capacity()
        assert waiting.cancelled_caught
        await recorder.commit_now()
        await recorder.wait_for_capacity()
        assert store.head.seq >= BATCH_MAX


async def test_a_batch_that_is_being_written_survives_the_end(tmp_path: Path) -> None:
    with open_recorder(tmp_path, make_writer=lambda store: store.write_rows) as (
        recorder,
        store,
        _,
    ):
        async with trio.open_nursery() as nursery:
            recorder.observe(STATION_STARTED)
            nursery.start_soon(recorder.run)
            nursery.cancel_scope.cancel()  # before the commit thread has started
        async with trio.open_nursery() as nursery:
            recorder.observe(LinkOpened(1, "ws://csms", 1))
            nursery.cancel_scope.cancel()
            nursery.start_soon(recorder.commit_now)
        assert "LinkOpened" in {type(entry.event).__name__ for entry in store.iter_entries()}


async def test_a_desired_state_computed_during_a_commit_is_published_after_it_p3(
    tmp_path: Path,
) -> None:
    disk = threading.Event()

    def slow_writer(store: Store) -> WriteRows:
        def write(rows: Sequence[EntryRow]) -> None:
            disk.wait()
            store.write_rows(rows)

        return write

    with open_recorder(tmp_path, make_writer=slow_writer) as (recorder, _, _):
        recorder.observe(STATION_STARTED)
        recorder.observe(LinkOpened(1, "ws://csms", 1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.commit_now)
            await trio.testing.wait_all_tasks_blocked()
            assert recorder.desired_state.value.link.open_count == 0, "visible before the commit"
            disk.set()
        assert recorder.desired_state.value.link.open_count == 1


async def test_a_commit_on_a_full_disk_uses_the_reserve_p6(tmp_path: Path) -> None:
    failures = [DiskFull("no space")]

    def failing_writer(store: Store) -> WriteRows:
        def write(rows: Sequence[EntryRow]) -> None:
            if failures:
                raise failures.pop()
            store.write_rows(rows)

        return write

    async def release() -> bool:
        return True

    with open_recorder(tmp_path, make_writer=failing_writer, release_reserve=release) as (
        recorder,
        store,
        _,
    ):
        recorder.observe(STATION_STARTED)
        await recorder.commit_now()
        assert store.head.seq == recorder.head.seq > 0
