"""Does every fault the emulated world can have do what the safety table says, and no more?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.emulators.ev import Ev
from drivers.emulators.faults import FAULTS
from journal.observations import DeviceFaulted, DeviceRecovered, EvStopped
from station.runtime.faults import ROWS
from tests.runtime.body import Trial, body_in_memory, violations

OFF_S = 0.2  # from a fault that is seen to the modules' off, on emulated devices
BACK_S = 5.0  # from the end of a fault to a free connector


@dataclass(frozen=True)
class Case:
    """What a fault injected at EVSE 1 in a session must do.

    Attributes:
        told: the row that ends the session.
        reason: stoppedReason.
        seen_s: what the devices take to show it.
        station_wide: EVSE 2 stops too.
        dirty: the fault itself opens the contactors under load.
        off: the modules can be told.
        back: it is over by itself after the fault.
        feedback: the contactors' feedback can be read while the fault is there.
    """

    told: str
    reason: str = "Other"
    seen_s: float = 0.2
    station_wide: bool = False
    dirty: bool = False
    off: bool = True
    back: bool = True
    feedback: bool = True


STOPS = {
    "insulation/low": Case("insulation/low", "GroundFault", seen_s=1.1),
    "insulation/alarm": Case("insulation/alarm", "GroundFault", seen_s=0.6),
    "insulation/lost": Case("insulation/lost", seen_s=2.0),
    "insulation/device_error": Case("insulation/device_error", seen_s=0.6),
    "insulation/earth_lost": Case("insulation/earth_lost", seen_s=0.6),
    "insulation/frozen": Case("insulation/lost", seen_s=12),
    "secc/silent": Case("secc/silent", seen_s=1.1),
    "secc/emergency_stop": Case("secc/emergency_stop", seen_s=0.5),
    "secc/unknown_values": Case("secc/unknown_values", back=False),
    "secc_can/lost": Case("secc/silent", seen_s=1.1, station_wide=True),
    "pilot/error": Case("pilot/error", back=False),
    "can/lost": Case("can/lost", seen_s=1.1, station_wide=True, off=False),
    "module/all_dead": Case("module/all_dead", seen_s=1.1, off=False),
    "mains/lost": Case("mains/lost", "PowerLoss", station_wide=True),
    "mains/phase_missing": Case("mains/phase_missing", "PowerQuality", 2.0, station_wide=True),
    "mains/under_voltage": Case("mains/under_voltage", "PowerQuality", 2.0, station_wide=True),
    "breaker/tripped": Case("breaker/tripped", "PowerLoss", station_wide=True, off=False),
    "door/open": Case("door/open", station_wide=True),
    "dispenser_door/open": Case("dispenser_door/open", station_wide=True),
    "dispenser/tilted": Case("dispenser/tilted", station_wide=True),
    "io/silent": Case("io/lost", seen_s=1.2, station_wide=True, feedback=False),
    "io/exception": Case("io/lost", seen_s=0.5, station_wide=True, feedback=False),
    "io/watchdog": Case("io/watchdog", seen_s=2.3, station_wide=True, dirty=True),
    "io/reboot": Case("io/reset", station_wide=True, dirty=True),
    "contactor/stuck_open": Case("contactor/stuck_open", seen_s=1.0, dirty=True),
    "output/over_current": Case("output/over_current", "OvercurrentFault", 1.4, back=False),
    "cable/over_temperature": Case("cable/over_temperature", seen_s=1.1),
    "cable/sensor_broken": Case("cable/sensor_broken", seen_s=1.1),
    "ev/emergency_stop": Case("ev/emergency_stop"),
}

GO_ON = {
    # fault: the row that is told, if any
    "insulation/warning": "insulation/warning",
    "secc/stuck": None,
    "secc/no_power_control": None,
    "module/dead": "module/silent",
    "module/silent": "module/silent",
    "module/fault": "module/fault",
    "module/fan": "module/fault",
    "module/over_temperature": "module/over_temperature",
    "module/derating": "module/derating",
    "module/load_sharing": "module/warning",
    "module/address_used_twice": "module/fault",
    "module/wrong_count": None,  # counted when the modules are set up
    "cabinet/hot": "cabinet/hot",
    "cooling/fault": "cooling/fault",
    "arrester/dead": "arrester/dead",
    "lock/stuck": "lock/stuck",
    "cable/hot": "cable/hot",
    "meter/silent": "meter/silent",
    "meter/backwards": "meter/silent",
    "meter/broken_wire": "meter/broken_wire",
    "meter/bad_crc": "meter/silent",
    "meter/truncated": "meter/silent",
    "meter/exception": "meter/silent",
    "meter/slow": None,
    "reader/silent": "reader/lost",
    "reader/noise": None,
    # these show at the beginning or at the end of a session, or without one
    "insulation/self_test": None,
    "contactor/welded": None,
    "output/over_voltage": None,
    "output/keeps_voltage": None,
    "ev/no_precharge": None,
}
# in test_power_path and test_hardware
ELSEWHERE = {
    "ev/stops", "secc_can/gone", "can/gone", "reader/gone", "display/gone", "display/lost",
}  # fmt: skip


def test_every_fault_of_the_emulated_world_has_its_case() -> None:
    known = {f"{device}/{kind}" for device, kind in FAULTS}
    assert known == {*STOPS, *GO_ON, *ELSEWHERE}


def inject(trial: Trial, name: str, op: str = "fault") -> None:
    device, kind = name.split("/")
    where = {"evse_id": 1} if FAULTS[device, kind].per_evse else {}
    trial.op(op, device=device, kind=kind, **where)


def giving(trial: Trial) -> bool:
    """Whether any module of the station is on."""
    return any(module.on for module in trial.world.cabinet.modules)


def stopper(trial: Trial, evse_id: int) -> DeviceFaulted | None:
    """The first fault that ended the session, as the memory would have it."""
    for fault in trial.all(DeviceFaulted):
        if fault.evse_id in (0, evse_id) and fault.blocks:
            return fault
    return None


@pytest.mark.parametrize("name", STOPS)
async def test_a_session_ends_by_the_safety_table(
    autojump_clock: MockClock, tmp_path: Path, name: str
) -> None:
    case = STOPS[name]
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        await trial.charge(2)
        await trio.sleep(2)
        modules = trial.world.bays[1].modules
        inject(trial, name)
        if case.off:
            await trial.until(
                lambda: not any(module.on for module in modules), case.seen_s + OFF_S, "modules off"
            )
        if case.feedback:
            await trial.until(lambda: not trial.world.bays[1].closed, case.seen_s + 1.5, "open")
        await trial.until(lambda: stopper(trial, 1), case.seen_s + 1, "told")
        found = stopper(trial, 1)
        assert found is not None
        assert f"{found.device}/{found.fault}" == case.told
        assert found.stopped_reason == case.reason
        assert found.tech_code == ROWS[case.told].code
        await trio.sleep(3)
        assert trial.all(EvStopped) == []
        assert (trial.world.bays[2].current_a < 1) is case.station_wide
        if not case.dirty:
            assert violations(trial.world) == []
        for evse_id in (1, 2) if case.station_wide else (1,):
            trial.want(evse_id, energy=False)
        await trio.sleep(0.2)
        if not case.feedback:
            inject(trial, name, "clear_fault")
        await trial.until(lambda: trial.closed(1) is False, 4, "open told")
        inject(trial, name, "clear_fault")
        if case.back:
            await trial.until(lambda: not trial.blocking(1), BACK_S, "free again")
            trial.want(1)
            await trial.until(lambda: trial.world.bays[1].current_a > 50, 10, "charging again")
        else:
            await trio.sleep(BACK_S)
            assert trial.blocking(1)


@pytest.mark.parametrize("name", GO_ON)
async def test_a_session_goes_on_through(
    autojump_clock: MockClock, tmp_path: Path, name: str
) -> None:
    told = GO_ON[name]
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        await trio.sleep(3)
        inject(trial, name)
        await trio.sleep(22)
        assert trial.world.bays[1].current_a > 50
        assert {f"{fault.device}/{fault.fault}" for fault in trial.all(DeviceFaulted)} >= (
            {told} if told else set()
        )
        assert not trial.blocking(1)
        inject(trial, name, "clear_fault")
        await trial.until(lambda: trial.faults() == set(), 8, "all good")
        assert trial.world.bays[1].current_a > 50


async def test_the_emergency_stop_is_within_200_ms_and_for_all(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        for pause_s in (0.0, 0.03, 0.07):  # anywhere in the cycle of the I/O modules
            await trial.charge(1)
            await trial.charge(2)
            await trio.sleep(1 + pause_s)
            trial.op("emergency_stop")
            await trial.until(lambda: not giving(trial), OFF_S, "off")
            await trial.until(lambda: not (trial.closed(1) or trial.closed(2)), 3, "open")
            [stop] = trial.all(DeviceFaulted)[-1:]
            assert (stop.evse_id, stop.stopped_reason, stop.tech_code) == (
                0,
                "EmergencyStop",
                "CX008",
            )
            await trio.sleep(30)
            assert trial.blocking(1)
            trial.want(1, energy=False)
            trial.want(2, energy=False)
            trial.op("emergency_release")
            await trial.until(lambda: trial.faults() == set(), BACK_S, "released")
            trial.op("unplug", evse_id=1)
            trial.op("unplug", evse_id=2)
            await trio.sleep(2)
        assert trial.all(EvStopped) == []


async def test_nothing_begins_while_the_emergency_stop_is_pressed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        trial.op("emergency_stop")
        trial.want(1)
        trial.world.plug_in(1, Ev())
        await trio.sleep(20)
        assert trial.world.seccs[1].state.name == "NOT_AVAILABLE"
        assert not trial.world.bays[1].closed


@pytest.mark.parametrize(
    ("name", "told", "reason"),
    [
        ("insulation/low", "insulation/low", "GroundFault"),
        ("insulation/self_test", "insulation/self_test", "GroundFault"),
        ("ev/no_precharge", "ev/no_precharge", "Other"),
        ("output/over_voltage", "output/over_voltage", "Other"),
        ("contactor/stuck_open", "contactor/stuck_open", "Other"),
        ("contactor/welded", "contactor/welded", "Other"),
    ],
)
async def test_a_session_does_not_come_to_energy_with(
    autojump_clock: MockClock, tmp_path: Path, name: str, told: str, reason: str
) -> None:
    async with body_in_memory(tmp_path) as trial:
        inject(trial, name)
        trial.want(1)
        trial.world.plug_in(1, Ev())
        await trial.until(lambda: stopper(trial, 1), 14, "told")
        found = stopper(trial, 1)
        assert found is not None
        assert f"{found.device}/{found.fault}" == told
        assert found.stopped_reason == reason
        trial.want(1, energy=False)
        await trio.sleep(6)
        assert not any(module.on for module in trial.world.bays[1].modules)
        assert trial.world.bays[1].closed is (name == "contactor/welded")
        assert int(trial.world.registers[1]) == 0
        inject(trial, name, "clear_fault")
        trial.hardware.release()
        await trial.until(lambda: not trial.blocking(1), BACK_S, "free again")
        trial.want(1)
        await trial.until(lambda: trial.flow(1) == "charging", 12, "charging")


async def test_a_contactor_that_does_not_open_ends_all_sessions_here(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        await trial.charge(2)
        trial.fault("contactor", "welded", 1)
        trial.want(1, energy=False)
        await trial.until(lambda: (1, "contactor", "welded") in trial.faults(), 4, "told")
        await trial.until(lambda: trial.flow(1) == "none", 8, "no flow")
        assert trial.closed(1) is True
        assert not trial.world.bays[1].bleeding
        trial.want(1)
        await trio.sleep(20)
        assert trial.world.bays[1].current_a == 0
        assert trial.world.bays[2].current_a > 50
        assert not trial.world.io[1].outputs >> 7 & 1  # AC enable


async def test_a_contactor_that_fails_twice_in_a_row_waits_for_a_person(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        trial.fault("contactor", "stuck_open", 1)
        trial.world.plug_in(1, Ev())
        for times in (1, 2):
            trial.want(1)
            await trial.until(lambda: trial.blocking(1), 8, f"{times}. failure")
            trial.want(1, energy=False)
            await trio.sleep(10)
            assert bool(trial.blocking(1)) is (times == 2)
        trial.clear("contactor", "stuck_open", 1)
        await trio.sleep(10)
        assert trial.blocking(1)
        trial.hardware.release()
        await trial.until(lambda: not trial.blocking(1), BACK_S, "free")


async def test_a_latched_fault_waits_for_a_person(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        trial.fault("output", "over_current", 1)
        await trial.until(lambda: trial.blocking(1), 4, "told")
        trial.want(1, energy=False)
        trial.clear("output", "over_current", 1)
        await trio.sleep(60)
        assert trial.blocking(1)
        trial.hardware.release()
        await trial.until(lambda: not trial.blocking(1), BACK_S, "free")


async def test_voltage_that_stays_keeps_the_connector_blocked(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        trial.fault("output", "keeps_voltage", 1)
        trial.want(1, energy=False)
        await trial.until(lambda: (1, "output", "keeps_voltage") in trial.faults(), 12, "told")
        assert trial.world.bays[1].bleeding
        trial.clear("output", "keeps_voltage", 1)
        await trial.until(lambda: not trial.blocking(1), BACK_S, "free")
        assert violations(trial.world) == []


async def test_a_meter_that_stays_silent_ends_the_session_after_30_s(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        last = trial.hardware.latest_reading(1)
        trial.fault("meter", "silent", 1)
        took = await trial.until(lambda: trial.blocking(1), 40, "told")
        assert 29 < took < 33
        await trial.until(lambda: trial.closed(1) is False, 8, "open")
        kept = trial.hardware.latest_reading(1)
        assert last is not None
        assert kept is not None
        assert kept.energy_wh >= last.energy_wh
        assert kept.power_w is None
        trial.want(1, energy=False)
        trial.clear("meter", "silent", 1)
        await trial.until(lambda: not trial.blocking(1), BACK_S, "free")
        assert violations(trial.world) == []


async def test_a_silent_meter_lets_nothing_begin(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with body_in_memory(tmp_path) as trial:
        trial.fault("meter", "silent", 1)
        await trial.until(lambda: trial.blocking(1), 4, "told")
        trial.clear("meter", "silent", 1)
        await trial.until(lambda: not trial.blocking(1), BACK_S, "free")


async def test_a_hot_cable_gives_half_in_the_middle_of_its_derating(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        before_a = trial.world.seccs[1].limits["current_a"]
        trial.fault("cable", "hot", 1)  # 85 degC of 80 to 90
        await trio.sleep(3)
        assert trial.world.seccs[1].limits["current_a"] == pytest.approx(before_a / 2, rel=0.05)
        assert trial.world.bays[1].current_a > 100


async def test_an_arrester_that_died_in_a_session_blocks_the_next(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        trial.fault("arrester", "dead")
        await trio.sleep(3)
        assert trial.blocking(2)
        assert not trial.blocking(1)
        assert trial.world.bays[1].current_a > 50
        trial.want(1, energy=False)
        await trial.until(lambda: trial.blocking(1), 6, "blocked after the session")


async def test_a_broken_reader_blocks_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with body_in_memory(tmp_path) as trial:
        trial.fault("reader", "silent")
        await trial.until(lambda: (0, "reader", "lost") in trial.faults(), 5, "told")
        assert not trial.blocking(1)
        await trial.charge(1)
        trial.clear("reader", "silent")
        await trial.until(lambda: (0, "reader", "lost") not in trial.faults(), BACK_S, "back")
        assert len(trial.all(DeviceRecovered)) == 1
