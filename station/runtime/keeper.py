"""Who starts a driver, and again when its device was lost?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import trio

from drivers.ports import Device, DeviceFault, Report

log = logging.getLogger("station.hardware")

PAUSE_S: Final = 0.2  # before a driver that gave up is started again; doubles
PAUSE_MAX_S: Final = 1.0  # a device that is back is used again within the 5 s of its fault
Hear = Callable[[str, Report], None]


class Keeper:
    """Runs drivers until `stop`, whatever else is cancelled: power goes off through them.

    Attributes:
        lost: name of a driver to what it said when it gave up, until it speaks again.
        crash: what is no DeviceFault is a fault of ours; the first of them.
        crashed: there is one.
    """

    def __init__(self, devices: Mapping[str, Device], lost: dict[str, str], hear: Hear) -> None:
        """`hear` takes each report with the name of the driver; it must not wait."""
        self.lost = lost
        self.crash: Exception | None = None
        self.crashed = trio.Event()
        self._devices = devices
        self._hear = hear
        self._scope = trio.CancelScope(shield=True)

    def stop(self) -> None:
        """End all drivers; each switches its device off."""
        self._scope.cancel()

    async def run(self) -> None:
        """Run every driver until `stop`."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for name, device in self._devices.items():
                    nursery.start_soon(self._keep, name, device)

    async def _keep(self, name: str, device: Device) -> None:
        pause_s = PAUSE_S
        while True:
            began = trio.current_time()
            try:
                await device.run(partial(self._take, name))
            except DeviceFault as fault:
                if name not in self.lost:
                    log.warning("%s: %s; started again", name, fault)
                self.lost[name] = str(fault)
            except Exception as crash:  # told to whoever runs us, once all power is off
                self.crash = self.crash or crash
                self.crashed.set()
                return
            if trio.current_time() - began > 10 * PAUSE_MAX_S:
                pause_s = PAUSE_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _take(self, name: str, report: Report) -> None:
        if self.lost.pop(name, None) is not None:
            log.info("%s: back", name)
        self._hear(name, report)
