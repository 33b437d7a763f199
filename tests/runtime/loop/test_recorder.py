"""Is what the world can see always on the disk, and is a commit whole?"""

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
    FrameSent,
    IdTokenPresented,
    LinkOpened,
    MeterRead,
    VariablePreset,
)
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.state import State, apply_entry, digest_state
from journal.storage.errors import DiskFull, JournalFailed
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.loop.recorder import BATCH_MAX, LAZY_DELAY_S
from tests.runtime.fixtures_recorder import IDLE_REPORTS, STATION_STARTED, open_recorder

ALICE = IdToken("#0123456789abcdef", "ISO14443")


async def test_nothing_is_wanted_before_it_is_on_the_disk_p3(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        seen: list[int] = []
        append = store.append

        def spied(entries: Any) -> None:
            assert scribe.desired_state.value.link.open_count == 0, "visible before the commit"
            append(entries)
            seen.append(store.head.seq)

        store.append = spied  # type: ignore[method-assign]
        scribe.observe(STATION_STARTED)
        scribe.observe(LinkOpened(1, "ws://csms", 1))
        await scribe.commit_now()
        assert scribe.desired_state.value.link.open_count == 1
        opened = scribe.state.link.opened_seq
        assert type(store.read_entry(opened).event).__name__ == "LinkOpened"
        assert scribe.desired_state.value.call is not None  # BootNotification
        assert seen == [store.head.seq]


async def test_what_arrives_together_shares_a_commit(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        commits: list[int] = []
        append = store.append

        def counted(entries: Any) -> None:
            append(entries)
            commits.append(len(entries))

        store.append = counted  # type: ignore[method-assign]
        for report in (STATION_STARTED, *IDLE_REPORTS):
            scribe.observe(report)
        await scribe.commit_now()
        assert len(commits) == 1
        assert commits[0] >= 5


async def test_the_memory_is_what_the_journal_gives_again_p4(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, clock):
        for report in (STATION_STARTED, *IDLE_REPORTS, LinkOpened(1, "ws://csms", 1)):
            scribe.observe(report)
            clock.advance(1)
            await scribe.commit_now()
        state = State(store.journal_id)
        for entry in store.iter_entries():
            state = apply_entry(state, entry)
        assert digest_state(state) == digest_state(scribe.state)


async def test_a_reading_is_journaled_with_what_needs_it(tmp_path: Path) -> None:
    reading = MeterRead(1, Decimal("2935.600"))
    with open_recorder(tmp_path, latest_reading=lambda evse_id: reading) as (scribe, store, _):
        for report in (STATION_STARTED, *IDLE_REPORTS):
            scribe.observe(report)
        await scribe.commit_now()
        before = store.head.seq
        scribe.state = evolve_authorized(scribe.state)
        scribe.observe(CableReported(1, 1, True))
        await scribe.commit_now()
        kinds = [type(entry.event).__name__ for entry in store.iter_entries(before + 1)]
        assert kinds[0] == "MeterRead"
        [started] = [
            entry.event
            for entry in store.iter_entries(before + 1)
            if isinstance(entry.event, CallQueued) and entry.event.action == "TransactionEvent"
        ]
        assert b"2935.600" in bytes(started.payload)


async def test_a_transaction_without_an_evse_asks_no_meter_e01_fr_03(tmp_path: Path) -> None:
    meters = {1: MeterRead(1, Decimal("2935.600")), 2: MeterRead(2, Decimal("17"))}
    with open_recorder(tmp_path, latest_reading=meters.__getitem__) as (scribe, store, _):
        for report in (
            STATION_STARTED,
            VariablePreset("TxCtrlr.TxStartPoint", "Authorized"),
            *IDLE_REPORTS,
        ):
            scribe.observe(report)
        await scribe.commit_now()
        scribe.state = evolve_authorized(scribe.state)
        scribe.observe(ContactorReported(1, False))
        await scribe.commit_now()
        [started] = [
            entry.event
            for entry in store.iter_entries()
            if isinstance(entry.event, CallQueued) and entry.event.action == "TransactionEvent"
        ]
        assert started.transaction_event is not None
        assert started.transaction_event.evse_id == 0


def evolve_authorized(state: State) -> State:
    """The memory in which Alice has been allowed to charge at the next EVSE."""
    from journal.events import Entry
    from journal.projections.authorizations import AuthorizationGranted
    from tests.runtime.fixtures_recorder import ManualClock

    granted = AuthorizationGranted(id_token=ALICE, authorized_by="CSMS")
    return apply_entry(state, Entry(3, ManualClock().utc(), 1_000, granted))


async def test_a_clock_that_jumps_is_told_before_anything_else_p7(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, clock):
        scribe.observe(STATION_STARTED)
        await scribe.commit_now()
        before = store.head.seq
        clock.advance(10)
        clock.now_utc = clock.now_utc.replace(year=1976)
        scribe.observe(IdTokenPresented(ALICE))
        await scribe.commit_now()
        step = store.read_entry(before + 1).event
        assert isinstance(step, ClockStepped)
        assert step.step_ms < -49 * 365 * 86_400_000
        assert store.read_entry(before + 1).uptime_ms == 11_000


async def test_the_wall_clock_follows_what_the_csms_taught(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, _, clock):
        scribe.observe(STATION_STARTED)
        await scribe.commit_now()
        from journal.events import Entry

        corrected = ClockCorrected(90_000, 90_000, "Heartbeat")
        scribe.state = apply_entry(scribe.state, Entry(2, clock.utc(), 1_000, corrected))
        assert (scribe.station_time(scribe.state) - clock.utc()).total_seconds() == 90


async def test_a_disk_that_fails_leaves_memory_and_wishes_as_they_were(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        scribe.observe(STATION_STARTED)
        await scribe.commit_now()
        state, wanted = scribe.state, scribe.desired_state.value

        def full(entries: Any) -> None:
            raise JournalFailed("disk full")

        store.append = full  # type: ignore[method-assign]
        scribe.observe(LinkOpened(1, "ws://csms", 1))
        with pytest.raises(JournalFailed):
            await scribe.commit_now()
        assert scribe.state is state
        assert scribe.desired_state.value is wanted


async def test_what_nobody_waits_for_waits_for_company(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        scribe.observe(STATION_STARTED)
        await scribe.commit_now()
        before = store.head.seq
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scribe.run)
            scribe.observe(FrameSent("x"), lazy=True)
            await trio.sleep(LAZY_DELAY_S / 2)
            assert store.head.seq == before
            await trio.sleep(LAZY_DELAY_S)
            assert store.head.seq == before + 1
            scribe.observe(FrameSent("y"), lazy=True)
            scribe.observe(LinkOpened(1, "ws://csms", 1))
            await scribe.committed.wait()
            assert store.head.seq > before + 2
            nursery.cancel_scope.cancel()


async def test_what_was_taken_in_is_written_before_the_end(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scribe.run)
            await trio.testing.wait_all_tasks_blocked()
            scribe.observe(STATION_STARTED)
            nursery.cancel_scope.cancel()
        assert type(store.read_entry(1).event).__name__ == "StationStarted"


async def test_whoever_floods_the_scribe_waits_for_the_disk_p6(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        for number in range(BATCH_MAX):
            scribe.observe(FrameSent(str(number)))
        with trio.move_on_after(0) as waiting:
            await scribe.wait_for_capacity()
        assert waiting.cancelled_caught
        await scribe.commit_now()
        await scribe.wait_for_capacity()
        assert store.head.seq >= BATCH_MAX


async def test_a_batch_that_is_being_written_survives_the_end(tmp_path: Path) -> None:
    with (
        open_recorder(tmp_path) as (scribe, store, _),
        CommitThread(store.write_rows) as scribe._commit_thread,
    ):
        async with trio.open_nursery() as nursery:
            scribe.observe(STATION_STARTED)
            nursery.start_soon(scribe.run)
            nursery.cancel_scope.cancel()  # before the worker thread is even asked
        async with trio.open_nursery() as nursery:
            scribe.observe(LinkOpened(1, "ws://csms", 1))
            nursery.cancel_scope.cancel()
            nursery.start_soon(scribe.commit_now)
        assert "LinkOpened" in {type(entry.event).__name__ for entry in store.iter_entries()}


async def test_a_level_worked_out_while_the_disk_is_busy_is_told_after_it_p3(
    tmp_path: Path,
) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        disk = threading.Event()

        def write(rows: Sequence[EntryRow]) -> None:
            disk.wait()
            store.write_rows(rows)

        with CommitThread(write) as scribe._commit_thread:
            scribe.observe(STATION_STARTED)
            scribe.observe(LinkOpened(1, "ws://csms", 1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scribe.commit_now)
                await trio.testing.wait_all_tasks_blocked()
                assert scribe.desired_state.value.link.open_count == 0, "visible before the commit"
                disk.set()
            assert scribe.desired_state.value.link.open_count == 1


async def test_a_full_disk_takes_the_commit_in_the_room_kept_in_reserve_p6(tmp_path: Path) -> None:
    with open_recorder(tmp_path, release_reserve=lambda: True) as (scribe, store, _):
        failures = [DiskFull("no room")]

        def write(rows: Sequence[EntryRow]) -> None:
            if failures:
                raise failures.pop()
            store.write_rows(rows)

        with CommitThread(write) as scribe._commit_thread:
            scribe.observe(STATION_STARTED)
            await scribe.commit_now()
        assert store.head.seq == scribe.head.seq > 0
