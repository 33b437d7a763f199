"""Whole sessions in memory: drivers, emulated devices and power stage, on virtual time."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from drivers.displays.vt100 import Vt100Display
from drivers.emulators.advantics_secc import EmulatedSecc
from drivers.emulators.ev import Ev
from drivers.emulators.orders import execute_order
from drivers.emulators.power_stage import HEALTHY_OHM, PowerStage
from drivers.emulators.station import EmulatedStation
from drivers.insulation.bender_isocha425hv import BenderIsoCha425hv
from drivers.io.icpdas_m7055 import IcpdasM7055
from drivers.meters.acrel_djsf1352 import AcrelDjsf1352
from drivers.ports import (
    ChargeStatus,
    Device,
    DeviceReport,
    DigitalInputs,
    EvInformation,
    InsulationReading,
    MeterReading,
    PilotState,
    PowerFunction,
    PowerRequest,
    SeccEmergency,
    SeccState,
    SessionFinished,
    TokenPresented,
)
from drivers.readers.pn532 import Pn532Reader
from drivers.wire.modbus_master import ModbusMaster
from tests.drivers.fixtures_charging import MiniatureStation, make_memory_world

R = TypeVar("R")


@dataclass
class WorldBench:
    world: EmulatedStation
    station: MiniatureStation

    @property
    def stage(self) -> PowerStage:
        return self.world.power_stages[1]

    @property
    def secc(self) -> EmulatedSecc:
        return self.world.seccs[1]

    async def wait_for_state(self, state: SeccState, seconds: float = 10.0) -> float:
        """Wait until the controller is in a state; returns the seconds that took."""
        started_at = trio.current_time()
        with trio.fail_after(seconds):
            while self.secc.state is not state:
                await trio.sleep(0.01)
        return trio.current_time() - started_at

    async def start_charging(self, ev: Ev) -> None:
        """Plug in and wait for current."""
        self.station.allow_charging()
        self.world.plug_in(1, ev)
        await self.wait_for_state(SeccState.CHARGING)
        with trio.fail_after(3):
            while ev.ready and self.stage.current_a < 0.9 * ev.target_a:
                await trio.sleep(0.05)

    def requested_functions(self) -> list[PowerFunction]:
        """Functions the controller requested, without repetitions."""
        functions = [request.function for request in self.station.reports_of(PowerRequest)]
        return [
            function
            for previous, function in zip([None, *functions], functions, strict=False)
            if function is not previous
        ]


@asynccontextmanager
async def open_bench(directory: Path) -> AsyncIterator[WorldBench]:
    world, ends = make_memory_world(directory)
    station = MiniatureStation(directory, memory=ends)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await nursery.start(station.run)
        yield WorldBench(world, station)
        nursery.cancel_scope.cancel()


Clock = trio.testing.MockClock


async def test_from_plug_to_closed_contactors_takes_at_most_3_s(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        bench.station.allow_charging()
        await trio.sleep(1)
        bench.world.plug_in(1, Ev())
        assert await bench.wait_for_state(SeccState.CHARGING) <= 2.5
        assert bench.stage.closed
        assert bench.stage.ev is not None
        assert bench.stage.ev.contactors_closed
        assert bench.requested_functions() == [
            PowerFunction.STANDBY,
            PowerFunction.INSULATION_TEST,
            PowerFunction.STANDBY,
            PowerFunction.PRECHARGE,
            PowerFunction.STANDBY,
            PowerFunction.POWER_TRANSFER,
        ]
        assert list(bench.stage.violations) == []


async def test_an_ev_waits_at_100_percent_duty_until_the_start_is_allowed(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        bench.world.plug_in(1, Ev())
        await trio.sleep(30)
        assert bench.secc.state is SeccState.NOT_AVAILABLE
        assert bench.station.reports_of(PilotState)[-1] == PilotState("B", 1000)
        bench.station.allow_charging()
        assert await bench.wait_for_state(SeccState.CHARGING) <= 2.5
        assert bench.station.reports_of(PilotState)[-1] == PilotState("C", 50)


async def test_a_session_without_authorization_is_aborted_after_a_minute(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        bench.station.secc.start_allowed = True
        bench.world.plug_in(1, Ev())
        await bench.wait_for_state(SeccState.CCS_AUTHORIZATION_PROCESS)
        assert 55 <= await bench.wait_for_state(SeccState.WAITING_FOR_PEV, 70) <= 65
        assert bench.station.reports_of(SessionFinished) == [SessionFinished(aborted=True)]


async def test_a_refused_authorization_ends_the_session_without_power(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        bench.station.secc.start_allowed = True
        bench.world.plug_in(1, Ev())
        await bench.wait_for_state(SeccState.CCS_AUTHORIZATION_PROCESS)
        bench.station.secc.authorized = False
        await bench.wait_for_state(SeccState.WAITING_FOR_PEV)
        assert bench.station.reports_of(SessionFinished) == [SessionFinished(aborted=False)]
        assert bench.requested_functions() == []


async def test_the_ev_reports_its_parameters(tmp_path: Path, autojump_clock: Clock) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.start_charging(
            Ev(capacity_wh=60_000, soc=51.9, max_voltage_v=480, max_current_a=120)
        )
        assert bench.station.reports_of(EvInformation)[-1] == EvInformation(
            capacity_wh=Decimal(60_000),
            soc_percent=51,
            soc_target_percent=100,
            voltage_max_v=Decimal("480.0"),
            voltage_present_v=bench.station.reports_of(EvInformation)[-1].voltage_present_v,
            current_max_a=Decimal("120.0"),
            power_max_w=Decimal(100_000),
            evcc_id="02A1B2C3D4E5",
        )


async def test_the_meter_counts_the_energy_into_the_battery(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        ev = Ev(capacity_wh=100_000, soc=50)
        await bench.start_charging(ev)
        before_wh, before_soc = bench.world.registers[1], ev.soc
        await trio.sleep(60)
        metered_wh = float(bench.world.registers[1] - before_wh)
        assert metered_wh == pytest.approx(bench.stage.power_w / 60, rel=0.02)
        battery_wh = (ev.soc - before_soc) * 1000
        assert battery_wh < metered_wh  # losses in cable and battery
        assert battery_wh == pytest.approx(metered_wh, rel=0.03)
        assert bench.world.meters[1].read_register(13) == int(bench.world.registers[1]) & 0xFFFF


async def test_a_nearly_full_ev_tapers_and_stops_by_itself(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        ev = Ev(capacity_wh=1_000, soc=85, max_current_a=100)
        await bench.start_charging(ev)
        full_current_a = bench.stage.current_a
        while ev.soc < 95:
            await trio.sleep(0.5)
        assert bench.stage.current_a < full_current_a / 3
        await bench.wait_for_state(SeccState.ENDING_CHARGE, 120)
        await bench.wait_for_state(SeccState.WAITING_FOR_PEV)
        assert bench.station.reports_of(ChargeStatus) == [ChargeStatus(True), ChargeStatus(False)]
        assert bench.station.reports_of(SessionFinished) == [SessionFinished(aborted=False)]
        assert list(bench.stage.violations) == []
        assert bench.stage.outlet_v < 60


async def test_an_ev_that_is_not_ready_closes_its_contactors_and_requests_0_a(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        ev = Ev(ready=False)
        await bench.start_charging(ev)
        await trio.sleep(60)
        assert bench.secc.state is SeccState.CHARGING
        assert bench.stage.closed
        assert bench.stage.current_a == 0
        assert bench.world.registers[1] < Decimal("0.1")  # precharge only
        ev.ready = True
        await trio.sleep(2)
        assert bench.stage.current_a == pytest.approx(ev.target_a, rel=0.01)
        ev.ready = False
        await trio.sleep(1)
        assert bench.stage.current_a == 0
        assert bench.secc.state is SeccState.CHARGING


async def test_the_stop_button_ends_the_session_in_order(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.start_charging(Ev())
        bench.station.secc.press_stop_button()
        assert await bench.wait_for_state(SeccState.WAITING_FOR_PEV) <= 2
        assert bench.station.reports_of(SessionFinished) == [SessionFinished(aborted=False)]
        assert bench.requested_functions()[-1] is PowerFunction.STANDBY
        assert bench.station.reports_of(PowerRequest)[-1].lower_voltage
        assert not bench.stage.closed
        assert list(bench.stage.violations) == []


async def test_after_a_session_the_same_ev_needs_a_new_start_authorization(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.start_charging(Ev())
        bench.station.secc.press_stop_button()
        await bench.wait_for_state(SeccState.WAITING_FOR_PEV)
        await trio.sleep(60)
        assert bench.secc.state is SeccState.WAITING_FOR_PEV
        bench.station.secc.start_allowed = False
        await trio.sleep(0.2)
        bench.station.secc.start_allowed = True
        assert await bench.wait_for_state(SeccState.CHARGING) <= 2.5


@pytest.mark.parametrize("at_s", [0.1, 0.3, 0.8, 1.2, 1.5, 1.8, 2.5, 10])
async def test_an_ev_may_leave_at_any_moment(
    tmp_path: Path, autojump_clock: Clock, at_s: float
) -> None:
    async with open_bench(tmp_path) as bench:
        bench.station.allow_charging()
        bench.world.plug_in(1, Ev())
        await trio.sleep(at_s)
        bench.world.unplug(1)
        await trio.sleep(3)
        assert bench.stage.current_a == 0
        assert not bench.stage.closed
        assert bench.stage.bus_v < 60
        assert bench.secc.state is SeccState.WAITING_FOR_PEV
        assert bench.station.reports_of(PilotState)[-1].letter == "A"
        assert bench.station.reports_of(SessionFinished) == [SessionFinished(aborted=True)]
        bench.world.plug_in(1, Ev())
        assert await bench.wait_for_state(SeccState.CHARGING) <= 2.5


async def test_an_emergency_stop_of_the_ev_is_reported_while_it_persists(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        ev = Ev()
        await bench.start_charging(ev)
        ev.emergency = True
        await trio.sleep(3)
        assert set(bench.station.reports_of(SeccEmergency)) == {SeccEmergency(by_ev=True)}
        assert len(bench.station.reports_of(SeccEmergency)) >= 25
        assert bench.stage.current_a == 0
        assert not bench.station.reports_of(SessionFinished)
        ev.emergency = False
        await bench.wait_for_state(SeccState.WAITING_FOR_PEV)
        assert bench.station.reports_of(SessionFinished) == [SessionFinished(aborted=True)]


async def test_withdrawing_system_enable_while_charging_is_an_emergency(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.start_charging(Ev())
        bench.station.secc.enabled = False
        await trio.sleep(0.3)
        assert bench.stage.current_a == 0
        assert SeccEmergency(by_ev=False) in bench.station.reports_of(SeccEmergency)


async def test_low_insulation_in_the_test_ends_the_session_without_power(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        bench.station.allow_charging()
        bench.station.secc.insulation_ohm = 90_000
        bench.world.plug_in(1, Ev())
        await bench.wait_for_state(SeccState.INSULATION_TEST)
        await bench.wait_for_state(SeccState.WAITING_FOR_PEV)
        assert PowerFunction.PRECHARGE not in bench.requested_functions()


async def test_a_killed_station_ends_the_session_safely_and_the_same_ev_charges_again(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    world, ends = make_memory_world(tmp_path)
    ev = Ev()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        async with trio.open_nursery() as first:
            station = MiniatureStation(tmp_path, memory=ends)
            await first.start(station.run)
            bench = WorldBench(world, station)
            await bench.start_charging(ev)
            world.secc_bus.lost = world.cabinet_bus.lost = True  # a kill sends no last frames
            await trio.sleep(0.3)
            assert bench.stage.current_a > 0  # no timeout has expired yet
            world.io[1].faults.silent = True
            first.cancel_scope.cancel()
        await trio.sleep(0.4)
        assert bench.stage.current_a == 0  # the controller's timeout
        assert not ev.contactors_closed
        await trio.sleep(2)
        assert not bench.stage.closed  # the I/O module's watchdog
        soc, energy_wh = ev.soc, world.registers[1]
        await trio.sleep(8)
        assert not any(module.on for module in bench.stage.modules)  # their guard

        world.secc_bus.lost = world.cabinet_bus.lost = world.io[1].faults.silent = False
        again = WorldBench(world, MiniatureStation(tmp_path, memory=ends))
        await nursery.start(again.station.run)
        assert again.secc.state is SeccState.NOT_AVAILABLE
        again.station.allow_charging()
        assert await again.wait_for_state(SeccState.CHARGING) <= 2.5
        await trio.sleep(2)
        assert ev.soc > soc
        assert world.registers[1] > energy_wh
        nursery.cancel_scope.cancel()


async def test_evses_are_independent(tmp_path: Path, autojump_clock: Clock) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.start_charging(Ev())
        assert bench.world.power_stages[2].bus_v == 0
        assert bench.world.registers[2] == 0
        bench.world.plug_in(2, Ev())
        await trio.sleep(5)
        assert bench.world.seccs[2].state is SeccState.NOT_AVAILABLE
        assert bench.secc.state is SeccState.CHARGING


async def test_the_emergency_stop_button_opens_the_contactors_in_hardware(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.start_charging(Ev())
        bench.world.emergency_pressed = True
        await trio.sleep(0.15)
        assert not bench.stage.closed
        assert bench.stage.current_a == 0
        assert bench.world.io[1].input_levels() & 1 == 0


async def test_a_session_with_changing_requests_has_no_violation(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        ev = Ev()
        await bench.start_charging(ev)
        for step in range(40):
            ev.ready = step % 3 != 0
            await trio.sleep(0.37)
        ev.ready = True
        await trio.sleep(3)
        assert bench.stage.current_a == pytest.approx(ev.target_a, rel=0.02)
        assert list(bench.stage.violations) == []


def test_an_evse_count_the_wiring_does_not_support_is_refused(tmp_path: Path) -> None:
    for evse_count in (0, 5):
        with pytest.raises(ValueError, match="1 to 4"):
            EmulatedStation({}, tmp_path, evse_count=evse_count, clock=lambda: 0.0)


async def test_every_emulated_device_answers_its_driver(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    world, ends = make_memory_world(tmp_path)

    def open_bus(name: str, timeout_ms: int = 300, retries: int = 2) -> ModbusMaster:
        return ModbusMaster(name, timeout_ms=timeout_ms, retries=retries, open_port=ends[name].open)

    meters, monitors = open_bus("meter"), open_bus("insulation")
    wires = open_bus("io", timeout_ms=60, retries=0)
    reader = Pn532Reader("reader", open_port=ends["reader"].open)
    display = Vt100Display("display", open_port=ends["display"].open)
    display.lines = ("Plug in", "or show a card")
    devices: dict[str, Device] = {
        "reader": reader,
        "display": display,
        **{f"meter {evse}": AcrelDjsf1352(meters, address=evse) for evse in (1, 2)},
        **{f"io {unit}": IcpdasM7055(wires, address=unit) for unit in (5, 6)},
        **{f"monitor {unit}": BenderIsoCha425hv(monitors, address=unit) for unit in (3, 4)},
    }
    reports: dict[str, list[DeviceReport]] = {name: [] for name in devices}
    world.registers.set_register(2, Decimal(4711))
    world.power_stages[2].insulation_ohm = 123_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        for name, device in devices.items():
            nursery.start_soon(device.run, reports[name].append)
        for uid in ("5A3C917E", "5A3C917E", "04A25B1C9F6180"):
            execute_order(world, json.dumps({"op": "present_token", "id_token": uid}).encode())
        await trio.sleep(1)
        execute_order(world, b'{"op": "plug_in", "evse_id": 2}')
        execute_order(world, b'{"op": "stop_button", "evse_id": 2}')
        await trio.sleep(10)
        nursery.cancel_scope.cancel()

    def reports_of(name: str, kind: type[R]) -> list[R]:
        return [report for report in reports[name] if isinstance(report, kind)]

    assert world.display.screen[:2] == ["Plug in", "or show a card"]
    assert [token.uid.hex() for token in reports_of("reader", TokenPresented)] == [
        "5a3c917e",
        "5a3c917e",
        "04a25b1c9f6180",
    ]
    energies = [reports_of(f"meter {evse}", MeterReading)[-1].energy_wh for evse in (1, 2)]
    assert energies == [0, 4711]
    resistances = [
        reports_of(f"monitor {unit}", InsulationReading)[-1].resistance_ohm for unit in (3, 4)
    ]
    assert resistances == [HEALTHY_OHM, 123_000]
    assert reports_of("io 5", DigitalInputs)[-1].bits == 0b1111_0101
    pressed = [report.bits >> 7 for report in reports_of("io 6", DigitalInputs)]
    assert 2 <= pressed.count(1) <= 5
    assert reports_of("io 6", DigitalInputs)[-1].bits == 0b0011_1000


async def test_a_suspended_process_is_not_taken_for_a_silent_station(tmp_path: Path) -> None:
    """In real time: the whole process is blocked for longer than the station may be silent."""
    world, ends = make_memory_world(tmp_path)
    station = MiniatureStation(tmp_path, memory=ends)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await nursery.start(station.run)
        station.allow_charging()
        world.plug_in(1, Ev())
        bench = WorldBench(world, station)
        await bench.wait_for_state(SeccState.CHARGING)
        for _ in range(2):
            time.sleep(0.8)  # blocks the whole process
            await trio.sleep(0.15)
        assert bench.secc.state is SeccState.CHARGING
        assert bench.station.reports_of(SeccEmergency) == []
        await trio.sleep(1)
        assert bench.stage.current_a > 100
        nursery.cancel_scope.cancel()


async def test_a_start_authorization_ends_when_the_station_is_silent(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with open_bench(tmp_path) as bench:
        bench.station.allow_charging()
        await bench.wait_for_state(SeccState.WAITING_FOR_PEV)
        bench.world.secc_bus.lost = True
        await trio.sleep(1)
        bench.world.plug_in(1, Ev())
        await trio.sleep(1)
        assert bench.secc.state is SeccState.NOT_AVAILABLE
