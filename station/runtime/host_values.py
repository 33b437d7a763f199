"""Disk and memory of the computer, as values of variables of the device model. Block N.

They are evaluated as the values of devices are: `station.runtime.monitored_values`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import trio

log = logging.getLogger("station")

INTERVAL_S: Final = 10.0  # between two measurements
DISK: Final = "Controller[Station].Storage[Disk]"
MEMORY: Final = "Controller[Station].Storage[Memory]"


def measure_host(data_directory: Path) -> dict[str, str]:
    """Bytes in use on the disk of a directory, and in RAM by this process, by variable.

    Raises:
        OSError: the disk or `/proc` cannot be read.
    """
    disk = os.statvfs(data_directory)
    statm = Path("/proc/self/statm").read_text(encoding="ascii")  # in pages; the second: resident
    return {
        DISK: str((disk.f_blocks - disk.f_bfree) * disk.f_frsize),
        MEMORY: str(int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")),
    }


async def measure_in_thread(data_directory: Path) -> Mapping[str, str]:
    """As `measure_host`. A disk that does not answer holds only its thread."""
    return await trio.to_thread.run_sync(measure_host, data_directory, abandon_on_cancel=True)


class HostValues:
    """The newest measurement and the task that makes it.

    Attributes:
        values: by variable; empty before the first measurement and while none can be made.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        measure: Callable[[Path], Awaitable[Mapping[str, str]]] = measure_in_thread,
    ) -> None:
        self.values: Mapping[str, str] = {}
        self._data_directory = data_directory
        self._measure = measure

    async def run(self) -> None:
        """Measure until cancelled."""
        is_failing = False
        while True:
            try:
                self.values = await self._measure(self._data_directory)
                is_failing = False
            except OSError as error:
                if not is_failing:
                    log.warning("disk and memory in use cannot be measured: %s", error.strerror)
                is_failing, self.values = True, {}
            await trio.sleep(INTERVAL_S)
