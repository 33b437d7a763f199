"""The watchdog is fed while commits succeed, and not while the disk hangs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import trio
import trio.testing

from journal.format.hash_chain import EntryRow
from journal.observations import CableReported, DeviceFaulted, LinkOpened, StorageReported
from journal.storage.store import Store
from station.runtime.loop.commit_thread import WriteRows
from station.runtime.service.notify import ServiceManager
from station.runtime.service.watchdog import ServiceReporter, describe_state
from tests.runtime.fixtures_recorder import STATION_STARTED, open_recorder
from tests.support.story import ALICE, ONLINE, cable_plugged, charging_started, given, presented


class SentStates(ServiceManager):
    """Keeps what would be sent."""

    def __init__(self, watchdog_s: float | None) -> None:
        super().__init__("unused", watchdog_s)
        self.sent: list[str] = []

    def _send(self, state: str) -> None:
        self.sent.append(state)

    def count_pings(self) -> int:
        return self.sent.count("WATCHDOG=1")


async def test_ready_comes_first_then_a_ping_three_times_per_limit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    manager = SentStates(watchdog_s=30)
    with open_recorder(tmp_path) as (recorder, _, _):
        with trio.move_on_after(29):
            await ServiceReporter(manager, recorder).run()
    assert manager.sent[0] == "READY=1"
    assert manager.count_pings() == 3


async def test_without_a_watchdog_no_ping_is_sent(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    manager = SentStates(watchdog_s=None)
    with open_recorder(tmp_path) as (recorder, _, _):
        with trio.move_on_after(30):
            await ServiceReporter(manager, recorder).run()
    assert manager.sent == ["READY=1", "STATUS=offline"]


async def test_a_commit_that_hangs_ends_the_pings_until_it_is_done(tmp_path: Path) -> None:
    disk = threading.Event()

    def hanging_writer(store: Store) -> WriteRows:
        def write(rows: Sequence[EntryRow]) -> None:
            disk.wait()
            store.write_rows(rows)

        return write

    manager = SentStates(watchdog_s=0.3)
    with open_recorder(tmp_path, make_writer=hanging_writer) as (recorder, _, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ServiceReporter(manager, recorder).run)
            await trio.sleep(0.05)
            assert manager.count_pings() == 1
            recorder.observe(STATION_STARTED)
            recorder.observe(LinkOpened(1, "ws://csms", 1))
            nursery.start_soon(recorder.run)
            await trio.sleep(0.35)
            stalled_at = manager.count_pings()
            await trio.sleep(0.5)
            assert manager.count_pings() == stalled_at, "fed while the disk hangs"
            disk.set()
            await trio.sleep(0.35)
            assert manager.count_pings() > stalled_at
            assert recorder.commit_age_s() == 0
            nursery.cancel_scope.cancel()


def test_the_status_line_describes_the_station() -> None:
    station = given(ONLINE, cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1))
    assert describe_state(station.state) == "connected; transaction on EVSE 1"
    station.when(DeviceFaulted(2, "meter", "silent", blocks_charging=True))
    station.when(CableReported(2, 1, False))
    assert "faults: meter silent" in describe_state(station.state)


def test_a_disk_without_space_is_in_the_status_line() -> None:
    station = given(ONLINE)
    station.when(StorageReported("full", free_bytes=0))
    assert describe_state(station.state).startswith("connected; disk space full")
    station.when(StorageReported("enough", free_bytes=1 << 30))
    assert "disk" not in describe_state(station.state)
