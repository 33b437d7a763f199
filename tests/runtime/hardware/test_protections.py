"""Every fault of the emulated devices has the consequences of the safety table, and no others."""

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
from tests.runtime.fixtures_hardware import HardwareBench, run_in_memory, world_violations

OFF_S = 0.2  # from the detection of a fault to modules off, on emulated devices
BACK_S = 5.0  # from the end of a fault to an Available connector


@dataclass(frozen=True)
class FaultCase:
    """Consequences of a fault injected at EVSE 1 in a session.

    Attributes:
        reported_fault: name of the rule that ends the session.
        stopped_reason: stoppedReason.
        detection_s: how long the devices take to report it.
        station_wide: EVSE 2 stops too.
        opens_under_load: the fault itself opens the contactors under load.
        modules_reachable: the modules still receive orders.
        recovers: it ends without a person once the cause is cleared.
        feedback: the contactors' feedback can be read during the fault.
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
    # fault: name of the rule that is reported, if any
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
    "module/wrong_count": None,  # modules are counted in the set-up
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
    # visible only at the start or at the end of a session, or without one
    "insulation/self_test": None,
    "contactor/welded": None,
    "output/over_voltage": None,
    "output/keeps_voltage": None,
    "ev/no_precharge": None,
}
# tested in test_power_path and test_hardware
COVERED_ELSEWHERE = {
    "ev/stops", "secc_can/gone", "can/gone", "reader/gone", "display/gone", "display/lost",
}  # fmt: skip


def test_every_fault_of_the_emulated_devices_has_a_case() -> None:
    known = {f"{device}/{kind}" for device, kind in FAULTS}
    assert known == {*STOPPING_FAULTS, *CONTINUING_FAULTS, *COVERED_ELSEWHERE}


def inject_fault(bench: HardwareBench, name: str, op: str = "fault") -> None:
    device, kind = name.split("/")
    target = {"evse_id": 1} if FAULTS[device, kind].per_evse else {}
    bench.send_order(op, device=device, kind=kind, **target)


def is_power_on(bench: HardwareBench) -> bool:
    """Whether any module of the station is on."""
    return any(module.on for module in bench.world.cabinet.modules)


def stopping_fault(bench: HardwareBench, evse_id: int) -> DeviceFaulted | None:
    """The first fault that ends the session, as the state has it."""
    for fault in bench.observations_of(DeviceFaulted):
        if fault.evse_id in (0, evse_id) and fault.blocks_charging:
            return fault
    return None


@pytest.mark.parametrize("name", STOPPING_FAULTS)
async def test_a_session_ends_by_the_safety_table(
    autojump_clock: MockClock, tmp_path: Path, name: str
) -> None:
    case = STOPPING_FAULTS[name]
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await bench.start_charging(2)
        await trio.sleep(2)
        modules = bench.world.power_stages[1].modules
        inject_fault(bench, name)
        if case.modules_reachable:
            await bench.wait_until(
                lambda: not any(module.on for module in modules),
                case.detection_s + OFF_S,
                "modules off",
            )
        if case.feedback:
            await bench.wait_until(
                lambda: not bench.world.power_stages[1].closed, case.detection_s + 1.5, "open"
            )
        await bench.wait_until(lambda: stopping_fault(bench, 1), case.detection_s + 1, "reported")
        fault = stopping_fault(bench, 1)
        assert fault is not None
        assert f"{fault.device}/{fault.fault}" == case.reported_fault
        assert fault.stopped_reason == case.stopped_reason
        assert fault.tech_code == FAULT_RULES[case.reported_fault].tech_code
        await trio.sleep(3)
        assert bench.observations_of(EvStoppedCharging) == []
        assert (bench.world.power_stages[2].current_a < 1) is case.station_wide
        if not case.opens_under_load:
            assert world_violations(bench.world) == []
        for evse_id in (1, 2) if case.station_wide else (1,):
            bench.request_energy(evse_id, energy=False)
        await trio.sleep(0.2)
        if not case.feedback:
            inject_fault(bench, name, "clear_fault")
        await bench.wait_until(lambda: bench.is_closed(1) is False, 4, "open reported")
        inject_fault(bench, name, "clear_fault")
        if case.recovers:
            await bench.wait_until(lambda: not bench.blocking_faults(1), BACK_S, "free again")
            bench.request_energy(1)
            await bench.wait_until(
                lambda: bench.world.power_stages[1].current_a > 50, 10, "charging again"
            )
        else:
            await trio.sleep(BACK_S)
            assert bench.blocking_faults(1)


@pytest.mark.parametrize("name", CONTINUING_FAULTS)
async def test_a_session_continues_with(
    autojump_clock: MockClock, tmp_path: Path, name: str
) -> None:
    rule = CONTINUING_FAULTS[name]
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await trio.sleep(3)
        inject_fault(bench, name)
        await trio.sleep(22)
        assert bench.world.power_stages[1].current_a > 50
        assert {
            f"{fault.device}/{fault.fault}" for fault in bench.observations_of(DeviceFaulted)
        } >= ({rule} if rule else set())
        assert not bench.blocking_faults(1)
        inject_fault(bench, name, "clear_fault")
        await bench.wait_until(lambda: bench.active_faults() == set(), 8, "all good")
        assert bench.world.power_stages[1].current_a > 50


async def test_the_emergency_stop_is_within_200_ms_and_for_all(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        for pause_s in (0.0, 0.03, 0.07):  # anywhere in the cycle of the I/O modules
            await bench.start_charging(1)
            await bench.start_charging(2)
            await trio.sleep(1 + pause_s)
            bench.send_order("emergency_stop")
            await bench.wait_until(lambda: not is_power_on(bench), OFF_S, "off")
            await bench.wait_until(
                lambda: not (bench.is_closed(1) or bench.is_closed(2)), 3, "open"
            )
            [stop] = bench.observations_of(DeviceFaulted)[-1:]
            assert (stop.evse_id, stop.stopped_reason, stop.tech_code) == (
                0,
                "EmergencyStop",
                "CX008",
            )
            await trio.sleep(30)
            assert bench.blocking_faults(1)
            bench.request_energy(1, energy=False)
            bench.request_energy(2, energy=False)
            bench.send_order("emergency_release")
            await bench.wait_until(lambda: bench.active_faults() == set(), BACK_S, "released")
            bench.send_order("unplug", evse_id=1)
            bench.send_order("unplug", evse_id=2)
            await trio.sleep(2)
        assert bench.observations_of(EvStoppedCharging) == []


async def test_nothing_begins_while_the_emergency_stop_is_pressed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.send_order("emergency_stop")
        bench.request_energy(1)
        bench.world.plug_in(1, Ev())
        await trio.sleep(20)
        assert bench.world.seccs[1].state.name == "NOT_AVAILABLE"
        assert not bench.world.power_stages[1].closed


@pytest.mark.parametrize(
    ("name", "rule", "reason"),
    [
        ("insulation/low", "insulation/low", "GroundFault"),
        ("insulation/self_test", "insulation/self_test", "GroundFault"),
        ("ev/no_precharge", "ev/no_precharge", "Other"),
        ("output/over_voltage", "output/over_voltage", "Other"),
        ("contactor/stuck_open", "contactor/stuck_open", "Other"),
        ("contactor/welded", "contactor/welded", "Other"),
    ],
)
async def test_no_energy_flows_with(
    autojump_clock: MockClock, tmp_path: Path, name: str, rule: str, reason: str
) -> None:
    async with run_in_memory(tmp_path) as bench:
        inject_fault(bench, name)
        bench.request_energy(1)
        bench.world.plug_in(1, Ev())
        await bench.wait_until(lambda: stopping_fault(bench, 1), 14, "reported")
        fault = stopping_fault(bench, 1)
        assert fault is not None
        assert f"{fault.device}/{fault.fault}" == rule
        assert fault.stopped_reason == reason
        bench.request_energy(1, energy=False)
        await trio.sleep(6)
        assert not any(module.on for module in bench.world.power_stages[1].modules)
        assert bench.world.power_stages[1].closed is (name == "contactor/welded")
        assert int(bench.world.registers[1]) == 0
        inject_fault(bench, name, "clear_fault")
        bench.hardware.release_faults()
        await bench.wait_until(lambda: not bench.blocking_faults(1), BACK_S, "free again")
        bench.request_energy(1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 12, "charging")


async def test_a_contactor_that_does_not_open_ends_the_sessions_of_its_evse(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await bench.start_charging(2)
        bench.inject_fault("contactor", "welded", 1)
        bench.request_energy(1, energy=False)
        await bench.wait_until(
            lambda: (1, "contactor", "welded") in bench.active_faults(), 4, "reported"
        )
        await bench.wait_until(lambda: bench.energy_flow(1) == "none", 8, "no flow")
        assert bench.is_closed(1) is True
        assert not bench.world.power_stages[1].bleeding
        bench.request_energy(1)
        await trio.sleep(20)
        assert bench.world.power_stages[1].current_a == 0
        assert bench.world.power_stages[2].current_a > 50
        assert not bench.world.io[1].outputs >> 7 & 1  # AC enable


async def test_a_contactor_that_fails_twice_in_a_row_waits_for_a_person(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.inject_fault("contactor", "stuck_open", 1)
        bench.world.plug_in(1, Ev())
        for times in (1, 2):
            bench.request_energy(1)
            await bench.wait_until(lambda: bench.blocking_faults(1), 8, f"{times}. failure")
            bench.request_energy(1, energy=False)
            await trio.sleep(10)
            assert bool(bench.blocking_faults(1)) is (times == 2)
        bench.clear_fault("contactor", "stuck_open", 1)
        await trio.sleep(10)
        assert bench.blocking_faults(1)
        bench.hardware.release_faults()
        await bench.wait_until(lambda: not bench.blocking_faults(1), BACK_S, "free")


async def test_a_latched_fault_waits_for_a_person(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        bench.inject_fault("output", "over_current", 1)
        await bench.wait_until(lambda: bench.blocking_faults(1), 4, "reported")
        bench.request_energy(1, energy=False)
        bench.clear_fault("output", "over_current", 1)
        await trio.sleep(60)
        assert bench.blocking_faults(1)
        bench.hardware.release_faults()
        await bench.wait_until(lambda: not bench.blocking_faults(1), BACK_S, "free")


async def test_voltage_that_stays_keeps_the_connector_blocked(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        bench.inject_fault("output", "keeps_voltage", 1)
        bench.request_energy(1, energy=False)
        await bench.wait_until(
            lambda: (1, "output", "keeps_voltage") in bench.active_faults(), 12, "reported"
        )
        assert bench.world.power_stages[1].bleeding
        bench.clear_fault("output", "keeps_voltage", 1)
        await bench.wait_until(lambda: not bench.blocking_faults(1), BACK_S, "free")
        assert world_violations(bench.world) == []


async def test_a_meter_that_stays_silent_ends_the_session_after_30_s(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        assert bench.hardware.latest_reading(1) is not None
        bench.inject_fault("meter", "silent", 1)
        duration_s = await bench.wait_until(lambda: bench.blocking_faults(1), 40, "reported")
        assert 29 < duration_s < 33
        await bench.wait_until(lambda: bench.is_closed(1) is False, 8, "open")
        assert bench.hardware.latest_reading(1) is None, "a silent meter has no newest reading"
        bench.request_energy(1, energy=False)
        bench.clear_fault("meter", "silent", 1)
        await bench.wait_until(lambda: not bench.blocking_faults(1), BACK_S, "free")
        assert world_violations(bench.world) == []


async def test_a_silent_meter_lets_nothing_begin(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.inject_fault("meter", "silent", 1)
        await bench.wait_until(lambda: bench.blocking_faults(1), 4, "reported")
        bench.clear_fault("meter", "silent", 1)
        await bench.wait_until(lambda: not bench.blocking_faults(1), BACK_S, "free")


async def test_a_hot_cable_gives_half_in_the_middle_of_its_derating(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        before_a = bench.world.seccs[1].limits["current_a"]
        bench.inject_fault("cable", "hot", 1)  # 85 degC of 80 to 90
        await trio.sleep(3)
        assert bench.world.seccs[1].limits["current_a"] == pytest.approx(before_a / 2, rel=0.05)
        assert bench.world.power_stages[1].current_a > 100


async def test_an_arrester_that_died_in_a_session_blocks_the_next(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        bench.inject_fault("arrester", "dead")
        await trio.sleep(3)
        assert bench.blocking_faults(2)
        assert not bench.blocking_faults(1)
        assert bench.world.power_stages[1].current_a > 50
        bench.request_energy(1, energy=False)
        await bench.wait_until(lambda: bench.blocking_faults(1), 6, "blocked after the session")


async def test_a_broken_reader_blocks_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.inject_fault("reader", "silent")
        await bench.wait_until(
            lambda: (0, "reader", "lost") in bench.active_faults(), 5, "reported"
        )
        assert not bench.blocking_faults(1)
        await bench.start_charging(1)
        bench.clear_fault("reader", "silent")
        await bench.wait_until(
            lambda: (0, "reader", "lost") not in bench.active_faults(), BACK_S, "back"
        )
        assert len(bench.observations_of(DeviceRecovered)) == 1
