"""What a station takes in everyday use: processor time and memory, idle and while it charges.

The devices are in a process of their own and exchange the bytes of real ones; only the station is
measured. Two stations of the same code run at the same time: how much their figures differ is what
the machine, and not the code, is responsible for.

Measured is the second start: the first one may have to compile the program, 1 MiB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from tests.bench.csms import BenchStation, run_csms
from tests.bench.measures import Row, Size, cpu_s, rss_mib
from tests.e2e.harness import IDENTITY, EmulatedDevices, StationProcess

IDLE_PERCENT: Final = 3.0  # of one processor
CHARGING_PERCENT: Final = 5.0
RSS_MIB: Final = 42.0
SETTLE_S: Final = 8.0  # after a start, and after charging has begun
SECONDS_PER_ROUND: Final = 12.0
TIMEOUT_S: Final = 60.0
EV: Final = {"capacity_wh": 10_000_000, "max_power_w": 100_000}  # charges for hours
EVSE_IDS: Final = (1, 2)


class _Site:
    """A station with its devices and its CSMS."""

    def __init__(self, directory: Path, url: str, peer: BenchStation) -> None:
        directory.mkdir(parents=True)
        self.peer = peer
        self.station = StationProcess(directory, url)
        self.devices = EmulatedDevices(self.station.data)

    async def start(self) -> None:
        await asyncio.to_thread(self.devices.start)
        await self._start_station()
        await asyncio.to_thread(self.station.terminate)
        await self._start_station()

    async def _start_station(self) -> None:
        self.station.spawn()
        async with asyncio.timeout(TIMEOUT_S):
            await self.peer.calls_of("BootNotification").get()

    async def charge(self) -> None:
        """Begin to charge at every EVSE."""
        for evse_id in EVSE_IDS:
            card = f"04A224B{evse_id}"
            await self._request("present_token", id_token=card, type="ISO14443", evse_id=evse_id)
            await self._request("plug_in", evse_id=evse_id, ev=EV)
            async with asyncio.timeout(TIMEOUT_S):
                while not await self._is_charging(evse_id):
                    await asyncio.sleep(0.2)

    async def _is_charging(self, evse_id: int) -> bool:
        state: dict[str, Any] = await asyncio.to_thread(self.station.read_evse, evse_id)
        return bool(state["power_w"])

    async def _request(self, operation: str, **arguments: Any) -> None:
        await asyncio.to_thread(self.station.request_operation, operation, **arguments)

    def close(self) -> None:
        self.station.close()
        self.devices.close()


def measure_rows(directory: Path, size: Size) -> Iterator[Row]:
    """Idle and charging, each with its control pair; memory at the end."""
    yield from asyncio.run(_measure_rows(directory, size))


async def _measure_rows(directory: Path, size: Size) -> list[Row]:
    seconds = SECONDS_PER_ROUND * size.rounds
    async with AsyncExitStack() as stack:
        sites = []
        for name in ("a", "b"):
            csms = await stack.enter_async_context(run_csms())
            site = _Site(directory / name, csms.url, csms.station_of(IDENTITY))
            stack.callback(site.close)
            await site.start()
            sites.append(site)
        await asyncio.sleep(SETTLE_S)
        rows = [*_percent_rows("idle", await _measure_cpu(sites, seconds), seconds, IDLE_PERCENT)]
        for site in sites:
            await site.charge()
        await asyncio.sleep(SETTLE_S)
        charging = await _measure_cpu(sites, seconds)
        rows += _percent_rows("charging at two EVSEs", charging, seconds, CHARGING_PERCENT)
        rss = [rss_mib(site.station.pid) for site in sites]
        details = f"the other of the pair {rss[1]:.1f} MiB"
        return [*rows, Row("RSS while it charges", rss[0], "MiB", RSS_MIB, details=details)]


async def _measure_cpu(sites: list[_Site], seconds: float) -> list[float]:
    """Processor seconds of each station over the same time."""
    before = [cpu_s(site.station.pid) for site in sites]
    await asyncio.sleep(seconds)
    return [cpu_s(site.station.pid) - start for site, start in zip(sites, before, strict=True)]


def _percent_rows(name: str, taken: list[float], seconds: float, goal: float) -> Iterator[Row]:
    ours, control = (100 * part / seconds for part in taken)
    details = f"the other of the pair {control:.2f} %, over {seconds:g} s"
    yield Row(f"processor of the station, {name}", ours, "%", goal, details=details)
    yield Row("the same code twice", control / ours, "x")
