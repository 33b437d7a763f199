"""Is there room for the journal, and what is kept in reserve for when there is none?

A file of its own takes up room as long as nobody needs it. When a commit finds the disk full, the
file goes, and the commit is done again in its place: enough to end everything that runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import trio

from journal.observations import StorageReported

log = logging.getLogger("station")

StorageLevel = Literal["enough", "low", "full"]

CHECK_INTERVAL_S: Final = 5.0  # between two looks at the disk
LOW_FACTOR: Final = 4  # times the reserve: less is little
FULL_FACTOR: Final = 1  # times the reserve: less is for what runs to end
RECOVERY_PERCENT: Final = 125  # of a limit, before it counts as kept again
LEVELS: Final[tuple[StorageLevel, ...]] = ("full", "low", "enough")


def free_bytes(directory: Path) -> int:
    """What the file system has left for us."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


class DiskReserve:
    """The reserve of one data directory, and who looks how full its disk is.

    Attributes:
        level: as told last.
    """

    def __init__(
        self,
        data_directory: Path,
        reserve_bytes: int,
        observe: Callable[[StorageReported], None],
        *,
        level: StorageLevel = "enough",
        measure_free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """Look after `data`.

        Args:
            data: the data directory.
            reserve_bytes: to be kept; 0: nothing is, and nobody looks.
            observe: hears of every change.
            level: as the journal has it.
            free: tells the bytes that are left; raises OSError.
        """
        self.level = level
        self._data_directory = data_directory
        self._reserve_file = data_directory / "reserve"
        self._reserve_bytes = reserve_bytes
        self._observe = observe
        self._measure_free = measure_free

    def allocate(self) -> None:
        """Take up the reserve, if there is room for it and for what runs."""
        if self.is_allocated() or not self._reserve_bytes:
            return
        if self._measure_free(self._data_directory) < (1 + FULL_FACTOR) * self._reserve_bytes:
            return
        fresh = self._reserve_file.with_suffix(".new")
        with fresh.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._reserve_bytes)
        fresh.replace(self._reserve_file)

    def release(self) -> bool:
        """Give the reserve away for a commit that found no room.

        Returns:
            Whether there was one.
        """
        try:
            self._reserve_file.unlink()
        except OSError:
            return False
        log.error("the disk is full: the reserve is used to end what runs")
        self._report_level("full")
        return True

    async def run(self) -> None:
        """Look, for ever."""
        while self._reserve_bytes:
            try:
                self._check_disk()
            except OSError as error:
                log.warning(
                    "%s: cannot tell how full it is: %s", self._data_directory, error.strerror
                )
            await trio.sleep(CHECK_INTERVAL_S)
        await trio.sleep_forever()

    def _check_disk(self) -> None:
        level = self._current_level()
        if level != "full":
            self.allocate()
        if level != self.level:
            self._report_level(level)

    def _current_level(self) -> StorageLevel:
        """By what is left beside the reserve; better only when it is clearly so."""
        left = self._measure_free(self._data_directory) - (
            0 if self.is_allocated() else self._reserve_bytes
        )
        found: StorageLevel = "full"
        for level, times in (("low", FULL_FACTOR), ("enough", LOW_FACTOR)):
            better = LEVELS.index(level) > LEVELS.index(self.level)
            limit = times * self._reserve_bytes * (RECOVERY_PERCENT if better else 100) // 100
            if left >= limit:
                found = level  # type: ignore[assignment]
        return found

    def is_allocated(self) -> bool:
        """Whether the reserve is there."""
        return self._reserve_file.exists()

    def _report_level(self, level: StorageLevel) -> None:
        try:
            free = self._measure_free(self._data_directory)
        except OSError:
            free = 0
        log.log(
            logging.INFO if level == "enough" else logging.ERROR,
            "the disk of %s has %d KiB free: %s",
            self._data_directory,
            free // 1024,
            LEVEL_CONSEQUENCES[level],
        )
        self.level = level
        self._observe(StorageReported(level, free))


LEVEL_CONSEQUENCES: Final[dict[StorageLevel, str]] = {
    "enough": "enough",
    "low": "every second sample that waits is given up",
    "full": "nothing new begins, what runs ends",
}
