"""How many messages a second do many of our stations in one process take, in how much memory?

A program: STATIONS TURNS. It prints messages, processor seconds, KiB.

They are the stations of the network simulation: the real tasks on a journal of its own each, in
shared memory. Frames take no time.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trio

from station.simulation.network import SimulatedConnection, SimulatedNetwork
from station.simulation.world import SimulatedWorld, run_simulation, shared_memory_directory
from tests.bench.measures import rss_mib
from tests.bench.talk import TalkGroup

SETTLE_S: Final = 60.0  # of simulated time: they boot, or write down what was sent
FILES_PER_STATION: Final = 9  # that a station keeps open, and one more
OTHER_FILES: Final = 100
VARIABLES: Final = {
    "TxCtrlr.TxStartPoint": "Authorized",
    "TxCtrlr.TxStopPoint": "Authorized",
    "AuthCtrlr.AuthorizeRemoteStart": "false",
}


class CsmsEnd:
    """The CSMS's end of one station's lines."""

    def __init__(self, world: SimulatedWorld, everybody: TalkGroup) -> None:
        self._talk = everybody.add_talk(self._send_text, world.clock.true_utc)
        self._wire: SimulatedConnection | None = None

    def on_connected(self, connection: SimulatedConnection) -> None:
        self._wire = connection

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """It arrives: these lines lose nothing."""

    def on_frame_arrived(self, connection: SimulatedConnection, text: str) -> None:
        self._talk.on_frame(text)

    def on_disconnected(self, connection: SimulatedConnection) -> None:
        self._wire = None

    def _send_text(self, text: str) -> None:
        assert self._wire is not None, "it has left"
        self._wire.send_to_station(text)


def raise_file_limit(stations: int) -> bool:
    """Whether so many may be open at once; asks for no more than this process may have."""
    wanted = stations * FILES_PER_STATION + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted <= hard


async def run_crowd(directory: Path, stations: int, turns: int) -> str:
    """Let them boot, talk a turn, then so many; what is printed."""
    everybody = TalkGroup()
    async with trio.open_nursery() as nursery:
        for seed in range(stations):
            world = SimulatedWorld(directory / str(seed), seed=seed, variables=VARIABLES)
            world.network = SimulatedNetwork(
                world.event_queue, CsmsEnd(world, everybody), world.random_source
            )
            world.network.latency_s = (0.0, 0.0)
            nursery.start_soon(world.run, trio.sleep_forever)
        await trio.sleep(SETTLE_S)
        await _run_talks(everybody, 1)
        before, began = everybody.frame_count, time.process_time()
        await _run_talks(everybody, turns)
        worked_s = time.process_time() - began
        frames = everybody.frame_count - before
        await trio.sleep(SETTLE_S)
        kib = rss_mib(os.getpid()) * 1024
        nursery.cancel_scope.cancel()
    return f"{frames} {worked_s} {kib}"


async def _run_talks(everybody: TalkGroup, turns: int) -> None:
    over = trio.Event()
    everybody.start_rounds(turns, over.set)
    await over.wait()


def main(stations: int, turns: int) -> None:
    """The command line."""
    found: list[str] = []

    async def run() -> None:
        found.append(await run_crowd(Path(directory), stations, turns))

    assert raise_file_limit(stations), "too few files may be open at once"
    with TemporaryDirectory(dir=shared_memory_directory(), prefix="crowd-") as directory:
        run_simulation(run, 0)
    print(*found)


if __name__ == "__main__":
    logging.disable()
    main(*map(int, sys.argv[1:]))
