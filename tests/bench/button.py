"""Emulated devices that measure how long the station takes to act on the emergency stop button.

A program: DATA_DIRECTORY. It reads lines from stdin and answers each with a line of JSON:

    plugged COUNT   with an EV plugged in it presses the button so often; a list of seconds from
                    each press until the I/O module has the output AC enable off. That is the way of
                    every protection: an input, a round of the control loop, an output.
    empty COUNT     the same without an EV: the inputs are read less often.
    charging COUNT  as often, an EV charges at both EVSEs when the button is pressed; two lists of
                    seconds, one value per EVSE and press: until no module of the EVSE may deliver,
                    and until the I/O module has the output of its contactors off.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Final

import trio

from drivers.emulators.ev import Ev
from drivers.emulators.process import run_emulated_station
from drivers.emulators.station import EmulatedStation

POLL_S: Final = 0.001
PLUG_S: Final = 1.0  # until the station has seen the plug
TIMEOUT_S: Final = 30.0
CHARGE_TIMEOUT_S: Final = 60.0  # from the card to the energy, on a busy machine with a slow disk
CHARGING_A: Final = 20
RELEASE_S: Final = 4.0  # from the released button to the end of the fault


def is_ac_enabled(station: EmulatedStation) -> bool:
    return station.is_output_on("ac_enable", 0)


async def wait_ac(station: EmulatedStation, enabled: bool) -> float:
    """Wait until AC enable has this state; how long it took."""
    began = trio.current_time()
    with trio.fail_after(TIMEOUT_S):
        while is_ac_enabled(station) is not enabled:
            await trio.sleep(POLL_S)
    return trio.current_time() - began


async def measure_presses(station: EmulatedStation, count: int) -> list[float]:
    """Press and release; the seconds of each press."""
    seconds = []
    for _ in range(count):
        await wait_ac(station, True)
        await trio.sleep(random.uniform(0.1, 0.35))  # at any moment of the I/O cycle
        station.emergency_pressed = True
        seconds.append(await wait_ac(station, False))
        station.emergency_pressed = False
    return seconds


async def measure_plugged(station: EmulatedStation, count: int) -> list[float]:
    """The presses with an EV plugged in."""
    if station.power_stages[1].ev is None:
        station.plug_in(1, Ev())
        await trio.sleep(PLUG_S)
    return await measure_presses(station, count)


async def measure_empty(station: EmulatedStation, count: int) -> list[float]:
    """The presses without an EV."""
    if station.power_stages[1].ev is not None:
        station.unplug(1)
        await trio.sleep(PLUG_S)
    return await measure_presses(station, count)


def is_delivering(station: EmulatedStation, evse_id: int) -> bool:
    """Whether an EV charges; the insulation test and the precharge take less."""
    return station.power_stages[evse_id].current_a > CHARGING_A


async def begin_to_charge(station: EmulatedStation, evse_id: int) -> None:
    """Plug in and present a card until energy flows."""
    while not is_delivering(station, evse_id):
        if station.power_stages[evse_id].ev is not None:  # a session that has ended
            station.unplug(evse_id)
            await trio.sleep(RELEASE_S)
        station.plug_in(evse_id, Ev())
        await trio.sleep(1)
        station.reader.present_card(bytes((4, 0xA2, 0x24, evse_id)))
        with trio.move_on_after(CHARGE_TIMEOUT_S):
            while not is_delivering(station, evse_id):
                await trio.sleep(POLL_S)


async def measure_charges(station: EmulatedStation, count: int) -> tuple[list[float], list[float]]:
    """Charge at both EVSEs and press; seconds until modules and contactors are off."""
    modules: list[float] = []
    contactors: list[float] = []
    for _ in range(count):
        while not all(is_delivering(station, evse_id) for evse_id in station.evse_ids):
            for evse_id in station.evse_ids:
                await begin_to_charge(station, evse_id)
            await trio.sleep(random.uniform(1, 1.1))
        modules_off: dict[int, float] = {}
        contactors_off: dict[int, float] = {}
        station.emergency_pressed, pressed_at = True, trio.current_time()
        with trio.fail_after(TIMEOUT_S):
            while len(modules_off) + len(contactors_off) < 2 * len(station.evse_ids):
                await trio.sleep(POLL_S)
                seconds = trio.current_time() - pressed_at
                for evse_id in station.evse_ids:
                    if station.cabinet.set_point_ma(evse_id) == 0:
                        modules_off.setdefault(evse_id, seconds)
                    if not station.is_output_on("contactors", evse_id):
                        contactors_off.setdefault(evse_id, seconds)
        modules += modules_off.values()
        contactors += contactors_off.values()
        for evse_id in station.evse_ids:
            station.unplug(evse_id)
        station.emergency_pressed = False
        await wait_ac(station, True)
        await trio.sleep(RELEASE_S)
    return modules, contactors


async def main(data: Path) -> None:
    """Serve until stdin ends."""
    async with trio.open_nursery() as nursery:
        station: EmulatedStation = await nursery.start(
            run_emulated_station, data / "emulated", data / "emulator.sock"
        )
        print("ready", flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            situation, count = line.split()
            measure = {
                "plugged": measure_plugged,
                "empty": measure_empty,
                "charging": measure_charges,
            }[situation]
            print(json.dumps(await measure(station, int(count))), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
