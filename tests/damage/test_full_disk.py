"""A full disk: what is given up, in which order, what is told, and how it comes back. P6."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import trio

from journal.observations import StorageReported
from journal.projections.outbox import CallsDropped
from journal.store import DiskFull
from journal.terms import Entry
from station.runtime.room import Room
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB
from station.simulation.life import RESERVE_BYTES
from station.simulation.world import World, simulate
from tests.damage.worlds import GROWN, QUICK, Ear
from tests.story import BOB as BOBS_CARD
from tests.story import (
    LINK_LOST,
    ONLINE,
    Station,
    accepting,
    after,
    discharged,
    flow,
    given,
    in_transaction,
    of_kind,
    plugged,
    presented,
    preset,
    queued,
    statuses,
    told,
    unplugged,
)

KIB = 1024


class FullDisk(Ear):
    """A disk that has room for nothing but what the reserve gives up."""

    full = False
    commits_left = 0
    refused = 0

    async def before(self, entries: list[Entry]) -> None:
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
    world: World

    async def script() -> None:
        world.session(1, ALICE, Ev(needs_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        life = world.life
        assert life is not None
        assert (life.room._file).exists()
        ear.full, world.free_bytes = True, 0
        await trio.sleep(60)
        assert world.life is life, "the station is the same"
        assert not life.room._file.exists()
        [account] = world.csms.double.ledger.accounts.values()
        assert account.ended is not None
        assert account.ended.transaction_info.stopped_reason == "Other"
        assert account.complaints() == []
        assert "MemoryExhaustion" in ear.told
        assert [one.words for one in life.scribe.wanted.value.evses] == [
            "Out of service: memory full"
        ] * 2
        world.people_leave()
        world.session(2, BOB, Ev(needs_wh=Decimal(9_000)), 30)
        await trio.sleep(60)
        assert len(world.csms.double.ledger.accounts) == 1, "nothing new begins"
        world.people_leave()
        ear.full, world.free_bytes = False, 1 << 30
        await trio.sleep(30)
        assert life.room._file.stat().st_size == RESERVE_BYTES
        world.session(2, BOB, Ev(needs_wh=Decimal(9_000)), 30)
        await trio.sleep(90)
        assert len(world.csms.double.ledger.accounts) == 2
        assert all(one.closed for one in world.csms.double.ledger.accounts.values())
        statuses.extend(told.status for told in life.scribe.state.statuses.told)

    async def main() -> None:
        nonlocal world
        world = World(tmp_path, seed=3, watcher=ear, variables=QUICK, settings=GROWN)
        await world.run(script)

    simulate(main, 3)
    assert ear.refused == 1
    assert set(statuses) == {"Available"}


def test_a_disk_that_takes_nothing_at_all_ends_the_program(tmp_path: Path) -> None:
    class Stuck(FullDisk):
        async def before(self, entries: list[Entry]) -> None:
            if self.full:
                raise DiskFull("no room")

    ear = Stuck()
    world: World

    async def script() -> None:
        world.session(1, ALICE, Ev(needs_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        lives, ear.full = world.lives, True
        await trio.sleep(30)
        assert world.lives > lives
        assert not any(bay.closed for bay in world.bays.values()), "it must not sell"
        ear.full = False
        await trio.sleep(60)
        world.people_leave()
        await trio.sleep(60)
        [account] = world.csms.double.ledger.accounts.values()
        assert account.closed
        assert account.complaints() == []

    async def main() -> None:
        nonlocal world
        world = World(tmp_path, seed=3, watcher=ear, variables=QUICK, settings=GROWN)
        await world.run(script)

    simulate(main, 3)


# --- The samples that wait -----------------------------------------------------------------------

SAMPLES = preset("SampledDataCtrlr.TxUpdatedInterval", "10")
LOW = StorageReported("low", 1_000_000)


def waiting(station: Station) -> list[tuple[int, str]]:
    """(seqNo, triggerReason) of the transaction events that wait."""
    events = [station.payload(call) for call in station.state.outbox.transaction]
    return [(one["seqNo"], one["triggerReason"]) for one in events]


def test_every_second_sample_that_waits_goes_and_nothing_else_e12_fr_05() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), LINK_LOST)
    station.when(after(seconds=35), flow(1, "suspended_ev"), after(seconds=31))
    before = waiting(station)
    samples = [seq_no for seq_no, trigger in before if trigger == "MeterValuePeriodic"]
    assert len(samples) == 6
    said = station.when(LOW)
    [dropped] = of_kind(said, CallsDropped)
    assert len(dropped.calls) == 3
    assert waiting(station) == [one for one in before if one[0] not in samples[::2]]
    assert of_kind(station.when(LOW), CallsDropped) == [], "none is looked at twice"
    station.when(after(seconds=40))
    assert len([one for one in waiting(station) if one[0] > samples[-1]]) == 2


def test_each_transaction_keeps_its_second_samples_e12_fr_05() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), in_transaction(2, BOBS_CARD), LINK_LOST)
    station.when(after(seconds=45))
    events = [station.payload(call) for call in station.state.outbox.transaction]
    of = {one["transactionInfo"]["transactionId"] for one in events}
    station.when(LOW)
    left = [station.payload(call) for call in station.state.outbox.transaction]
    for name in of:
        assert len([one for one in left if one["transactionInfo"]["transactionId"] == name]) == 2


def test_with_room_nothing_is_given_up_e12_fr_01() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1), LINK_LOST)
    station.when(after(seconds=100), StorageReported("enough", 10**9))
    assert len(waiting(station)) == 10


def test_on_a_full_disk_nothing_begins_and_what_runs_ends() -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.with_csms(accepting, StorageReported("full", 0), discharged(1))
    assert told(said)[-1] == ("Ended", "AbnormalCondition")
    assert queued(said, "SecurityEventNotification")[0]["type"] == "MemoryExhaustion"
    said = station.with_csms(accepting, unplugged(1))
    assert set(statuses(said)) <= {(1, "Unavailable"), (2, "Unavailable")}
    said = station.with_csms(accepting, presented(BOBS_CARD, evse_id=2), plugged(2))
    assert told(said) == []
    assert station.level.evses[1].words == "Out of service: memory full"
    said = station.with_csms(accepting, unplugged(2), StorageReported("enough", 10**9))
    assert {(1, "Available"), (2, "Available")} <= set(statuses(said))


# --- The reserve ---------------------------------------------------------------------------------


class Disk:
    def __init__(self, directory: Path, free: int) -> None:
        self.told: list[StorageReported] = []
        self.free = free
        self.room = Room(directory, 100 * KIB, self.told.append, free=lambda _: self.free)

    def look(self) -> list[str]:
        self.room._look()
        levels: list[str] = [one.level for one in self.told]
        self.told.clear()
        return levels


def test_levels_follow_what_is_free_beside_the_reserve(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1000 * KIB)
    assert disk.look() == []
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 100 * KIB
    for free, expected in (
        (400, []), (399, ["low"]), (100, []), (99, ["full"]), (100, []), (124, []), (125, ["low"]),
        (499, []), (500, ["enough"]), (50, ["full"]), (1000, ["enough"]),
    ):  # fmt: skip
        disk.free = free * KIB
        assert (free, disk.look()) == (free, expected)


def test_the_reserve_is_given_once_and_kept_again_when_there_is_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1000 * KIB)
    disk.look()
    assert disk.room.release()
    assert not disk.room.release()
    assert [one.level for one in disk.told] == ["full"]
    disk.told.clear()
    disk.free = 200 * KIB
    assert disk.look() == []
    assert not (tmp_path / "reserve").exists()
    disk.free = 700 * KIB
    assert disk.look() == ["enough"]
    assert (tmp_path / "reserve").exists()


def test_without_a_reserve_nobody_looks(tmp_path: Path) -> None:
    room = Room(tmp_path, 0, lambda _: None)
    room.keep()
    assert os.listdir(tmp_path) == []
    assert not room.release()
