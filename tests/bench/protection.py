"""How long a protection takes: quiet, flooded by the CSMS, with a slow disk, beside an export.

From a pressed emergency stop button to what it switches off (`button`): the output AC enable
without a session, the modules and the contactors of EVSEs that charge. The button is an input of
the I/O module, which is read every 100 ms with an EV plugged in, else every 250 ms. The goals of
the power path are 200 ms for the modules and 600 ms for the contactors.

Beside it: the longest step of a task in the station's and in the devices' loop (`loop_hold`).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, nullcontext, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from websockets.exceptions import ConnectionClosed

from tests.bench import journals
from tests.bench.csms import BenchStation, run_csms
from tests.bench.loop_hold import LoopHolds
from tests.bench.measures import Row, Size, percentile_of
from tests.e2e.harness import IDENTITY, StationProcess

OPEN_MS: Final = 600  # the goal for contactors
MODULES_OFF_MS: Final = 200  # the goal for modules
HOLD_MS: Final = 20  # the goal for a step of a task
PRESSES_DIVISOR: Final = 10  # of the repetitions of other rows: each takes 1.5 s
CHARGES_DIVISOR: Final = 100  # each takes half a minute, and counts for two EVSEs
FLOOD_CALLS: Final = 50  # in a burst
FLOOD_PAUSE_S: Final = 0.05
BURSTS_PER_LIST: Final = 20
LIST_ID_TOKENS: Final = 4_000  # in a frame, which has the longest size accepted
LOCK_S, UNLOCKED_S = 2.0, 0.3  # the disk accepts nothing for the first, works for the second
TIMEOUT_S: Final = 120.0
ORDER_TIMEOUT_S: Final = 900.0
SETTLE_S: Final = 3.0  # after a start
CLOCK_VARIABLE: Final = {"component": {"name": "ClockCtrlr"}, "variable": {"name": "DateTime"}}


def measure_rows(directory: Path, size: Size) -> Iterator[Row]:
    """One row for each situation."""
    yield from asyncio.run(_measure_rows(directory, size))


async def _measure_rows(directory: Path, size: Size) -> list[Row]:
    presses = max(size.repetitions // PRESSES_DIVISOR, 3)
    charges = size.repetitions // CHARGES_DIVISOR
    async with AsyncExitStack() as stack:
        csms = await stack.enter_async_context(run_csms())
        station = StationProcess(directory, csms.url)
        holds = LoopHolds(directory / "loop_holds")
        program = (sys.executable, "-m", "tests.bench.loop_hold", str(holds.path))
        station.PROGRAM = program
        devices = await stack.enter_async_context(_running_devices(station.data))
        stack.callback(station.close)
        station.spawn()
        peer = csms.station_of(IDENTITY)
        async with asyncio.timeout(TIMEOUT_S):
            await peer.calls_of("BootNotification").get()
        journal = journals.write_journal(directory / "long", size.entries)
        await asyncio.sleep(SETTLE_S)
        bench = _ProtectionBench(devices, holds)
        for name, disturbance in (
            ("quiet", nullcontext()),
            ("flooded by the CSMS", _flooding(peer)),
            ("with a disk that stalls for 2 s", _stalling_disk(station.journal)),
            ("beside an export", _exporting(journal, directory / "exported")),
        ):
            async with disturbance:
                await bench.measure(name, presses, charges)
        await bench.measure_without_ev(presses)
        return bench.rows


class _ProtectionBench:
    """Measures one situation after the other; the first is the quiet one."""

    def __init__(self, devices: Process, holds: LoopHolds) -> None:
        self.rows: list[Row] = []
        self._devices = devices
        self._holds = holds
        self._quiet_ms: dict[str, float] = {}

    async def measure_without_ev(self, presses: int) -> None:
        """Add the row of a station that waits for an EV."""
        seconds = await self._order(f"empty {presses}")
        self._add_times("emergency stop to output off", "no EV plugged in", OPEN_MS, seconds)

    async def measure(self, situation: str, presses: int, charges: int) -> None:
        """Add the rows of a situation."""
        self._holds.reset()
        seconds = await self._order(f"plugged {presses}")
        self._add_times("emergency stop to output off", situation, OPEN_MS, seconds)
        self._add_holds("idle", situation)
        if not charges:
            return
        self._holds.reset()
        modules, contactors = await self._order(f"charging {charges}")
        self._add_times("emergency stop to modules off", situation, MODULES_OFF_MS, modules)
        self._add_times("emergency stop to contactors off", situation, OPEN_MS, contactors)
        self._add_holds("charging", situation)

    async def _order(self, order: str) -> Any:
        """What the program of the devices answers to a line."""
        assert self._devices.stdin is not None
        assert self._devices.stdout is not None
        self._devices.stdin.write(f"{order}\n".encode())
        async with asyncio.timeout(ORDER_TIMEOUT_S):
            return json.loads(await self._devices.stdout.readline())

    def _add_times(self, name: str, situation: str, goal_ms: int, seconds: list[float]) -> None:
        figure = percentile_of(seconds, 0.99) * 1000
        ratio = figure / self._quiet_ms.setdefault(name, figure)
        median = percentile_of(seconds, 0.5) * 1000
        details = f"median {median:.0f}, of {len(seconds)}; {ratio:.1f} of quiet"
        row = Row(f"{name}, p99, {situation}", figure, "ms", goal_ms, details=details)
        self.rows.append(row)

    def _add_holds(self, activity: str, situation: str) -> None:
        holds = self._holds.read()
        details = f"the devices' loop {holds.devices_ms:.1f}"
        name = f"longest step in the station's loop, {activity}, {situation}"
        self.rows.append(Row(name, holds.station_ms, "ms", HOLD_MS, details=details))


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


@asynccontextmanager
async def _flooding(peer: BenchStation) -> AsyncIterator[None]:
    """Requests that are cheap to send and expensive to answer, in bursts, without waiting.

    Now and then the longest frame that is accepted, with new idTokens.
    """

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
                if number // FLOOD_CALLS % BURSTS_PER_LIST == 0:
                    await peer.send_unanswered("SendLocalList", _long_list(number))
            await asyncio.sleep(FLOOD_PAUSE_S)

    task = asyncio.create_task(flood())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _long_list(number: int) -> dict[str, Any]:
    """Too many idTokens, which the station has never seen."""
    id_tokens = (f"{number:x}-{index:x}" for index in range(LIST_ID_TOKENS))
    return {
        "versionNumber": number,
        "updateType": "Full",
        "localAuthorizationList": [
            {"idToken": {"idToken": each, "type": "Local"}} for each in id_tokens
        ],
    }


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
