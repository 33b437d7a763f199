"""Does every fault the emulated world can have do what the safety table says, and no more?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.emulators.ev import Ev
from drivers.emulators.faults import FAULTS
from journal.observations import DeviceFaulted, DeviceRecovered, EvStoppedCharging
from station.runtime.hardware.fault_registry import FAULT_RULES
from tests.runtime.fixtures_hardware import ControlLoopTest, run_in_memory, world_violations

OFF_S = 0.2  # from a fault that is seen to the modules' off, on emulated devices
BACK_S = 5.0  # from the end of a fault to a free connector


@dataclass(frozen=True)
class FaultCase:
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

    reported_fault: str
    stopped_reason: str = "Other"
    detection_s: float = 0.2
    station_wide: bool = False
    opens_under_load: bool = False
    modules_reachable: bool = True
    recovers: bool = True
    feedback: bool = True


STOPPING_FAULTS = {
    "insulation/low": FaultCase("insulation/low", "GroundFault", detection_s=1.1),
    "insulation/alarm": FaultCase("insulation/alarm", "GroundFault", detection_s=0.6),
    "insulation/lost": FaultCase("insulation/lost", detection_s=2.0),
    "insulation/device_error": FaultCase("insulation/device_error", detection_s=0.6),
    "insulation/earth_lost": FaultCase("insulation/earth_lost", detection_s=0.6),
    "insulation/frozen": FaultCase("insulation/lost", detection_s=12),
    "secc/silent": FaultCase("secc/silent", detection_s=1.1),
    "secc/emergency_stop": FaultCase("secc/emergency_stop", detection_s=0.5),
    "secc/unknown_values": FaultCase("secc/unknown_values", recovers=False),
    "secc_can/lost": FaultCase("secc/silent", detection_s=1.1, station_wide=True),
    "pilot/error": FaultCase("pilot/error", recovers=False),
    "can/lost": FaultCase("can/lost", detection_s=1.1, station_wide=True, modules_reachable=False),
    "module/all_dead": FaultCase("module/all_dead", detection_s=1.1, modules_reachable=False),
    "mains/lost": FaultCase("mains/lost", "PowerLoss", station_wide=True),
    "mains/phase_missing": FaultCase("mains/phase_missing", "PowerQuality", 2.0, station_wide=True),
    "mains/under_voltage": FaultCase("mains/under_voltage", "PowerQuality", 2.0, station_wide=True),
    "breaker/tripped": FaultCase(
        "breaker/tripped", "PowerLoss", station_wide=True, modules_reachable=False
    ),
    "door/open": FaultCase("door/open", station_wide=True),
    "dispenser_door/open": FaultCase("dispenser_door/open", station_wide=True),
    "dispenser/tilted": FaultCase("dispenser/tilted", station_wide=True),
    "io/silent": FaultCase("io/lost", detection_s=1.2, station_wide=True, feedback=False),
    "io/exception": FaultCase("io/lost", detection_s=0.5, station_wide=True, feedback=False),
    "io/watchdog": FaultCase(
        "io/watchdog", detection_s=2.3, station_wide=True, opens_under_load=True
    ),
    "io/reboot": FaultCase("io/reset", station_wide=True, opens_under_load=True),
    "contactor/stuck_open": FaultCase(
        "contactor/stuck_open", detection_s=1.0, opens_under_load=True
    ),
    "output/over_current": FaultCase(
        "output/over_current", "OvercurrentFault", 1.4, recovers=False
    ),
    "cable/over_temperature": FaultCase("cable/over_temperature", detection_s=1.1),
    "cable/sensor_broken": FaultCase("cable/sensor_broken", detection_s=1.1),
    "ev/emergency_stop": FaultCase("ev/emergency_stop"),
}

CONTINUING_FAULTS = {
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
COVERED_ELSEWHERE = {
    "ev/stops", "secc_can/gone", "can/gone", "reader/gone", "display/gone", "display/lost",
}  # fmt: skip


def test_every_fault_of_the_emulated_world_has_its_case() -> None:
    known = {f"{device}/{kind}" for device, kind in FAULTS}
    assert known == {*STOPPING_FAULTS, *CONTINUING_FAULTS, *COVERED_ELSEWHERE}


def inject_fault(trial: ControlLoopTest, name: str, op: str = "fault") -> None:
    device, kind = name.split("/")
    where = {"evse_id": 1} if FAULTS[device, kind].per_evse else {}
    trial.send_order(op, device=device, kind=kind, **where)


def is_power_on(trial: ControlLoopTest) -> bool:
    """Whether any module of the station is on."""
    return any(module.on for module in trial.world.cabinet.modules)


def stopping_fault(trial: ControlLoopTest, evse_id: int) -> DeviceFaulted | None:
    """The first fault that ended the session, as the memory would have it."""
    for fault in trial.observations_of(DeviceFaulted):
        if fault.evse_id in (0, evse_id) and fault.blocks_charging:
            return fault
    return None


@pytest.mark.parametrize("name", STOPPING_FAULTS)
async def test_a_session_ends_by_the_safety_table(
    autojump_clock: MockClock, tmp_path: Path, name: str
) -> None:
    case = STOPPING_FAULTS[name]
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        await trial.start_charging(2)
        await trio.sleep(2)
        modules = trial.world.power_stages[1].modules
        inject_fault(trial, name)
        if case.modules_reachable:
            await trial.wait_until(
                lambda: not any(module.on for module in modules),
                case.detection_s + OFF_S,
                "modules off",
            )
        if case.feedback:
            await trial.wait_until(
                lambda: not trial.world.power_stages[1].closed, case.detection_s + 1.5, "open"
            )
        await trial.wait_until(lambda: stopping_fault(trial, 1), case.detection_s + 1, "told")
        found = stopping_fault(trial, 1)
        assert found is not None
        assert f"{found.device}/{found.fault}" == case.reported_fault
        assert found.stopped_reason == case.stopped_reason
        assert found.tech_code == FAULT_RULES[case.reported_fault].tech_code
        await trio.sleep(3)
        assert trial.observations_of(EvStoppedCharging) == []
        assert (trial.world.power_stages[2].current_a < 1) is case.station_wide
        if not case.opens_under_load:
            assert world_violations(trial.world) == []
        for evse_id in (1, 2) if case.station_wide else (1,):
            trial.request_energy(evse_id, energy=False)
        await trio.sleep(0.2)
        if not case.feedback:
            inject_fault(trial, name, "clear_fault")
        await trial.wait_until(lambda: trial.is_closed(1) is False, 4, "open told")
        inject_fault(trial, name, "clear_fault")
        if case.recovers:
            await trial.wait_until(lambda: not trial.blocking_faults(1), BACK_S, "free again")
            trial.request_energy(1)
            await trial.wait_until(
                lambda: trial.world.power_stages[1].current_a > 50, 10, "charging again"
            )
        else:
            await trio.sleep(BACK_S)
            assert trial.blocking_faults(1)


@pytest.mark.parametrize("name", CONTINUING_FAULTS)
async def test_a_session_goes_on_through(
    autojump_clock: MockClock, tmp_path: Path, name: str
) -> None:
    told = CONTINUING_FAULTS[name]
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        await trio.sleep(3)
        inject_fault(trial, name)
        await trio.sleep(22)
        assert trial.world.power_stages[1].current_a > 50
        assert {
            f"{fault.device}/{fault.fault}" for fault in trial.observations_of(DeviceFaulted)
        } >= ({told} if told else set())
        assert not trial.blocking_faults(1)
        inject_fault(trial, name, "clear_fault")
        await trial.wait_until(lambda: trial.active_faults() == set(), 8, "all good")
        assert trial.world.power_stages[1].current_a > 50


async def test_the_emergency_stop_is_within_200_ms_and_for_all(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        for pause_s in (0.0, 0.03, 0.07):  # anywhere in the cycle of the I/O modules
            await trial.start_charging(1)
            await trial.start_charging(2)
            await trio.sleep(1 + pause_s)
            trial.send_order("emergency_stop")
            await trial.wait_until(lambda: not is_power_on(trial), OFF_S, "off")
            await trial.wait_until(
                lambda: not (trial.is_closed(1) or trial.is_closed(2)), 3, "open"
            )
            [stop] = trial.observations_of(DeviceFaulted)[-1:]
            assert (stop.evse_id, stop.stopped_reason, stop.tech_code) == (
                0,
                "EmergencyStop",
                "CX008",
            )
            await trio.sleep(30)
            assert trial.blocking_faults(1)
            trial.request_energy(1, energy=False)
            trial.request_energy(2, energy=False)
            trial.send_order("emergency_release")
            await trial.wait_until(lambda: trial.active_faults() == set(), BACK_S, "released")
            trial.send_order("unplug", evse_id=1)
            trial.send_order("unplug", evse_id=2)
            await trio.sleep(2)
        assert trial.observations_of(EvStoppedCharging) == []


async def test_nothing_begins_while_the_emergency_stop_is_pressed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        trial.send_order("emergency_stop")
        trial.request_energy(1)
        trial.world.plug_in(1, Ev())
        await trio.sleep(20)
        assert trial.world.seccs[1].state.name == "NOT_AVAILABLE"
        assert not trial.world.power_stages[1].closed


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
    async with run_in_memory(tmp_path) as trial:
        inject_fault(trial, name)
        trial.request_energy(1)
        trial.world.plug_in(1, Ev())
        await trial.wait_until(lambda: stopping_fault(trial, 1), 14, "told")
        found = stopping_fault(trial, 1)
        assert found is not None
        assert f"{found.device}/{found.fault}" == told
        assert found.stopped_reason == reason
        trial.request_energy(1, energy=False)
        await trio.sleep(6)
        assert not any(module.on for module in trial.world.power_stages[1].modules)
        assert trial.world.power_stages[1].closed is (name == "contactor/welded")
        assert int(trial.world.registers[1]) == 0
        inject_fault(trial, name, "clear_fault")
        trial.hardware.release_faults()
        await trial.wait_until(lambda: not trial.blocking_faults(1), BACK_S, "free again")
        trial.request_energy(1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 12, "charging")


async def test_a_contactor_that_does_not_open_ends_all_sessions_here(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        await trial.start_charging(2)
        trial.inject_fault("contactor", "welded", 1)
        trial.request_energy(1, energy=False)
        await trial.wait_until(
            lambda: (1, "contactor", "welded") in trial.active_faults(), 4, "told"
        )
        await trial.wait_until(lambda: trial.energy_flow(1) == "none", 8, "no flow")
        assert trial.is_closed(1) is True
        assert not trial.world.power_stages[1].bleeding
        trial.request_energy(1)
        await trio.sleep(20)
        assert trial.world.power_stages[1].current_a == 0
        assert trial.world.power_stages[2].current_a > 50
        assert not trial.world.io[1].outputs >> 7 & 1  # AC enable


async def test_a_contactor_that_fails_twice_in_a_row_waits_for_a_person(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        trial.inject_fault("contactor", "stuck_open", 1)
        trial.world.plug_in(1, Ev())
        for times in (1, 2):
            trial.request_energy(1)
            await trial.wait_until(lambda: trial.blocking_faults(1), 8, f"{times}. failure")
            trial.request_energy(1, energy=False)
            await trio.sleep(10)
            assert bool(trial.blocking_faults(1)) is (times == 2)
        trial.clear_fault("contactor", "stuck_open", 1)
        await trio.sleep(10)
        assert trial.blocking_faults(1)
        trial.hardware.release_faults()
        await trial.wait_until(lambda: not trial.blocking_faults(1), BACK_S, "free")


async def test_a_latched_fault_waits_for_a_person(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        trial.inject_fault("output", "over_current", 1)
        await trial.wait_until(lambda: trial.blocking_faults(1), 4, "told")
        trial.request_energy(1, energy=False)
        trial.clear_fault("output", "over_current", 1)
        await trio.sleep(60)
        assert trial.blocking_faults(1)
        trial.hardware.release_faults()
        await trial.wait_until(lambda: not trial.blocking_faults(1), BACK_S, "free")


async def test_voltage_that_stays_keeps_the_connector_blocked(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        trial.inject_fault("output", "keeps_voltage", 1)
        trial.request_energy(1, energy=False)
        await trial.wait_until(
            lambda: (1, "output", "keeps_voltage") in trial.active_faults(), 12, "told"
        )
        assert trial.world.power_stages[1].bleeding
        trial.clear_fault("output", "keeps_voltage", 1)
        await trial.wait_until(lambda: not trial.blocking_faults(1), BACK_S, "free")
        assert world_violations(trial.world) == []


async def test_a_meter_that_stays_silent_ends_the_session_after_30_s(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        last = trial.hardware.latest_reading(1)
        trial.inject_fault("meter", "silent", 1)
        took = await trial.wait_until(lambda: trial.blocking_faults(1), 40, "told")
        assert 29 < took < 33
        await trial.wait_until(lambda: trial.is_closed(1) is False, 8, "open")
        kept = trial.hardware.latest_reading(1)
        assert last is not None
        assert kept is not None
        assert kept.energy_wh >= last.energy_wh
        assert kept.power_w is None
        trial.request_energy(1, energy=False)
        trial.clear_fault("meter", "silent", 1)
        await trial.wait_until(lambda: not trial.blocking_faults(1), BACK_S, "free")
        assert world_violations(trial.world) == []


async def test_a_silent_meter_lets_nothing_begin(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with run_in_memory(tmp_path) as trial:
        trial.inject_fault("meter", "silent", 1)
        await trial.wait_until(lambda: trial.blocking_faults(1), 4, "told")
        trial.clear_fault("meter", "silent", 1)
        await trial.wait_until(lambda: not trial.blocking_faults(1), BACK_S, "free")


async def test_a_hot_cable_gives_half_in_the_middle_of_its_derating(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        before_a = trial.world.seccs[1].limits["current_a"]
        trial.inject_fault("cable", "hot", 1)  # 85 degC of 80 to 90
        await trio.sleep(3)
        assert trial.world.seccs[1].limits["current_a"] == pytest.approx(before_a / 2, rel=0.05)
        assert trial.world.power_stages[1].current_a > 100


async def test_an_arrester_that_died_in_a_session_blocks_the_next(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        trial.inject_fault("arrester", "dead")
        await trio.sleep(3)
        assert trial.blocking_faults(2)
        assert not trial.blocking_faults(1)
        assert trial.world.power_stages[1].current_a > 50
        trial.request_energy(1, energy=False)
        await trial.wait_until(lambda: trial.blocking_faults(1), 6, "blocked after the session")


async def test_a_broken_reader_blocks_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with run_in_memory(tmp_path) as trial:
        trial.inject_fault("reader", "silent")
        await trial.wait_until(lambda: (0, "reader", "lost") in trial.active_faults(), 5, "told")
        assert not trial.blocking_faults(1)
        await trial.start_charging(1)
        trial.clear_fault("reader", "silent")
        await trial.wait_until(
            lambda: (0, "reader", "lost") not in trial.active_faults(), BACK_S, "back"
        )
        assert len(trial.observations_of(DeviceRecovered)) == 1
