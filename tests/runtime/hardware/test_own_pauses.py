"""This process does not run for a while: no device is judged by that, and power still goes off.

The clock jumps while nothing runs, as after SIGSTOP, a paused virtual machine, or a processor that
others use. The emulated controllers and modules count only the time in which they run; the watchdog
of an I/O module (2 s) counts all time, so longer pauses open the contactors: by the device.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.ports import GroupOutput
from journal.observations import DeviceFaulted
from station.runtime.hardware.contactors import OPEN_TIMEOUT_S
from station.runtime.hardware.fault_registry import FAULT_RULES, StopMode
from station.runtime.hardware.power_output import OVER_CURRENT_S, OVER_VOLTAGE_S
from tests.runtime.fixtures_hardware import HardwareBench, run_in_memory
from tests.runtime.hardware.test_power_path_rules import TRANSFER, PowerPathBench

PAUSES_S = (1.0, 1.8, 5.0)


@pytest.mark.parametrize(
    ("pause_s", "after_s"), [(1.0, 0.0), (1.0, 0.3), (1.8, 0.03), (1.8, 0.07), (1.8, 0.11)]
)
async def test_a_charge_survives_pauses(
    autojump_clock: MockClock, tmp_path: Path, pause_s: float, after_s: float
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        for _ in range(5):
            await trio.sleep(after_s)
            autojump_clock.jump(pause_s)
            await trio.sleep(0.4)
        assert bench.observations_of(DeviceFaulted) == [], bench.recent_observations()
        assert bench.energy_flow(1) == "charging"
        assert bench.is_closed(1)


@pytest.mark.parametrize("pause_s", PAUSES_S)
async def test_no_contactor_is_found_welded_or_stuck_because_of_a_pause(
    autojump_clock: MockClock, tmp_path: Path, pause_s: float
) -> None:
    """Pauses at every moment of starts and stops, also those that the watchdog ends."""
    async with run_in_memory(tmp_path) as bench:
        for round_number in range(6):
            await bench.start_charging()
            bench.request_energy(1, False)
            await trio.sleep(round_number * 0.074)
            autojump_clock.jump(pause_s)
            await bench.wait_until(lambda: not bench.world.power_stages[1].closed, 8, "open")
            await trio.sleep(1)
            bench.world.unplug(1)
            await bench.wait_until(lambda: not bench.blocking_faults(1), 15, "no fault")
            await trio.sleep(1)
        assert latched_faults(bench) == set()
        assert "contactor" not in {fault.device for fault in bench.observations_of(DeviceFaulted)}


async def test_a_welded_contactor_is_found_beside_pauses(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging()
        bench.inject_fault("contactor", "welded", 1)
        bench.request_energy(1, False)
        for _ in range(20):
            await trio.sleep(0.15)
            autojump_clock.jump(1.0)
        welded = (1, "contactor", "welded")
        await bench.wait_until(lambda: welded in bench.active_faults(), 5, "found")


def latched_faults(bench: HardwareBench) -> set[str]:
    faults = {f"{fault.device}/{fault.fault}" for fault in bench.observations_of(DeviceFaulted)}
    return {name for name in faults if FAULT_RULES[name].latched}


# --- What opens is on real time ------------------------------------------------------------------


@pytest.fixture
async def bench(autojump_clock: MockClock) -> PowerPathBench:
    await trio.lowlevel.checkpoint()
    return PowerPathBench()


async def test_an_opening_is_not_later_because_of_a_pause(bench: PowerPathBench) -> None:
    bench.start_charging()
    bench.stop = StopMode.EMERGENCY
    bench.advance(0.1, amperes=200)
    assert bench.path.coil_on
    bench.paused_s += OPEN_TIMEOUT_S
    bench.advance(0.05, amperes=200)
    assert not bench.path.coil_on


# --- What is judged is not -----------------------------------------------------------------------


def measure(bench: PowerPathBench, volts: int, amperes: int) -> None:
    bench.report(GroupOutput(1, volts * 1000, amperes * 1000))


@pytest.mark.parametrize(
    ("volts", "amperes", "seconds"), [(600, 100, OVER_VOLTAGE_S), (400, 300, OVER_CURRENT_S)]
)
async def test_one_measurement_before_a_pause_is_no_lasting_excess(
    bench: PowerPathBench, volts: int, amperes: int, seconds: float
) -> None:
    bench.start_charging()
    bench.report(TRANSFER)
    measure(bench, volts, amperes)
    bench.paused_s += 3
    bench.now += seconds + 0.01
    bench.report(TRANSFER)
    assert not has_excess(bench)
    measure(bench, volts, amperes)
    assert has_excess(bench)


@pytest.mark.parametrize(
    ("volts", "amperes", "seconds"), [(600, 100, OVER_VOLTAGE_S), (400, 300, OVER_CURRENT_S)]
)
async def test_a_lasting_excess_needs_no_second_measurement(
    bench: PowerPathBench, volts: int, amperes: int, seconds: float
) -> None:
    bench.start_charging()
    assert not bench.path.output.may_be_excessive
    measure(bench, volts, amperes)
    assert not has_excess(bench)
    assert bench.path.output.may_be_excessive, "the next measurement is judged at once"
    bench.now += seconds + 0.01
    bench.report(TRANSFER)
    assert has_excess(bench)


def has_excess(bench: PowerPathBench) -> bool:
    output = bench.path.output
    return output.has_over_voltage or output.has_over_current
