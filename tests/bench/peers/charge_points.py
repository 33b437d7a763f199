"""The same as `tests.bench.stations`, with charge points of the `ocpp` package: STATIONS ROUNDS.

They validate what they send and receive, which is the default of the package.
"""

import asyncio
import logging
import os
import sys
import time
from datetime import UTC, datetime

from tests.bench.exchange import ExchangeGroup
from tests.bench.measures import rss_mib
from tests.bench.peers.charge_point import PeerStation


class MemoryConnection:
    """One station's connection, without a network."""

    def __init__(self, exchanges: ExchangeGroup) -> None:
        self._to_station: asyncio.Queue[str] = asyncio.Queue()
        self._exchange = exchanges.add_exchange(
            self._to_station.put_nowait, lambda: datetime.now(UTC)
        )

    async def recv(self) -> str:
        """The next frame for the station."""
        return await self._to_station.get()

    async def send(self, text: str) -> None:
        """A frame of the station."""
        self._exchange.on_frame(text)


async def run_crowd(stations: int, rounds: int) -> str:
    """Boot all stations, run one round, then measure the others; rerounds the line to print."""
    exchanges = ExchangeGroup()
    async with asyncio.TaskGroup() as tasks:
        crowd = [
            PeerStation(str(number), MemoryConnection(exchanges)) for number in range(stations)
        ]
        listening = [tasks.create_task(station.start()) for station in crowd]
        await asyncio.gather(*(station.send_boot() for station in crowd))
        await _run_rounds(exchanges, 1)
        before, began = exchanges.frame_count, time.process_time()
        await _run_rounds(exchanges, rounds)
        busy_s = time.process_time() - began
        frames = exchanges.frame_count - before
        kib = rss_mib(os.getpid()) * 1024
        for task in listening:
            task.cancel()
    return f"{frames} {busy_s} {kib}"


async def _run_rounds(exchanges: ExchangeGroup, rounds: int) -> None:
    finished = asyncio.Event()
    exchanges.start_rounds(rounds, finished.set)
    await finished.wait()


if __name__ == "__main__":
    logging.disable()
    print(asyncio.run(run_crowd(*map(int, sys.argv[1:]))))
