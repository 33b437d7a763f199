"""Emulated devices that measure how long the station takes to act on the emergency stop button.

A program: DATA_DIRECTORY. For each line read from stdin, a number and how many EVs are plugged in
(0 or 1), it presses the button so often and prints a JSON list: seconds from each press until the
I/O module has the output AC enable off. That is the way of every protection: an input, a round of
the control loop, an output. Without an EV the inputs are read less often.
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


async def main(data: Path) -> None:
    """Serve until stdin ends."""
    async with trio.open_nursery() as nursery:
        station: EmulatedStation = await nursery.start(
            run_emulated_station, data / "emulated", data / "emulator.sock"
        )
        print("ready", flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            count, ev_count = map(int, line.split())
            is_plugged = station.power_stages[1].ev is not None
            if ev_count and not is_plugged:
                station.plug_in(1, Ev())
            elif is_plugged and not ev_count:
                station.unplug(1)
            await trio.sleep(PLUG_S)
            print(json.dumps(await measure_presses(station, count)), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
