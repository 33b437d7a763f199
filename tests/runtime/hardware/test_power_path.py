"""Energy flows when it is allowed, and stops when it must.

`Hardware` runs with the real drivers on emulated devices, over lines in memory, on virtual time.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.emulators import advantics_secc
from drivers.emulators.advantics_secc import FRAME_HANDLERS
from drivers.emulators.ev import Ev
from drivers.emulators.memory_port import MemoryPort
from drivers.wire.advantics import SEQUENCE_CONTROL
from journal.observations import (
    CableReported,
    ContactorReported,
    DeviceFaulted,
    EnergyFlowReported,
    EvIdentified,
    EvStoppedCharging,
    MeterRead,
    StopButtonPressed,
)
from tests.runtime.fixtures_hardware import run_in_memory, world_violations

SET_UP_S = 3.0  # plug to closed contactors
STOP_S = 5.0


async def test_the_initial_state_is_reported_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await trio.sleep(30)
        for evse in (1, 2):
            assert bench.observations_of(CableReported, evse) == [
                CableReported(evse, 1, plugged_in=False)
            ]
            assert bench.observations_of(ContactorReported, evse) == [
                ContactorReported(evse, closed=False)
            ]
            assert [read.energy_wh for read in bench.observations_of(MeterRead, evse)] == [0]
        assert bench.active_faults() == set()
        assert not bench.observations_of(EnergyFlowReported)


@pytest.mark.parametrize("card_first", [True, False])
async def test_plug_to_closed_contactors_takes_three_seconds(
    tmp_path: Path, autojump_clock: MockClock, card_first: bool
) -> None:
    async with run_in_memory(tmp_path) as bench:
        if card_first:
            bench.request_energy(1)
            await trio.sleep(2)
        bench.world.plug_in(1, Ev())
        if not card_first:
            await trio.sleep(2)
            bench.request_energy(1)
        await bench.wait_until(lambda: bench.world.power_stages[1].closed, SET_UP_S, "closed")


async def test_shared_devices_are_polled_slower_with_no_ev_and_at_once_with_one(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        counts: list[int] = []
        for step in ("without an EV", "plugged in", "charging", "without an EV again"):
            if step == "plugged in":
                bench.world.plug_in(1, Ev())
            elif step == "charging":
                bench.request_energy(1)
                await bench.wait_until(lambda: bench.world.power_stages[1].closed, SET_UP_S, step)
            elif step == "without an EV again":
                bench.request_energy(1, False)
                await bench.wait_until(lambda: not bench.world.power_stages[1].closed, STOP_S, step)
                bench.world.unplug(1)
                await trio.sleep(5)
            await trio.sleep(0.3)
            io_line = bench.world.ports["io"]
            assert isinstance(io_line, MemoryPort)
            before = len(io_line.sent)
            await trio.sleep(1)
            counts.append(len(io_line.sent) - before)
        assert max(counts[0], counts[3]) <= 22
        assert min(counts[1], counts[2]) >= 42


async def test_a_plugged_ev_waits_without_energy_until_it_is_allowed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.world.plug_in(1, Ev())
        await trio.sleep(60)
        assert bench.is_plugged(1) is True
        assert bench.is_closed(1) is False
        assert bench.world.seccs[1].state.name == "NOT_AVAILABLE"


async def test_both_evses_charge_at_the_same_time_without_violations(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await bench.start_charging(2)
        await trio.sleep(20)
        assert [round(bench.world.power_stages[evse].current_a) for evse in (1, 2)] == [250, 250]
        bench.request_energy(1, energy=False)
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "EVSE 1 open")
        assert bench.world.power_stages[2].current_a > 200
        assert world_violations(bench.world) == []
        assert bench.active_faults() == set()


async def test_a_stop_by_the_station_is_no_stop_by_the_ev_f03(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.request_energy(1, energy=False)
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "open")
        await trio.sleep(5)
        assert bench.observations_of(EvStoppedCharging) == []
        assert world_violations(bench.world) == []


async def test_the_register_before_the_opened_contactor_is_final(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The core ends the transaction on the opened contactor: nothing may come after it."""
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        await trio.sleep(7.3)
        bench.request_energy(1, energy=False)
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "open")
        events = [event for _, event in bench.timed_observations]
        read, *others = [event for event in events if getattr(event, "evse_id", 0) == 1][-3:]
        assert isinstance(read, MeterRead)
        assert others == [EnergyFlowReported(1, "none"), ContactorReported(1, closed=False)]
        assert read.energy_wh == int(bench.world.registers[1])
        assert read.energy_wh > 100


async def test_the_end_of_a_charge_by_the_ev_is_reported_once_e15(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.send_order("fault", device="ev", kind="stops", evse_id=1)
        await bench.wait_until(lambda: bench.observations_of(EvStoppedCharging), 2, "reported")
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "open")
        await trio.sleep(20)
        assert bench.observations_of(EvStoppedCharging) == [EvStoppedCharging(1)]
        # energy is still allowed, but the request has had its session
        assert not bench.world.power_stages[1].closed


async def test_unplugging_under_load_stops_at_once_and_is_no_fault_e09(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.send_order("unplug", evse_id=1)
        took = await bench.wait_until(lambda: not bench.world.power_stages[1].closed, 1, "open")
        assert took < 0.7
        await bench.wait_until(lambda: bench.is_closed(1) is False, 2, "reported")
        bench.request_energy(1, energy=False)
        await trio.sleep(5)
        assert bench.is_plugged(1) is False
        assert bench.observations_of(EvStoppedCharging) == []
        assert bench.observations_of(DeviceFaulted) == []


async def test_unplugging_before_the_charge_is_no_fault(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        for moment_s in (0.2, 1.0, 1.7, 2.5, 3.2):
            bench.request_energy(1)
            bench.world.plug_in(1, Ev())
            await trio.sleep(moment_s)
            bench.send_order("unplug", evse_id=1)
            await trio.sleep(2)
            bench.request_energy(1, energy=False)
            await trio.sleep(2)
        assert bench.observations_of(DeviceFaulted) == []
        assert bench.observations_of(EvStoppedCharging) == []
        assert bench.is_closed(1) is False


async def test_the_same_ev_charges_again_on_a_new_request(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.request_energy(1, energy=False)
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "open")
        bench.request_energy(1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 8, "charging again")
        assert world_violations(bench.world) == []


async def test_a_new_request_while_the_session_stops_is_served_after_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.request_energy(1, energy=False)
        await trio.sleep(0.2)
        bench.request_energy(1)
        assert bench.is_closed(1)
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "open")
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 8, "charging again")
        assert world_violations(bench.world) == []


async def test_another_ev_charges_on_a_request_that_was_not_withdrawn(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """StopTxOnEVSideDisconnect = false keeps the authorization when the EV is unplugged."""
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.send_order("unplug", evse_id=1)
        await trio.sleep(3)
        bench.world.plug_in(1, Ev(soc=50))
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 8, "charging again")


async def test_a_request_that_was_not_withdrawn_ends_when_the_ev_stops(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.send_order("fault", device="ev", kind="stops", evse_id=1)
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "open")
        bench.world.ev_on_evse(1).finished = False
        await trio.sleep(10)
        assert bench.is_closed(1) is False
        bench.request_energy(1, energy=False)
        await trio.sleep(0.2)
        bench.request_energy(1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 8, "charging again")


async def test_an_ev_that_pauses_is_suspended_ev_and_goes_on_e02(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.send_order("ev_pause", evse_id=1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "suspended_ev", 4, "suspended")
        await trio.sleep(30)
        bench.send_order("ev_ready", evse_id=1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 4, "charging")
        flows = [flow.flow for flow in bench.observations_of(EnergyFlowReported)]
        assert flows == ["charging", "suspended_ev", "charging"]


async def test_an_ev_that_is_not_ready_is_suspended_ev_at_closed_contactors(
    tmp_path: Path,
    autojump_clock: MockClock,
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.request_energy(1)
        bench.send_order("plug_in", evse_id=1, ready=False)
        await bench.wait_until(lambda: bench.is_closed(1), SET_UP_S + 1, "closed")
        await bench.wait_until(lambda: bench.energy_flow(1) == "suspended_ev", 6, "suspended")
        bench.send_order("ev_ready", evse_id=1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 4, "charging")


async def test_a_moment_without_current_is_no_suspension(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.send_order("ev_pause", evse_id=1)
        await trio.sleep(0.6)
        bench.send_order("ev_ready", evse_id=1)
        await trio.sleep(5)
        assert [flow.flow for flow in bench.observations_of(EnergyFlowReported)] == ["charging"]


async def test_a_suspended_session_stays_connected_without_energy_e05(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.request_energy(1, suspended=True)
        await bench.wait_until(lambda: bench.energy_flow(1) == "suspended_evse", 4, "suspended")
        assert bench.world.power_stages[1].closed
        assert bench.world.power_stages[1].current_a < 1
        bench.request_energy(1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 4, "charging")
        bench.request_energy(1, energy=False)
        await bench.wait_until(lambda: bench.is_closed(1) is False, STOP_S, "open")


async def test_readings_come_in_their_interval_while_energy_flows(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        before = len(bench.observations_of(MeterRead, 1))
        await trio.sleep(60)
        reads = bench.observations_of(MeterRead, 1)[before:]
        assert 5 <= len(reads) <= 7
        assert reads[-1].soc_percent is not None
        assert reads[-1].voltage_v is not None
        assert reads[-1].voltage_v > 300
        registers = [read.energy_wh for read in reads]
        assert registers == sorted(registers)
        assert len(bench.observations_of(MeterRead, 2)) == 1


async def test_a_register_that_moves_without_a_session_is_reported(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await trio.sleep(20)
        bench.send_order("meter", evse_id=1, energy_wh=5000)
        await bench.wait_until(
            lambda: bench.observations_of(MeterRead, 1)[-1].energy_wh == 5000, 3, "reported"
        )


async def test_the_newest_reading_is_available_with_the_state_of_charge(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.send_order("meter", evse_id=1, soc=61)
        await trio.sleep(2)
        reading = bench.hardware.latest_reading(1)
        assert reading is not None
        assert reading.soc_percent == 61
        assert reading.energy_wh <= Decimal(int(bench.world.registers[1]))


async def test_an_ev_is_identified_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(ev=Ev(capacity_wh=2_000))
        await trio.sleep(30)
        [ev] = bench.observations_of(EvIdentified)
        assert ev.evcc_id == "02A1B2C3D4E5"
        assert (ev.battery_capacity_wh, ev.power_max_w) == (Decimal(2_000), Decimal(100_000))


async def test_the_offer_is_the_minimum_of_modules_product_and_ev(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(ev=Ev(max_current_a=1000, max_power_w=900_000))
        await trio.sleep(5)
        stage = bench.world.power_stages[1]
        assert 150_000 < stage.power_w < 181_000  # six modules of 30 kW
        offered_a = bench.world.seccs[1].limits["current_a"]
        assert 175_000 < offered_a * stage.bus_v < 181_000
        assert world_violations(bench.world) == []


@pytest.mark.parametrize("phase_s", [0.3, 1.2, 2.0, 2.6, 3.4])
async def test_a_stop_in_any_moment_of_the_set_up_ends_open(
    tmp_path: Path, autojump_clock: MockClock, phase_s: float
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.request_energy(1)
        bench.world.plug_in(1, Ev())
        await trio.sleep(phase_s)
        bench.request_energy(1, energy=False)
        await trio.sleep(STOP_S + 1)
        assert not bench.world.power_stages[1].closed
        assert not any(module.on for module in bench.world.power_stages[1].modules)
        assert bench.is_closed(1) is False
        assert bench.active_faults() == set()
        assert bench.observations_of(EvStoppedCharging) == []
        bench.request_energy(1)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 10, "charging after all")
        assert world_violations(bench.world) == []


async def test_a_controller_that_ignores_the_stop_is_cut_off(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Safety rule 3: a normal stop has 5 s."""
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        handlers = dict(FRAME_HANDLERS)
        del handlers[SEQUENCE_CONTROL.base]
        monkeypatch.setattr(advantics_secc, "FRAME_HANDLERS", handlers)
        bench.request_energy(1, energy=False)
        took = await bench.wait_until(lambda: not bench.world.power_stages[1].closed, 7, "open")
        assert 4.9 < took < 6


async def test_the_stop_button_is_reported_once_per_press(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as bench:
        for presses in (1, 2):
            bench.send_order("stop_button", evse_id=2)
            await trio.sleep(2)
            assert bench.observations_of(StopButtonPressed) == [StopButtonPressed(2)] * presses


async def test_a_session_goes_on_without_power_control_for_half_a_minute(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Silence of DC_Power_Control is legal; the heartbeat is the guard."""
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.inject_fault("secc", "no_power_control", 1)
        await trio.sleep(30)
        assert bench.world.power_stages[1].current_a > 50
        assert bench.active_faults() == set()
