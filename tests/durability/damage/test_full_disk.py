"""A full disk: what is dropped in which order, what is reported, and the recovery. P6."""

from __future__ import annotations

import errno
import os
import threading
from decimal import Decimal
from pathlib import Path

import pytest
import trio
import trio.testing

from journal.events import Entry
from journal.observations import StorageReported
from journal.projections.outbox import CallsDropped
from journal.storage.errors import DiskFull
from station.runtime.disk.reserve import DiskReserve
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.station_process import RESERVE_BYTES
from station.simulation.world import SimulatedWorld, run_simulation
from tests.durability.damage.worlds import FAST_RETRIES, STORE_SETTINGS, SecurityEventWatcher
from tests.support.story import BOB as BOB_TOKEN
from tests.support.story import (
    LINK_LOST,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_stopped,
    connector_statuses,
    event_triggers,
    flow_reported,
    given,
    in_transaction,
    of_kind,
    presented,
    queued_payloads,
    shown_at,
    time_passed,
    variable_preset,
)

KIB = 1024


class FullDisk(SecurityEventWatcher):
    """A disk that is full except for the space that the reserve releases."""

    full = False
    commits_left = 0
    refused = 0

    async def before_commit(self, entries: list[Entry]) -> None:
        if not self.full:
            return
        if self.commits_left == 0:
            self.refused += 1
            self.commits_left = 1000
            raise DiskFull("no space")
        self.commits_left -= 1


def test_transactions_end_within_the_reserve_and_charging_resumes_with_space(
    tmp_path: Path,
) -> None:
    disk = FullDisk()
    statuses: list[str] = []
    world: SimulatedWorld

    async def script() -> None:
        world.schedule_session(1, ALICE, SimulatedEv(energy_needed_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        process = world.process
        assert process is not None
        assert (process.disk_reserve._reserve_file).exists()
        disk.full, world.free_bytes = True, 0
        await trio.sleep(60)
        assert world.process is process, "the program must not restart"
        assert not process.disk_reserve._reserve_file.exists()
        [account] = world.csms.double.ledger.transactions.values()
        assert account.ended_event is not None
        assert account.ended_event.transaction_info.stopped_reason == "Other"
        assert account.find_complaints() == []
        assert "MemoryExhaustion" in disk.reported_types
        situations = process.recorder.desired_state.value.display.evses
        assert {evse.words.headline for evse in situations} <= {
            "evse.storage_full",
            "evse.finished",
        }
        world.unplug_all()
        world.schedule_session(2, BOB, SimulatedEv(energy_needed_wh=Decimal(9_000)), 30)
        await trio.sleep(60)
        assert len(world.csms.double.ledger.transactions) == 1, "no transaction may start"
        world.unplug_all()
        disk.full, world.free_bytes = False, 1 << 30
        await trio.sleep(30)
        assert process.disk_reserve._reserve_file.stat().st_size == RESERVE_BYTES
        world.schedule_session(2, BOB, SimulatedEv(energy_needed_wh=Decimal(9_000)), 30)
        await trio.sleep(90)
        assert len(world.csms.double.ledger.transactions) == 2
        assert all(
            transaction.is_complete
            for transaction in world.csms.double.ledger.transactions.values()
        )
        statuses.extend(
            report.status for report in process.recorder.state.reported_statuses.reported
        )

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            tmp_path, seed=3, observer=disk, variables=FAST_RETRIES, store_settings=STORE_SETTINGS
        )
        await world.run(script)

    run_simulation(main, 3)
    assert disk.refused == 1
    assert set(statuses) == {"Available"}


def test_a_disk_without_any_space_ends_the_program(tmp_path: Path) -> None:
    class NoSpace(FullDisk):
        async def before_commit(self, entries: list[Entry]) -> None:
            if self.full:
                raise DiskFull("no space")

    disk = NoSpace()
    world: SimulatedWorld

    async def script() -> None:
        world.schedule_session(1, ALICE, SimulatedEv(energy_needed_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        starts, disk.full = world.process_starts, True
        await trio.sleep(30)
        assert world.process_starts > starts
        assert not any(evse.contactor_closed for evse in world.evses.values()), (
            "no energy may be sold"
        )
        disk.full = False
        await trio.sleep(60)
        world.unplug_all()
        await trio.sleep(60)
        [account] = world.csms.double.ledger.transactions.values()
        assert account.is_complete
        assert account.find_complaints() == []

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            tmp_path, seed=3, observer=disk, variables=FAST_RETRIES, store_settings=STORE_SETTINGS
        )
        await world.run(script)

    run_simulation(main, 3)


# --- Queued samples ------------------------------------------------------------------------------

SAMPLES = variable_preset("SampledDataCtrlr.TxUpdatedInterval", "10")
LOW = StorageReported("low", 1_000_000)


def queued_events(station: Station) -> list[tuple[int, str]]:
    """(seqNo, triggerReason) of the queued transaction events."""
    events = [station.payload_of_call(call) for call in station.state.outbox.transaction]
    return [(event["seqNo"], event["triggerReason"]) for event in events]


def test_every_second_queued_sample_is_dropped_and_nothing_else_e12_fr_05() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), LINK_LOST)
    station.when(time_passed(seconds=35), flow_reported(1, "suspended_ev"), time_passed(seconds=31))
    before = queued_events(station)
    samples = [seq_no for seq_no, trigger in before if trigger == "MeterValuePeriodic"]
    assert len(samples) == 6
    decisions = station.when(LOW)
    [dropped] = of_kind(decisions, CallsDropped)
    assert len(dropped.call_seqs) == 3
    assert queued_events(station) == [event for event in before if event[0] not in samples[::2]]
    assert of_kind(station.when(LOW), CallsDropped) == [], "a sample is considered once only"
    station.when(time_passed(seconds=40))
    assert len([event for event in queued_events(station) if event[0] > samples[-1]]) == 2


def test_each_transaction_keeps_its_second_samples_e12_fr_05() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), in_transaction(2, BOB_TOKEN), LINK_LOST)
    station.when(time_passed(seconds=45))
    events = [station.payload_of_call(call) for call in station.state.outbox.transaction]
    transaction_ids = {event["transactionInfo"]["transactionId"] for event in events}
    station.when(LOW)
    remaining = [station.payload_of_call(call) for call in station.state.outbox.transaction]
    for transaction_id in transaction_ids:
        assert (
            len(
                [
                    event
                    for event in remaining
                    if event["transactionInfo"]["transactionId"] == transaction_id
                ]
            )
            == 2
        )


def test_with_enough_space_nothing_is_dropped_e12_fr_01() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), LINK_LOST)
    station.when(time_passed(seconds=100), StorageReported("enough", 10**9))
    assert len(queued_events(station)) == 10


def test_on_a_full_disk_transactions_end_and_none_starts() -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.with_csms(
        accept_everything, StorageReported("full", 0), charging_stopped(1)
    )
    assert event_triggers(decisions)[-1] == ("Ended", "AbnormalCondition")
    assert queued_payloads(decisions, "SecurityEventNotification")[0]["type"] == "MemoryExhaustion"
    decisions = station.with_csms(accept_everything, cable_unplugged(1))
    assert set(connector_statuses(decisions)) <= {(1, "Unavailable"), (2, "Unavailable")}
    decisions = station.with_csms(
        accept_everything, presented(BOB_TOKEN, evse_id=2), cable_plugged(2)
    )
    assert event_triggers(decisions) == []
    assert shown_at(station, 2).situation == "evse.storage_full"
    decisions = station.with_csms(
        accept_everything, cable_unplugged(2), StorageReported("enough", 10**9)
    )
    assert {(1, "Available"), (2, "Available")} <= set(connector_statuses(decisions))


# --- The reserve ---------------------------------------------------------------------------------


class Disk:
    """A DiskReserve of 100 KiB on a disk with `free` bytes."""

    def __init__(self, directory: Path, free: int) -> None:
        self.reports: list[StorageReported] = []
        self.free = free
        self.reserve = DiskReserve(
            directory, 100 * KIB, self.reports.append, measure_free=lambda _: self.free
        )

    async def report_levels(self) -> list[str]:
        """Check the disk once; returns the levels reported."""
        await self.reserve.check_disk()
        levels: list[str] = [report.level for report in self.reports]
        self.reports.clear()
        return levels


async def test_levels_follow_the_free_space_beside_the_reserve(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1000 * KIB)
    assert await disk.report_levels() == []
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 100 * KIB
    for free, expected in (
        (400, []), (399, ["low"]), (100, []), (99, ["full"]), (100, []), (124, []), (125, ["low"]),
        (499, []), (500, ["enough"]), (50, ["full"]), (1000, ["enough"]),
    ):  # fmt: skip
        disk.free = free * KIB
        assert (free, await disk.report_levels()) == (free, expected)


async def test_the_reserve_is_released_once_and_allocated_again_with_space(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1000 * KIB)
    await disk.report_levels()
    assert await disk.reserve.release()
    assert not await disk.reserve.release()
    assert [report.level for report in disk.reports] == ["full"]
    disk.reports.clear()
    disk.free = 200 * KIB
    assert await disk.report_levels() == []
    assert not (tmp_path / "reserve").exists()
    disk.free = 700 * KIB
    assert await disk.report_levels() == ["enough"]
    assert (tmp_path / "reserve").exists()


async def test_a_reserve_of_zero_bytes_does_nothing(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path, 0, lambda _: None)
    await reserve.allocate()
    assert os.listdir(tmp_path) == []
    assert not await reserve.release()


async def test_a_disk_that_does_not_answer_holds_no_loop_and_a_release_counts_after_it(
    tmp_path: Path,
) -> None:
    disk = Disk(tmp_path, 1000 * KIB)
    await disk.report_levels()
    measuring, answer = threading.Event(), threading.Event()

    def measure_free(directory: Path) -> int:
        measuring.set()
        assert answer.wait(timeout=60)
        return 1000 * KIB

    disk.reserve._measure_free = measure_free
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.reserve.check_disk)
        await trio.to_thread.run_sync(measuring.wait)
        nursery.start_soon(disk.reserve.release)
        await trio.testing.wait_all_tasks_blocked(0.01)  # the loop goes on; nothing is reported
        assert disk.reports == []
        answer.set()
    assert [report.level for report in disk.reports] == ["full"]
    assert not (tmp_path / "reserve").exists()


async def test_a_reserve_that_cannot_be_written_whole_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="No space left"):
        await Disk(tmp_path, 1000 * KIB).reserve.allocate()
    assert os.listdir(tmp_path) == []
