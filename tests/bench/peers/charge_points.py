"""The same as `tests.bench.stations`, with charge points of the `ocpp` package: STATIONS TURNS.

They validate what they say and hear, as they do unless told otherwise.
"""

import asyncio
import logging
import os
import sys
import time
from datetime import UTC, datetime

from tests.bench.measures import rss_mib
from tests.bench.peers.charge_point import PeerStation
from tests.bench.talk import TalkGroup


class MemoryConnection:
    """One station's connection, without a network."""

    def __init__(self, everybody: TalkGroup) -> None:
        self._to_station: asyncio.Queue[str] = asyncio.Queue()
        self._talk = everybody.add_talk(self._to_station.put_nowait, lambda: datetime.now(UTC))

    async def recv(self) -> str:
        """The next frame for the station."""
        return await self._to_station.get()

    async def send(self, text: str) -> None:
        """A frame of the station."""
        self._talk.on_frame(text)


async def run_crowd(stations: int, turns: int) -> str:
    """Let them boot, talk a turn, then so many; what is printed."""
    everybody = TalkGroup()
    async with asyncio.TaskGroup() as tasks:
        there = [
            PeerStation(str(number), MemoryConnection(everybody)) for number in range(stations)
        ]
        listening = [tasks.create_task(station.start()) for station in there]
        await asyncio.gather(*(station.send_boot() for station in there))
        await _run_talks(everybody, 1)
        before, began = everybody.frame_count, time.process_time()
        await _run_talks(everybody, turns)
        worked_s = time.process_time() - began
        frames = everybody.frame_count - before
        kib = rss_mib(os.getpid()) * 1024
        for task in listening:
            task.cancel()
    return f"{frames} {worked_s} {kib}"


async def _run_talks(everybody: TalkGroup, turns: int) -> None:
    over = asyncio.Event()
    everybody.start_rounds(turns, over.set)
    await over.wait()


if __name__ == "__main__":
    logging.disable()
    print(asyncio.run(run_crowd(*map(int, sys.argv[1:]))))
