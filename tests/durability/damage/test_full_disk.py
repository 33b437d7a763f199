"""A full disk: what is given up, in which order, what is told, and how it comes back. P6."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import trio

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
from tests.support.story import BOB as BOBS_CARD
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
    time_passed,
    variable_preset,
)

KIB = 1024


class FullDisk(SecurityEventWatcher):
    """A disk that has room for nothing but what the reserve gives up."""

    full = False
    commits_left = 0
    refused = 0

    async def before_commit(self, entries: list[Entry]) -> None:
        if not self.full:
            return
        if self.commits_left == 0:
            self.refused += 1
            self.commits_left = 1000
            raise DiskFull("no room")
        self.commits_left -= 1


def test_what_runs_is_ended_in_the_reserve_and_charging_comes_back(tmp_path: Path) -> None:
    ear = FullDisk()
    statuses: list[str] = []
    world: SimulatedWorld

    async def script() -> None:
        world.schedule_session(1, ALICE, SimulatedEv(energy_needed_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        life = world.process
        assert life is not None
        assert (life.disk_reserve._reserve_file).exists()
        ear.full, world.free_bytes = True, 0
        await trio.sleep(60)
        assert world.process is life, "the station is the same"
        assert not life.disk_reserve._reserve_file.exists()
        [account] = world.csms.double.ledger.transactions.values()
        assert account.ended_event is not None
        assert account.ended_event.transaction_info.stopped_reason == "Other"
        assert account.find_complaints() == []
        assert "MemoryExhaustion" in ear.reported_types
        assert [one.display_text for one in life.recorder.desired_state.value.evses] == [
            "Out of service: memory full"
        ] * 2
        world.unplug_all()
        world.schedule_session(2, BOB, SimulatedEv(energy_needed_wh=Decimal(9_000)), 30)
        await trio.sleep(60)
        assert len(world.csms.double.ledger.transactions) == 1, "nothing new begins"
        world.unplug_all()
        ear.full, world.free_bytes = False, 1 << 30
        await trio.sleep(30)
        assert life.disk_reserve._reserve_file.stat().st_size == RESERVE_BYTES
        world.schedule_session(2, BOB, SimulatedEv(energy_needed_wh=Decimal(9_000)), 30)
        await trio.sleep(90)
        assert len(world.csms.double.ledger.transactions) == 2
        assert all(one.is_complete for one in world.csms.double.ledger.transactions.values())
        statuses.extend(told.status for told in life.recorder.state.reported_statuses.reported)

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            tmp_path, seed=3, observer=ear, variables=FAST_RETRIES, store_settings=STORE_SETTINGS
        )
        await world.run(script)

    run_simulation(main, 3)
    assert ear.refused == 1
    assert set(statuses) == {"Available"}


def test_a_disk_that_takes_nothing_at_all_ends_the_program(tmp_path: Path) -> None:
    class Stuck(FullDisk):
        async def before_commit(self, entries: list[Entry]) -> None:
            if self.full:
                raise DiskFull("no room")

    ear = Stuck()
    world: SimulatedWorld

    async def script() -> None:
        world.schedule_session(1, ALICE, SimulatedEv(energy_needed_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        lives, ear.full = world.process_starts, True
        await trio.sleep(30)
        assert world.process_starts > lives
        assert not any(bay.contactor_closed for bay in world.evses.values()), "it must not sell"
        ear.full = False
        await trio.sleep(60)
        world.unplug_all()
        await trio.sleep(60)
        [account] = world.csms.double.ledger.transactions.values()
        assert account.is_complete
        assert account.find_complaints() == []

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            tmp_path, seed=3, observer=ear, variables=FAST_RETRIES, store_settings=STORE_SETTINGS
        )
        await world.run(script)

    run_simulation(main, 3)


# --- The samples that wait -----------------------------------------------------------------------

SAMPLES = variable_preset("SampledDataCtrlr.TxUpdatedInterval", "10")
LOW = StorageReported("low", 1_000_000)


def waiting_events(station: Station) -> list[tuple[int, str]]:
    """(seqNo, triggerReason) of the transaction events that wait."""
    events = [station.payload_of_call(call) for call in station.state.outbox.transaction]
    return [(one["seqNo"], one["triggerReason"]) for one in events]


def test_every_second_sample_that_waits_goes_and_nothing_else_e12_fr_05() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), LINK_LOST)
    station.when(time_passed(seconds=35), flow_reported(1, "suspended_ev"), time_passed(seconds=31))
    before = waiting_events(station)
    samples = [seq_no for seq_no, trigger in before if trigger == "MeterValuePeriodic"]
    assert len(samples) == 6
    said = station.when(LOW)
    [dropped] = of_kind(said, CallsDropped)
    assert len(dropped.call_seqs) == 3
    assert waiting_events(station) == [one for one in before if one[0] not in samples[::2]]
    assert of_kind(station.when(LOW), CallsDropped) == [], "none is looked at twice"
    station.when(time_passed(seconds=40))
    assert len([one for one in waiting_events(station) if one[0] > samples[-1]]) == 2


def test_each_transaction_keeps_its_second_samples_e12_fr_05() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), in_transaction(2, BOBS_CARD), LINK_LOST)
    station.when(time_passed(seconds=45))
    events = [station.payload_of_call(call) for call in station.state.outbox.transaction]
    of = {one["transactionInfo"]["transactionId"] for one in events}
    station.when(LOW)
    left = [station.payload_of_call(call) for call in station.state.outbox.transaction]
    for name in of:
        assert len([one for one in left if one["transactionInfo"]["transactionId"] == name]) == 2


def test_with_room_nothing_is_given_up_e12_fr_01() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), LINK_LOST)
    station.when(time_passed(seconds=100), StorageReported("enough", 10**9))
    assert len(waiting_events(station)) == 10


def test_on_a_full_disk_nothing_begins_and_what_runs_ends() -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.with_csms(accept_everything, StorageReported("full", 0), charging_stopped(1))
    assert event_triggers(said)[-1] == ("Ended", "AbnormalCondition")
    assert queued_payloads(said, "SecurityEventNotification")[0]["type"] == "MemoryExhaustion"
    said = station.with_csms(accept_everything, cable_unplugged(1))
    assert set(connector_statuses(said)) <= {(1, "Unavailable"), (2, "Unavailable")}
    said = station.with_csms(accept_everything, presented(BOBS_CARD, evse_id=2), cable_plugged(2))
    assert event_triggers(said) == []
    assert station.desired.evses[1].display_text == "Out of service: memory full"
    said = station.with_csms(
        accept_everything, cable_unplugged(2), StorageReported("enough", 10**9)
    )
    assert {(1, "Available"), (2, "Available")} <= set(connector_statuses(said))


# --- The reserve ---------------------------------------------------------------------------------


class Disk:
    def __init__(self, directory: Path, free: int) -> None:
        self.told: list[StorageReported] = []
        self.free = free
        self.room = DiskReserve(
            directory, 100 * KIB, self.told.append, measure_free=lambda _: self.free
        )

    def report_levels(self) -> list[str]:
        self.room._check_disk()
        levels: list[str] = [one.level for one in self.told]
        self.told.clear()
        return levels


def test_levels_follow_what_is_free_beside_the_reserve(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1000 * KIB)
    assert disk.report_levels() == []
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 100 * KIB
    for free, expected in (
        (400, []), (399, ["low"]), (100, []), (99, ["full"]), (100, []), (124, []), (125, ["low"]),
        (499, []), (500, ["enough"]), (50, ["full"]), (1000, ["enough"]),
    ):  # fmt: skip
        disk.free = free * KIB
        assert (free, disk.report_levels()) == (free, expected)


def test_the_reserve_is_given_once_and_kept_again_when_there_is_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1000 * KIB)
    disk.report_levels()
    assert disk.room.release()
    assert not disk.room.release()
    assert [one.level for one in disk.told] == ["full"]
    disk.told.clear()
    disk.free = 200 * KIB
    assert disk.report_levels() == []
    assert not (tmp_path / "reserve").exists()
    disk.free = 700 * KIB
    assert disk.report_levels() == ["enough"]
    assert (tmp_path / "reserve").exists()


def test_without_a_reserve_nobody_looks(tmp_path: Path) -> None:
    room = DiskReserve(tmp_path, 0, lambda _: None)
    room.allocate()
    assert os.listdir(tmp_path) == []
    assert not room.release()
