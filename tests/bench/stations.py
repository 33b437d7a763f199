"""Messages a second and memory of many of our stations in one process.

A program: STATIONS ROUNDS. It prints messages, processor seconds, KiB.

The stations are those of the network simulation: the real tasks, each with its own journal in
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
from tests.bench.exchange import ExchangeGroup
from tests.bench.measures import rss_mib

SETTLE_S: Final = 60.0  # of simulated time: for boots, or to commit what was sent
FILES_PER_STATION: Final = 5  # open files of a station, and one spare
OTHER_FILES: Final = 100
VARIABLES: Final = {
    "TxCtrlr.TxStartPoint": "Authorized",
    "TxCtrlr.TxStopPoint": "Authorized",
    "AuthCtrlr.AuthorizeRemoteStart": "false",
}


class CsmsEnd:
    """The CSMS side of the connections of one station."""

    def __init__(self, world: SimulatedWorld, exchanges: ExchangeGroup) -> None:
        self._exchange = exchanges.add_exchange(self._send_text, world.clock.true_utc)
        self._connection: SimulatedConnection | None = None

    def on_connected(self, connection: SimulatedConnection) -> None:
        self._connection = connection

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """Nothing to do: these connections lose no frame."""

    def on_frame_arrived(self, connection: SimulatedConnection, text: str) -> None:
        self._exchange.on_frame(text)

    def on_disconnected(self, connection: SimulatedConnection) -> None:
        self._connection = None

    def _send_text(self, text: str) -> None:
        assert self._connection is not None, "the station is disconnected"
        self._connection.send_to_station(text)


def raise_file_limit(stations: int) -> bool:
    """Raise the limit of open files for this many stations; False if the hard limit is lower."""
    files = stations * FILES_PER_STATION + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files <= hard


async def run_crowd(directory: Path, stations: int, rounds: int) -> str:
    """Boot all stations, run one round, then measure the others; rerounds the line to print."""
    exchanges = ExchangeGroup()
    async with trio.open_nursery() as nursery:
        for seed in range(stations):
            world = SimulatedWorld(directory / str(seed), seed=seed, variables=VARIABLES)
            world.network = SimulatedNetwork(
                world.event_queue, CsmsEnd(world, exchanges), world.random_source
            )
            world.network.latency_s = (0.0, 0.0)
            nursery.start_soon(world.run, trio.sleep_forever)
        await trio.sleep(SETTLE_S)
        await _run_rounds(exchanges, 1)
        before, began = exchanges.frame_count, time.process_time()
        await _run_rounds(exchanges, rounds)
        busy_s = time.process_time() - began
        frames = exchanges.frame_count - before
        await trio.sleep(SETTLE_S)
        kib = rss_mib(os.getpid()) * 1024
        nursery.cancel_scope.cancel()
    return f"{frames} {busy_s} {kib}"


async def _run_rounds(exchanges: ExchangeGroup, rounds: int) -> None:
    finished = trio.Event()
    exchanges.start_rounds(rounds, finished.set)
    await finished.wait()


def main(stations: int, rounds: int) -> None:
    """The command line."""
    lines: list[str] = []

    async def run() -> None:
        lines.append(await run_crowd(Path(directory), stations, rounds))

    assert raise_file_limit(stations), "the limit of open files is too low: ulimit -n"
    with TemporaryDirectory(dir=shared_memory_directory(), prefix="crowd-") as directory:
        run_simulation(run, 0)
    print(*lines)


if __name__ == "__main__":
    logging.disable()
    main(*map(int, sys.argv[1:]))
