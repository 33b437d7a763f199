"""How long a protection takes: quiet, flooded by the CSMS, with a slow disk, beside an export.

From a pressed emergency stop button to the output that it opens, at the I/O module (`button`). With
an EV plugged in the module is read every 100 ms, else every 250 ms. The goals of the power path are
600 ms for an open contactor.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Final

from websockets.exceptions import ConnectionClosed

from tests.bench import journals
from tests.bench.csms import BenchStation, run_csms
from tests.bench.measures import Row, Size, percentile_of
from tests.e2e.harness import IDENTITY, StationProcess

OPEN_MS: Final = 600  # the goal for contactors
PRESSES_DIVISOR: Final = 10  # of the repetitions of other rows: each takes 1.5 s
FLOOD_CALLS: Final = 50  # in a burst
FLOOD_PAUSE_S: Final = 0.05
LOCK_S, UNLOCKED_S = 2.0, 0.3  # the disk accepts nothing for the first, works for the second
TIMEOUT_S: Final = 120.0
CLOCK_VARIABLE: Final = {"component": {"name": "ClockCtrlr"}, "variable": {"name": "DateTime"}}


def measure_rows(directory: Path, size: Size) -> Iterator[Row]:
    """One row for each situation."""
    yield from asyncio.run(_measure_rows(directory, size))


async def _measure_rows(directory: Path, size: Size) -> list[Row]:
    presses = max(size.repetitions // PRESSES_DIVISOR, 3)
    async with AsyncExitStack() as stack:
        csms = await stack.enter_async_context(run_csms())
        station = StationProcess(directory, csms.url)
        devices = await stack.enter_async_context(_running_devices(station.data))
        stack.callback(station.close)
        station.spawn()
        peer = csms.station_of(IDENTITY)
        async with asyncio.timeout(TIMEOUT_S):
            await peer.calls_of("BootNotification").get()
        journal = journals.write_journal(directory / "long", size.entries)
        rows = [
            _row("quiet", await _press(devices, presses)),
            _row("no EV plugged in", await _press(devices, presses, ev_count=0)),
        ]
        for name, disturbance in (
            ("flooded by the CSMS", _flooding(peer)),
            ("with a disk that stalls for 2 s", _stalling_disk(station.journal)),
            ("beside an export", _exporting(journal, directory / "exported")),
        ):
            async with disturbance:
                rows.append(_row(name, await _press(devices, presses)))
        return rows


def _row(name: str, seconds: list[float]) -> Row:
    details = f"median {percentile_of(seconds, 0.5) * 1000:.0f}, of {len(seconds)}"
    figure = percentile_of(seconds, 0.99) * 1000
    return Row(f"emergency stop to output off, p99, {name}", figure, "ms", OPEN_MS, details=details)


@asynccontextmanager
async def _running_devices(data: Path) -> AsyncIterator[Process]:
    data.mkdir(parents=True)
    arguments = ("-m", "tests.bench.button", str(data))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        assert await process.stdout.readline() == b"ready\n"
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _press(devices: Process, count: int, *, ev_count: int = 1) -> list[float]:
    assert devices.stdin is not None
    assert devices.stdout is not None
    devices.stdin.write(f"{count} {ev_count}\n".encode())
    async with asyncio.timeout(TIMEOUT_S + 10 * count):
        return [float(seconds) for seconds in json.loads(await devices.stdout.readline())]


@asynccontextmanager
async def _flooding(peer: BenchStation) -> AsyncIterator[None]:
    """Requests that are cheap to send and expensive to answer, in bursts, without waiting."""

    async def flood() -> None:
        number = 0
        while True:
            with suppress(ConnectionClosed, AssertionError):  # the station closed; it comes back
                for _ in range(FLOOD_CALLS):
                    number += 1
                    report = {"requestId": number, "reportBase": "FullInventory"}
                    await peer.send_unanswered("GetBaseReport", report)
                    variables = {"getVariableData": [CLOCK_VARIABLE] * 26}
                    await peer.send_unanswered("GetVariables", variables)
            await asyncio.sleep(FLOOD_PAUSE_S)

    task = asyncio.create_task(flood())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _stalling_disk(journal: Path) -> AsyncIterator[None]:
    """Commits wait: another program holds the lock of the journal for 2 s, again and again."""
    ended = Event()

    def hold() -> None:
        with closing(sqlite3.connect(journal, isolation_level=None, timeout=30)) as other:
            while not ended.is_set():
                with suppress(sqlite3.OperationalError):
                    other.execute("BEGIN IMMEDIATE")
                    time.sleep(LOCK_S)
                    other.execute("ROLLBACK")
                time.sleep(UNLOCKED_S)

    thread = Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        await asyncio.to_thread(thread.join)


@asynccontextmanager
async def _exporting(journal: Path, target: Path) -> AsyncIterator[None]:
    """Exports of a long journal, one after the other."""

    async def export() -> None:
        number = 0
        while True:
            number += 1
            out = f"{target}-{number}"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "station", "export", str(journal), "events"),
                *("--out", out),
                stdout=asyncio.subprocess.DEVNULL,
            )
            try:
                assert await process.wait() == 0
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise

    task = asyncio.create_task(export())
    try:
        yield
    finally:
        failed = task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert not failed
