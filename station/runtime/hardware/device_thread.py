"""A trio loop in a thread of its own, for the devices: the loop that protects.

    station's loop ── desired state ──▶ device thread
                   ◀── reports, log ───

Nothing else crosses. A task of the station's loop that computes for a second, or a slow disk behind
it, delays reports and not the power path. What remains common is the interpreter's lock: the thread
waits for it after each system call, `SWITCH_INTERVAL_S` at most, or until a call into C returns.
Measurements are in `station/runtime/README.md`.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from drivers.alarm import AlarmClock
from station.core.desired import DesiredState
from station.runtime.watched_value import WatchedValue

DEVICE_LOG: Final = logging.getLogger("station.hardware")
SWITCH_INTERVAL_S: Final = 0.001  # the interpreter's default, 5 ms, would add up in a round
STATION_LOG: Final = logging.getLogger("station")


class DeviceThread:
    """One run of the devices in a thread. Created and run in the station's loop.

    Attributes:
        desired_state: the newest desired state, for the devices; belongs to the thread.
    """

    def __init__(self, desired_state: WatchedValue[DesiredState]) -> None:
        """Args: `desired_state`: of the station's loop."""
        self.desired_state = WatchedValue(desired_state.value)
        self._source = desired_state
        self._station_token = trio.lowlevel.current_trio_token()
        self._device_token: trio.lowlevel.TrioToken | None = None
        self._started = trio.Event()
        self._scope = trio.CancelScope()
        self._stop_requested = False
        self._posted: deque[Callable[[], None]] = deque()  # to be called in the station's loop
        self._wake = trio.Event()
        self._delivery_scope = trio.CancelScope(shield=True)  # the last reports come after the end

    def post_to_station(self, act: Callable[[], None]) -> None:
        """Call `act` in the station's loop, soon and in order; `run` raises what it raises."""
        self._posted.append(act)
        self._station_token.run_sync_soon(self._wake_delivery, idempotent=True)

    def post_to_devices(self, act: Callable[[], None]) -> None:
        """Call `act` in the thread, soon and in order; nothing happens if it has ended."""
        if self._device_token is not None:
            with suppress(trio.RunFinishedError):
                self._device_token.run_sync_soon(act)

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` in the thread; a cancellation is passed on, and its end awaited.

        Raises whatever `work` raises.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_cancellation)
            nursery.start_soon(self._pass_desired_state)
            nursery.start_soon(self._deliver)
            try:
                with _PostedLog(self.post_to_station):
                    await trio.to_thread.run_sync(
                        self._run_loop, work, limiter=trio.CapacityLimiter(1)
                    )
                self._call_posted()
            finally:
                self._delivery_scope.cancel()
            nursery.cancel_scope.cancel()

    def _run_loop(self, work: Callable[[], Awaitable[None]]) -> None:
        clock = AlarmClock()
        trio.run(self._run_work, work, clock=clock, instruments=[clock])

    async def _run_work(self, work: Callable[[], Awaitable[None]]) -> None:
        self._device_token = trio.lowlevel.current_trio_token()
        self.post_to_station(self._started.set)
        if self._stop_requested:
            return
        with self._scope:
            await work()

    async def _deliver(self) -> None:
        with self._delivery_scope:
            while True:
                self._wake = trio.Event()
                self._call_posted()
                await self._wake.wait()

    def _call_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    def _wake_delivery(self) -> None:
        self._wake.set()

    async def _pass_cancellation(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._stop_requested = True
            self.post_to_devices(self._scope.cancel)

    async def _pass_desired_state(self) -> None:
        await self._started.wait()
        seen = self.desired_state.value
        while True:
            seen = await self._source.wait_changed(seen)
            self.post_to_devices(partial(self.desired_state.set, seen))


class _PostedLog(logging.Handler):
    """Writes the devices' log lines in the station's loop: a blocked output must not hold them."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._post = post

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(trio.RunFinishedError):
            self._post(partial(STATION_LOG.handle, record))

    def __enter__(self) -> None:
        DEVICE_LOG.addHandler(self)
        DEVICE_LOG.propagate = False

    def __exit__(self, *exception: object) -> None:
        DEVICE_LOG.propagate = True
        DEVICE_LOG.removeHandler(self)
