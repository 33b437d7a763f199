"""Supervision of drivers: run each, and start it again after its device was lost.

An exception in a driver that is no DeviceFault is an error of the driver. For the station it is the
same: this device is lost, the others run on, and the protections decide what that means. An
exception in what a report causes (`on_report`) is an error of the control loop: power goes off.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import trio

from drivers.ports import Device, DeviceFault, DeviceReport

log = logging.getLogger("station.hardware")

RESTART_PAUSE_S: Final = 0.2  # before a failed driver is started again; doubles each time
RESTART_PAUSE_MAX_S: Final = 1.0  # a device that returns is used again within 5 s
MESSAGE_MAX: Final = 200  # characters of an exception
OnReport = Callable[[str, DeviceReport], None]


class DriverSupervisor:
    """Runs drivers until `stop`, shielded from cancellation: power goes off through them.

    Attributes:
        lost_devices: name of a driver to the reason of its loss, until its next report.
        crash: the first exception that `on_report` raised.
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
            except Exception as error:
                reason = describe_driver_error(error)
                if self.lost_devices.get(name) != reason:
                    log.error("%s: %s; the driver is started again", name, reason)
                    log.debug("%s", name, exc_info=error)
                self.lost_devices[name] = reason
            if trio.current_time() - started_at > 10 * RESTART_PAUSE_MAX_S:
                pause_s = RESTART_PAUSE_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_PAUSE_MAX_S)

    def _handle_report(self, name: str, report: DeviceReport) -> None:
        if self.lost_devices.pop(name, None) is not None:
            log.info("%s: reports again", name)
        try:
            self._on_report(name, report)
        except Exception as crash:  # raised by the control loop once all power is off
            self.crash = self.crash or crash
            self.crashed.set()


def describe_driver_error(error: Exception) -> str:
    """One line: type, message, place, and what to do."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    message = " ".join(f"{type(error).__name__}: {error}".split())[:MESSAGE_MAX]
    return f"error in the driver ({message}{place}), not of the device: report it to its author"
