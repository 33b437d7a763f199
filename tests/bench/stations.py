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

from station.simulation.wire import Lines, Wire
from station.simulation.world import World, shared_memory, simulate
from tests.bench.measures import rss_mib
from tests.bench.talk import Everybody

SETTLES_S: Final = 60.0  # of simulated time: they boot, or write down what was sent
FILES: Final = 9  # that a station keeps open, and one more
FILES_BESIDE: Final = 100
VARIABLES: Final = {
    "TxCtrlr.TxStartPoint": "Authorized",
    "TxCtrlr.TxStopPoint": "Authorized",
    "AuthCtrlr.AuthorizeRemoteStart": "false",
}


class Ear:
    """The CSMS's end of one station's lines."""

    def __init__(self, world: World, everybody: Everybody) -> None:
        self._talk = everybody.talk(self._say, world.clock.true_utc)
        self._wire: Wire | None = None

    def connected(self, wire: Wire) -> None:
        self._wire = wire

    def sent(self, wire: Wire, text: str) -> None:
        """It arrives: these lines lose nothing."""

    def heard(self, wire: Wire, text: str) -> None:
        self._talk.heard(text)

    def disconnected(self, wire: Wire) -> None:
        self._wire = None

    def _say(self, text: str) -> None:
        assert self._wire is not None, "it has left"
        self._wire.say(text)


def room_for(stations: int) -> bool:
    """Whether so many may be open at once; asks for no more than this process may have."""
    wanted = stations * FILES + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted <= hard


async def crowd(directory: Path, stations: int, turns: int) -> str:
    """Let them boot, talk a turn, then so many; what is printed."""
    everybody = Everybody()
    async with trio.open_nursery() as nursery:
        for seed in range(stations):
            world = World(directory / str(seed), seed=seed, variables=VARIABLES)
            world.lines = Lines(world.agenda, Ear(world, everybody), world.dice)
            world.lines.latency_s = (0.0, 0.0)
            nursery.start_soon(world.run, trio.sleep_forever)
        await trio.sleep(SETTLES_S)
        await _talked(everybody, 1)
        before, began = everybody.frames, time.process_time()
        await _talked(everybody, turns)
        worked_s = time.process_time() - began
        frames = everybody.frames - before
        await trio.sleep(SETTLES_S)
        kib = rss_mib(os.getpid()) * 1024
        nursery.cancel_scope.cancel()
    return f"{frames} {worked_s} {kib}"


async def _talked(everybody: Everybody, turns: int) -> None:
    over = trio.Event()
    everybody.begin(turns, over.set)
    await over.wait()


def main(stations: int, turns: int) -> None:
    """The command line."""
    found: list[str] = []

    async def run() -> None:
        found.append(await crowd(Path(directory), stations, turns))

    assert room_for(stations), "too few files may be open at once"
    with TemporaryDirectory(dir=shared_memory(), prefix="crowd-") as directory:
        simulate(run, 0)
    print(*found)


if __name__ == "__main__":
    logging.disable()
    main(*map(int, sys.argv[1:]))
