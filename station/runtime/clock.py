"""What time is it, for deadlines and for people?"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Uptime for deadlines, wall clock for people. The wall clock may lie."""

    def uptime_ms(self) -> int:
        """Milliseconds since the host booted; never runs backwards within one boot."""
        ...

    def utc(self) -> datetime:
        """The host's wall clock: aware, UTC."""
        ...


class HostClock:
    """The real one. `step` moves the wall clock the station sees, for the emulated world."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def uptime_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def utc(self) -> datetime:
        try:
            return datetime.now(UTC) + self._offset
        except OverflowError:
            return datetime.now(UTC)

    def step_wall_clock(self, seconds: float) -> None:
        """Move the wall clock by so much. Raises OverflowError beyond the year 9999."""
        step = self._offset + timedelta(seconds=seconds)
        _ = datetime.now(UTC) + step
        self._offset = step


def read_boot_id() -> str:
    """Names this boot of the host: it changes when the supply was lost, not when we crash."""
    return BOOT_ID_FILE.read_text(encoding="ascii").strip()
