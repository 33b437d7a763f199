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

Level = Literal["enough", "low", "full"]

LOOK_S: Final = 5.0  # between two looks at the disk
LOW: Final = 4  # times the reserve: less is little
FULL: Final = 1  # times the reserve: less is for what runs to end
BETTER_PERCENT: Final = 125  # of a limit, before it counts as kept again
LEVELS: Final[tuple[Level, ...]] = ("full", "low", "enough")


def free_bytes(directory: Path) -> int:
    """What the file system has left for us."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


class Room:
    """The reserve of one data directory, and who looks how full its disk is.

    Attributes:
        level: as told last.
    """

    def __init__(
        self,
        data: Path,
        reserve_bytes: int,
        observe: Callable[[StorageReported], None],
        *,
        level: Level = "enough",
        free: Callable[[Path], int] = free_bytes,
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
        self._data = data
        self._file = data / "reserve"
        self._reserve_bytes = reserve_bytes
        self._observe = observe
        self._free = free

    def keep(self) -> None:
        """Take up the reserve, if there is room for it and for what runs."""
        if self.is_kept() or not self._reserve_bytes:
            return
        if self._free(self._data) < (1 + FULL) * self._reserve_bytes:
            return
        fresh = self._file.with_suffix(".new")
        with fresh.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._reserve_bytes)
        fresh.replace(self._file)

    def release(self) -> bool:
        """Give the reserve away for a commit that found no room.

        Returns:
            Whether there was one.
        """
        try:
            self._file.unlink()
        except OSError:
            return False
        log.error("the disk is full: the reserve is used to end what runs")
        self._tell("full")
        return True

    async def run(self) -> None:
        """Look, for ever."""
        while self._reserve_bytes:
            try:
                self._look()
            except OSError as error:
                log.warning("%s: cannot tell how full it is: %s", self._data, error.strerror)
            await trio.sleep(LOOK_S)
        await trio.sleep_forever()

    def _look(self) -> None:
        level = self._level_now()
        if level != "full":
            self.keep()
        if level != self.level:
            self._tell(level)

    def _level_now(self) -> Level:
        """By what is left beside the reserve; better only when it is clearly so."""
        left = self._free(self._data) - (0 if self.is_kept() else self._reserve_bytes)
        found: Level = "full"
        for level, times in (("low", FULL), ("enough", LOW)):
            better = LEVELS.index(level) > LEVELS.index(self.level)
            limit = times * self._reserve_bytes * (BETTER_PERCENT if better else 100) // 100
            if left >= limit:
                found = level  # type: ignore[assignment]
        return found

    def is_kept(self) -> bool:
        """Whether the reserve is there."""
        return self._file.exists()

    def _tell(self, level: Level) -> None:
        try:
            free = self._free(self._data)
        except OSError:
            free = 0
        log.log(
            logging.INFO if level == "enough" else logging.ERROR,
            "the disk of %s has %d KiB free: %s",
            self._data,
            free // 1024,
            MEANS[level],
        )
        self.level = level
        self._observe(StorageReported(level, free))


MEANS: Final[dict[Level, str]] = {
    "enough": "enough",
    "low": "every second sample that waits is given up",
    "full": "nothing new begins, what runs ends",
}
