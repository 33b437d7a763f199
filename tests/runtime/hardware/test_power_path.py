"""Does energy flow when it may, and stop when it must?

The body runs on the real drivers and the emulated devices over lines in memory, on virtual time.
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


async def test_the_initial_state_is_told_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trio.sleep(30)
        for evse in (1, 2):
            assert trial.observations_of(CableReported, evse) == [
                CableReported(evse, 1, plugged_in=False)
            ]
            assert trial.observations_of(ContactorReported, evse) == [
                ContactorReported(evse, closed=False)
            ]
            assert [read.energy_wh for read in trial.observations_of(MeterRead, evse)] == [0]
        assert trial.active_faults() == set()
        assert not trial.observations_of(EnergyFlowReported)


@pytest.mark.parametrize("card_first", [True, False])
async def test_plug_to_closed_contactors_takes_three_seconds(
    tmp_path: Path, autojump_clock: MockClock, card_first: bool
) -> None:
    async with run_in_memory(tmp_path) as trial:
        if card_first:
            trial.request_energy(1)
            await trio.sleep(2)
        trial.world.plug_in(1, Ev())
        if not card_first:
            await trio.sleep(2)
            trial.request_energy(1)
        await trial.wait_until(lambda: trial.world.power_stages[1].closed, SET_UP_S, "closed")


async def test_a_plugged_ev_waits_without_energy_until_it_is_wanted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        trial.world.plug_in(1, Ev())
        await trio.sleep(60)
        assert trial.is_plugged(1) is True
        assert trial.is_closed(1) is False
        assert trial.world.seccs[1].state.name == "NOT_AVAILABLE"


async def test_both_evses_charge_at_once_and_nothing_is_done_wrong(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(1)
        await trial.start_charging(2)
        await trio.sleep(20)
        assert [round(trial.world.power_stages[evse].current_a) for evse in (1, 2)] == [250, 250]
        trial.request_energy(1, energy=False)
        await trial.wait_until(lambda: trial.is_closed(1) is False, STOP_S, "EVSE 1 open")
        assert trial.world.power_stages[2].current_a > 200
        assert world_violations(trial.world) == []
        assert trial.active_faults() == set()


async def test_a_stop_by_us_is_no_stop_by_the_ev_f03(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.request_energy(1, energy=False)
        await trial.wait_until(lambda: trial.is_closed(1) is False, STOP_S, "open")
        await trio.sleep(5)
        assert trial.observations_of(EvStoppedCharging) == []
        assert world_violations(trial.world) == []


async def test_the_register_before_the_opened_contactor_is_final(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The core ends the transaction on the opened contactor: nothing may come after it."""
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        await trio.sleep(7.3)
        trial.request_energy(1, energy=False)
        await trial.wait_until(lambda: trial.is_closed(1) is False, STOP_S, "open")
        kinds = [one for _, one in trial.timed_observations if getattr(one, "evse_id", 0) == 1][-3:]
        assert isinstance(kinds[0], MeterRead)
        assert kinds[1:] == [EnergyFlowReported(1, "none"), ContactorReported(1, closed=False)]
        assert kinds[0].energy_wh == int(trial.world.registers[1])
        assert kinds[0].energy_wh > 100


async def test_an_ev_that_ends_the_charge_says_so_once_e15(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.send_order("fault", device="ev", kind="stops", evse_id=1)
        await trial.wait_until(lambda: trial.observations_of(EvStoppedCharging), 2, "told")
        await trial.wait_until(lambda: trial.is_closed(1) is False, STOP_S, "open")
        await trio.sleep(20)
        assert trial.observations_of(EvStoppedCharging) == [EvStoppedCharging(1)]
        assert not trial.world.power_stages[
            1
        ].closed  # energy is still wanted, but that was one session


async def test_unplugging_under_load_stops_at_once_and_is_no_fault_e09(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.send_order("unplug", evse_id=1)
        took = await trial.wait_until(lambda: not trial.world.power_stages[1].closed, 1, "open")
        assert took < 0.7
        await trial.wait_until(lambda: trial.is_closed(1) is False, 2, "told")
        trial.request_energy(1, energy=False)
        await trio.sleep(5)
        assert trial.is_plugged(1) is False
        assert trial.observations_of(EvStoppedCharging) == []
        assert trial.observations_of(DeviceFaulted) == []


async def test_unplugging_before_the_charge_is_no_fault(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        for moment_s in (0.2, 1.0, 1.7, 2.5, 3.2):
            trial.request_energy(1)
            trial.world.plug_in(1, Ev())
            await trio.sleep(moment_s)
            trial.send_order("unplug", evse_id=1)
            await trio.sleep(2)
            trial.request_energy(1, energy=False)
            await trio.sleep(2)
        assert trial.observations_of(DeviceFaulted) == []
        assert trial.observations_of(EvStoppedCharging) == []
        assert trial.is_closed(1) is False


async def test_the_same_ev_charges_again_on_a_new_wish(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.request_energy(1, energy=False)
        await trial.wait_until(lambda: trial.is_closed(1) is False, STOP_S, "open")
        trial.request_energy(1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 8, "charging again")
        assert world_violations(trial.world) == []


async def test_another_ev_charges_on_a_wish_that_stayed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """StopTxOnEVSideDisconnect = false keeps the right to charge through an unplug."""
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.send_order("unplug", evse_id=1)
        await trio.sleep(3)
        trial.world.plug_in(1, Ev(soc=50))
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 8, "charging again")


async def test_a_wish_that_stayed_outlives_no_stop_of_the_ev(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.send_order("fault", device="ev", kind="stops", evse_id=1)
        await trial.wait_until(lambda: trial.is_closed(1) is False, STOP_S, "open")
        trial.world.ev_on_evse(1).finished = False
        await trio.sleep(10)
        assert trial.is_closed(1) is False
        trial.request_energy(1, energy=False)
        await trio.sleep(0.2)
        trial.request_energy(1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 8, "charging again")


async def test_an_ev_that_pauses_is_suspended_ev_and_goes_on_e02(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.send_order("ev_pause", evse_id=1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "suspended_ev", 4, "suspended")
        await trio.sleep(30)
        trial.send_order("ev_ready", evse_id=1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 4, "charging")
        flows = [flow.flow for flow in trial.observations_of(EnergyFlowReported)]
        assert flows == ["charging", "suspended_ev", "charging"]


async def test_an_ev_that_is_not_ready_is_suspended_ev_at_closed_contactors(
    tmp_path: Path,
    autojump_clock: MockClock,
) -> None:
    async with run_in_memory(tmp_path) as trial:
        trial.request_energy(1)
        trial.send_order("plug_in", evse_id=1, ready=False)
        await trial.wait_until(lambda: trial.is_closed(1), SET_UP_S + 1, "closed")
        await trial.wait_until(lambda: trial.energy_flow(1) == "suspended_ev", 6, "suspended")
        trial.send_order("ev_ready", evse_id=1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 4, "charging")


async def test_a_moment_without_current_is_no_suspension(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.send_order("ev_pause", evse_id=1)
        await trio.sleep(0.6)
        trial.send_order("ev_ready", evse_id=1)
        await trio.sleep(5)
        assert [flow.flow for flow in trial.observations_of(EnergyFlowReported)] == ["charging"]


async def test_a_suspended_session_stays_connected_without_energy_e05(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.request_energy(1, suspended=True)
        await trial.wait_until(lambda: trial.energy_flow(1) == "suspended_evse", 4, "suspended")
        assert trial.world.power_stages[1].closed
        assert trial.world.power_stages[1].current_a < 1
        trial.request_energy(1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 4, "charging")
        trial.request_energy(1, energy=False)
        await trial.wait_until(lambda: trial.is_closed(1) is False, STOP_S, "open")


async def test_readings_come_in_their_interval_while_energy_flows(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        before = len(trial.observations_of(MeterRead, 1))
        await trio.sleep(60)
        reads = trial.observations_of(MeterRead, 1)[before:]
        assert 5 <= len(reads) <= 7
        assert reads[-1].soc_percent is not None
        assert reads[-1].voltage_v is not None
        assert reads[-1].voltage_v > 300
        registers = [read.energy_wh for read in reads]
        assert registers == sorted(registers)
        assert len(trial.observations_of(MeterRead, 2)) == 1


async def test_a_register_that_moves_without_a_session_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trio.sleep(20)
        trial.send_order("meter", evse_id=1, energy_wh=5000)
        await trial.wait_until(
            lambda: trial.observations_of(MeterRead, 1)[-1].energy_wh == 5000, 3, "told"
        )


async def test_the_newest_reading_is_at_hand_with_the_state_of_charge(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.send_order("meter", evse_id=1, soc=61)
        await trio.sleep(2)
        reading = trial.hardware.latest_reading(1)
        assert reading is not None
        assert reading.soc_percent == 61
        assert reading.energy_wh <= Decimal(int(trial.world.registers[1]))


async def test_an_ev_is_identified_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(ev=Ev(capacity_wh=2_000))
        await trio.sleep(30)
        [ev] = trial.observations_of(EvIdentified)
        assert ev.evcc_id == "02A1B2C3D4E5"
        assert (ev.battery_capacity_wh, ev.power_max_w) == (Decimal(2_000), Decimal(100_000))


async def test_the_offer_is_the_least_of_modules_product_and_ev(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging(ev=Ev(max_current_a=1000, max_power_w=900_000))
        await trio.sleep(5)
        bay = trial.world.power_stages[1]
        assert 150_000 < bay.power_w < 181_000  # six modules of 30 kW
        offered_a = trial.world.seccs[1].limits["current_a"]
        assert 175_000 < offered_a * bay.bus_v < 181_000
        assert world_violations(trial.world) == []


@pytest.mark.parametrize("phase_s", [0.3, 1.2, 2.0, 2.6, 3.4])
async def test_a_stop_in_any_moment_of_the_set_up_ends_open(
    tmp_path: Path, autojump_clock: MockClock, phase_s: float
) -> None:
    async with run_in_memory(tmp_path) as trial:
        trial.request_energy(1)
        trial.world.plug_in(1, Ev())
        await trio.sleep(phase_s)
        trial.request_energy(1, energy=False)
        await trio.sleep(STOP_S + 1)
        assert not trial.world.power_stages[1].closed
        assert not any(module.on for module in trial.world.power_stages[1].modules)
        assert trial.is_closed(1) is False
        assert trial.active_faults() == set()
        assert trial.observations_of(EvStoppedCharging) == []
        trial.request_energy(1)
        await trial.wait_until(lambda: trial.energy_flow(1) == "charging", 10, "charging after all")
        assert world_violations(trial.world) == []


async def test_a_controller_that_does_not_obey_the_stop_is_cut_off(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Safety rule 3: a normal stop has 5 s."""
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        deaf = {base: do for base, do in FRAME_HANDLERS.items() if base != SEQUENCE_CONTROL.base}
        monkeypatch.setattr(advantics_secc, "FRAME_HANDLERS", deaf)
        trial.request_energy(1, energy=False)
        took = await trial.wait_until(lambda: not trial.world.power_stages[1].closed, 7, "open")
        assert 4.9 < took < 6


async def test_the_stop_button_is_told_once_per_press(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with run_in_memory(tmp_path) as trial:
        for presses in (1, 2):
            trial.send_order("stop_button", evse_id=2)
            await trio.sleep(2)
            assert trial.observations_of(StopButtonPressed) == [StopButtonPressed(2)] * presses


async def test_a_session_goes_on_without_power_control_for_half_a_minute(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Silence of DC_Power_Control is legal; the heartbeat is the guard."""
    async with run_in_memory(tmp_path) as trial:
        await trial.start_charging()
        trial.inject_fault("secc", "no_power_control", 1)
        await trio.sleep(30)
        assert trial.world.power_stages[1].current_a > 100
        assert trial.active_faults() == set()
