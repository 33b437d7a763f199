"""Supervision of drivers: run each, and start it again after its device was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import trio

from drivers.ports import Device, DeviceFault, DeviceReport

log = logging.getLogger("station.hardware")

RESTART_PAUSE_S: Final = 0.2  # before a failed driver is started again; doubles each time
RESTART_PAUSE_MAX_S: Final = 1.0  # a device that returns is used again within 5 s
OnReport = Callable[[str, DeviceReport], None]


class DriverSupervisor:
    """Runs drivers until `stop`, shielded from cancellation: power goes off through them.

    Attributes:
        lost_devices: name of a driver to the message of its DeviceFault, until its next report.
        crash: the first exception that is no DeviceFault: a fault of this program.
        crashed: set when there is one.
    """

    def __init__(
        self, devices: Mapping[str, Device], lost_devices: dict[str, str], on_report: OnReport
    ) -> None:
        """`on_report` takes each report with the name of the driver; it must not wait."""
        self.lost_devices = lost_devices
        self.crash: Exception | None = None
        self.crashed = trio.Event()
        self._devices = devices
        self._on_report = on_report
        self._scope = trio.CancelScope(shield=True)

    def stop(self) -> None:
        """End all drivers; each switches its device off."""
        self._scope.cancel()

    async def run(self) -> None:
        """Run every driver until `stop`."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for name, device in self._devices.items():
                    nursery.start_soon(self._run_driver, name, device)

    async def _run_driver(self, name: str, device: Device) -> None:
        pause_s = RESTART_PAUSE_S
        while True:
            started_at = trio.current_time()
            try:
                await device.run(partial(self._handle_report, name))
            except DeviceFault as fault:
                if name not in self.lost_devices:
                    log.warning("%s: %s; the driver is started again", name, fault)
                self.lost_devices[name] = str(fault)
            except Exception as crash:  # raised by the control loop once all power is off
                self.crash = self.crash or crash
                self.crashed.set()
                return
            if trio.current_time() - started_at > 10 * RESTART_PAUSE_MAX_S:
                pause_s = RESTART_PAUSE_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_PAUSE_MAX_S)

    def _handle_report(self, name: str, report: DeviceReport) -> None:
        if self.lost_devices.pop(name, None) is not None:
            log.info("%s: reports again", name)
        self._on_report(name, report)
