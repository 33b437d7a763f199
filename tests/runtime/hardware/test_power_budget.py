"""The limits of the desired state in the power path, on emulated devices."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.emulators.ev import Ev
from drivers.wiring import parse_channel
from journal.observations import DeviceFaulted, PowerLimiterReported
from station.runtime.hardware.lasting_derating import LASTS_S, LastingDerating
from station.runtime.hardware.limit_contact import LimitContact
from station.runtime.hardware.power_limits import Derating
from tests.runtime.fixtures_hardware import HardwareBench, run_in_memory, world_violations

SET_POINT_S = 0.3  # from the desired state to the order on the modules' bus


def setpoint_w(bench: HardwareBench, evse_id: int) -> float:
    """What the modules of an EVSE are ordered to give, at the voltage of its EV."""
    stage = bench.world.power_stages[evse_id]
    delivering = [module for module in stage.modules if module.is_delivering]
    return stage.outlet_v * sum(module.set_current_ma for module in delivering) / 1000


def power_w(bench: HardwareBench, evse_id: int) -> float:
    return bench.world.power_stages[evse_id].power_w


async def test_a_limit_is_on_the_bus_at_once_and_a_lifted_one_too(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await bench.wait_until(lambda: power_w(bench, 1) > 95_000, 5)
        bench.limit_power(1, 40_000)
        await bench.wait_until(lambda: 38_000 < setpoint_w(bench, 1) <= 40_000, SET_POINT_S)
        await bench.wait_until(lambda: 38_000 < power_w(bench, 1) <= 40_000, SET_POINT_S)
        bench.limit_power(1, None)
        await bench.wait_until(lambda: setpoint_w(bench, 1) > 95_000, SET_POINT_S)
        assert world_violations(bench.world) == []


async def test_a_limit_of_0_w_suspends_without_an_end_and_resumes(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        bench.limit_power(1, 0)
        await bench.wait_until(lambda: power_w(bench, 1) == 0, SET_POINT_S)
        await bench.wait_until(lambda: bench.energy_flow(1) == "suspended_evse", 2)
        await trio.sleep(60)
        assert bench.is_closed(1)
        bench.limit_power(1, 50_000)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 2)
        await bench.wait_until(lambda: 48_000 < power_w(bench, 1) <= 50_000, 2)
        assert bench.observations_of(DeviceFaulted) == []
        assert world_violations(bench.world) == []


async def test_an_ev_is_connected_under_0_w_and_waits(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.limit_power(1, 0)
        bench.request_energy(1)
        bench.world.plug_in(1, Ev())
        await bench.wait_until(lambda: bench.energy_flow(1) == "suspended_evse", 8)
        assert bench.is_closed(1)
        bench.limit_power(1, 20_000)
        await bench.wait_until(lambda: 18_000 < power_w(bench, 1) <= 20_000, 3)
        assert bench.observations_of(DeviceFaulted) == []


async def test_two_evs_share_the_limit_of_the_station(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        bench.limit_power(0, 90_000)
        await bench.wait_until(lambda: 88_000 < power_w(bench, 1) <= 90_000, 1)
        highest_w = 0.0

        async def watch() -> None:
            nonlocal highest_w
            while True:
                highest_w = max(highest_w, power_w(bench, 1) + power_w(bench, 2))
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await bench.start_charging(2)
            await bench.wait_until(lambda: 43_000 < power_w(bench, 2) <= 45_000, 5)
            bench.send_order("ev_pause", evse_id=1)
            await bench.wait_until(lambda: 85_000 < power_w(bench, 2) <= 90_000, 15)
            bench.send_order("ev_ready", evse_id=1)
            await bench.wait_until(lambda: 43_000 < power_w(bench, 1) <= 45_000, 5)
            await bench.wait_until(lambda: 43_000 < power_w(bench, 2) <= 45_000, 5)
            nursery.cancel_scope.cancel()
        assert highest_w <= 90_000
        assert bench.observations_of(DeviceFaulted) == []
        assert world_violations(bench.world) == []


async def test_a_limit_holds_from_the_first_ampere_after_a_restart(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.limit_power(1, 30_000)
        bench.request_energy(1)
        bench.world.plug_in(1, Ev())
        highest_w = 0.0
        with trio.move_on_after(10):
            while True:
                highest_w = max(highest_w, power_w(bench, 1))
                await trio.sleep(0.01)
        assert 28_000 < highest_w <= 30_000


async def test_the_contact_of_the_grid_operator_is_read_at_its_input(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The emulated switch of the holster stands for the contact: open while an EV is plugged in."""
    reports: list[bool] = []
    contact = LimitContact(parse_channel("A2"), reports.append)
    async with run_in_memory(tmp_path, limit_contact=contact) as bench:
        await bench.wait_until(lambda: reports == [False], 3)
        bench.world.plug_in(1, Ev())
        await bench.wait_until(lambda: reports == [False, True], 0.5)
        bench.world.unplug(1)
        await bench.wait_until(lambda: reports == [False, True, False], 3)


async def test_a_cable_that_stays_hot_is_reported_and_its_end_too(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    reports: list[tuple[int, str | None]] = []

    def report(evse_id: int, derating: Derating | None) -> None:
        reports.append((evse_id, derating.cause if derating else None))

    lasting = LastingDerating(report)
    async with run_in_memory(tmp_path, lasting_derating=lasting) as bench:
        await bench.start_charging(1)
        await trio.sleep(LASTS_S)
        assert reports == []
        bench.inject_fault("cable", "hot", 1)  # 85 degC of 80 to 90
        await bench.wait_until(lambda: reports, LASTS_S + 20)
        bench.clear_fault("cable", "hot", 1)
        await bench.wait_until(lambda: len(reports) == 2, 120)
        assert reports == [(1, "cable"), (1, None)]


async def test_what_limits_and_lasts_is_reported_and_ends_with_the_transfer(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:

        def newest_limiter(evse_id: int) -> tuple[str, int] | None:
            reports = bench.observations_of(PowerLimiterReported, evse_id)
            return (reports[-1].limiter, int(reports[-1].limit_w)) if reports else None

        bench.limit_power(0, 60_000)
        await bench.start_charging(1, Ev(max_current_a=51))
        await bench.start_charging(2)
        await bench.wait_until(lambda: newest_limiter(1) and newest_limiter(2), 20)
        limiter, limit_w = newest_limiter(1) or ("", 0)
        assert limiter == "ev"
        assert limit_w == pytest.approx(power_w(bench, 1), rel=0.05)
        limiter, limit_w = newest_limiter(2) or ("", 0)
        budget = bench.hardware.power_budget(2)
        assert budget is not None
        assert (limiter, budget.limiter) == ("station_limit", "station_limit")
        assert limit_w == pytest.approx(budget.power_w, rel=0.1)
        bench.request_energy(2, energy=False)
        await bench.wait_until(lambda: newest_limiter(2) == ("", 0), 10)


async def test_without_a_session_the_budget_is_what_an_ev_could_get(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """`station status` shows it; no power that is shared limits an EVSE without an EV."""
    async with run_in_memory(tmp_path) as bench:

        def budget() -> tuple[str, int]:
            now = bench.hardware.power_budget(1)
            return (now.limiter, now.power_w) if now else ("", 0)

        await bench.wait_until(lambda: budget() == ("modules", 180_000), 2)
        bench.limit_power(1, 90_000)
        await bench.wait_until(lambda: budget() == ("limit", 90_000), 1)
        bench.limit_power(0, 40_000)
        await bench.wait_until(lambda: budget() == ("station_limit", 40_000), 1)
