"""Stations with one, three and four EVSEs, on emulated devices in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from drivers.emulators.ev import Ev
from journal.observations import DeviceFaulted, StopButtonPressed
from station.config.hardware import HardwareSettings
from station.profiles import load_profile
from station.runtime.hardware.hardware import Hardware
from tests.drivers.test_wiring import ONE_MODULE
from tests.runtime.fixtures_hardware import HardwareBench, run_in_memory, world_violations
from tests.support.products import write_profile

FOUR = (1, 2, 3, 4)


def settings_for_one_module(directory: Path) -> HardwareSettings:
    emulated = Hardware.emulated_settings(directory)
    return replace(emulated, io=replace(emulated.io, wiring=ONE_MODULE))


def is_open(bench: HardwareBench, evse_id: int) -> bool:
    return bench.is_closed(evse_id) is False


def power_w(bench: HardwareBench, evse_id: int) -> float:
    stage = bench.world.power_stages[evse_id]
    return stage.outlet_v * stage.current_a


@pytest.mark.parametrize("evse_count", [1, 4])
async def test_every_evse_charges_and_stops_alone(
    autojump_clock: MockClock, tmp_path: Path, evse_count: int
) -> None:
    profile = load_profile(write_profile(tmp_path, evse_count, power_max_w=600_000))
    async with run_in_memory(tmp_path, profile=profile) as bench:
        for evse_id in profile.evse_ids:
            await bench.start_charging(evse_id)
        assert bench.active_faults() == set()
        for evse_id in profile.evse_ids:
            bench.request_energy(evse_id, energy=False)
            await bench.wait_until(partial(is_open, bench, evse_id), 8)
            others = [bench.is_closed(other) for other in profile.evse_ids if other > evse_id]
            assert all(others)
        assert world_violations(bench.world) == []


async def test_one_evse_with_one_io_module_charges(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    profile = load_profile(write_profile(tmp_path, 1))
    settings = settings_for_one_module(tmp_path)
    async with run_in_memory(tmp_path, settings=settings, profile=profile) as bench:
        assert list(bench.world.io) == [1]
        await bench.start_charging(1)
        bench.send_order("stop_button", evse_id=1)
        await bench.wait_until(lambda: bench.observations_of(StopButtonPressed, 1), 1)
        assert bench.active_faults() == set()
        bench.send_order("emergency_stop")
        pressed = (0, "emergency_stop", "pressed")
        await bench.wait_until(lambda: pressed in bench.active_faults(), 1)
        await bench.wait_until(lambda: not bench.world.power_stages[1].closed, 1)


async def test_a_limit_of_the_station_is_shared_by_four_evses(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    profile = load_profile(write_profile(tmp_path, 4, power_max_w=600_000))
    async with run_in_memory(tmp_path, profile=profile) as bench:
        bench.limit_power(0, 80_000)
        for evse_id in FOUR:
            bench.request_energy(evse_id)
            bench.world.plug_in(evse_id, Ev())
        await bench.wait_until(
            lambda: all(power_w(bench, evse_id) > 15_000 for evse_id in FOUR), 30, "shares"
        )
        for _ in range(100):
            await trio.sleep(0.1)
            assert sum(power_w(bench, evse_id) for evse_id in FOUR) <= 80_000
        assert all(15_000 < power_w(bench, evse_id) <= 21_000 for evse_id in FOUR)
        bench.request_energy(4, energy=False)
        await bench.wait_until(lambda: power_w(bench, 1) > 25_000, 30, "the share of EVSE 4")
        assert sum(power_w(bench, evse_id) for evse_id in FOUR) <= 80_000
        assert world_violations(bench.world) == []


async def test_a_lost_io_module_stops_its_evse_only(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    profile = load_profile(write_profile(tmp_path, 4, power_max_w=600_000))
    async with run_in_memory(tmp_path, profile=profile) as bench:
        for evse_id in FOUR:
            await bench.start_charging(evse_id)
        bench.inject_fault("io", "silent", 3)
        await bench.wait_until(lambda: not bench.world.power_stages[3].closed, 4)
        assert {fault.evse_id for fault in bench.observations_of(DeviceFaulted)} == {3}
        assert all(bench.world.power_stages[evse_id].closed for evse_id in (1, 2, 4))
        bench.inject_fault("io", "silent", 1)
        await bench.wait_until(
            lambda: not any(stage.closed for stage in bench.world.power_stages.values()), 4
        )
        assert bench.blocking_faults(4)


async def test_one_evse_without_its_second_io_module_does_not_charge(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The module of the dispenser has the tilt sensor and the dispenser's door."""
    profile = load_profile(write_profile(tmp_path, 1))
    async with run_in_memory(tmp_path, profile=profile) as bench:
        await bench.start_charging(1)
        bench.world.io[2].faults.silent = True
        lost = (0, "io", "lost")
        await bench.wait_until(lambda: lost in bench.active_faults(), 4)
        await bench.wait_until(lambda: not bench.world.power_stages[1].closed, 4)


async def test_the_stop_button_of_each_evse_is_its_own(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    profile = load_profile(write_profile(tmp_path, 4, power_max_w=600_000))
    async with run_in_memory(tmp_path, profile=profile) as bench:
        for evse_id in FOUR:
            bench.send_order("stop_button", evse_id=evse_id)
            await bench.wait_until(partial(bench.observations_of, StopButtonPressed, evse_id), 1)
        pressed = [each.evse_id for each in bench.observations_of(StopButtonPressed)]
        assert pressed == list(FOUR)
