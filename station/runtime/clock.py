"""Uptime for deadlines and the host's wall clock for people."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Uptime for deadlines, wall clock for people. The wall clock may be wrong and may step."""

    def uptime_ms(self) -> int:
        """Milliseconds since the host booted; never runs backwards within one boot."""
        ...

    def utc(self) -> datetime:
        """The host's wall clock: aware, UTC."""
        ...


class HostClock:
    """The clocks of the host."""

    def uptime_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def utc(self) -> datetime:
        return datetime.now(UTC)


def read_boot_id() -> str:
    """Id of this boot of the host: a power cut changes it, a restart of this program does not."""
    return BOOT_ID_FILE.read_text(encoding="ascii").strip()
