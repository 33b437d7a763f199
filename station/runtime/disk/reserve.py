"""Disk space: three storage levels, and a reserve file for ending transactions on a full disk.

The file `<data>/reserve` occupies `[journal] reserve_bytes`. When a commit finds the disk full, the
file is deleted and the commit is written again in its place: enough to end all transactions.

The level is measured every 5 s, as free space beside the reserve:

    enough   at least 4 reserves. Normal operation.
    low      1 to 4 reserves. Every second waiting sample of a transaction is dropped (E12.FR.05).
    full     less than 1 reserve, or the reserve was used. Nothing new starts; transactions end.

All of it is done in a thread: a disk that does not answer holds no loop. One use of the disk at a
time: a measurement that began before the reserve was used does not count after it.

A better level is reached only 25 % above its limit, so the level does not flap. Each change is a
StorageReported. When space is free again, the reserve file is allocated again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

import trio

from journal.observations import StorageReported

log = logging.getLogger("station")

StorageLevel = Literal["enough", "low", "full"]
T = TypeVar("T")

CHECK_INTERVAL_S: Final = 5.0  # between two measurements
LOW_FACTOR: Final = 4  # times the reserve: below it, the level is low
FULL_FACTOR: Final = 1  # times the reserve: below it, the level is full
RECOVERY_PERCENT: Final = 125  # of a limit, to reach the better level again
LEVELS: Final[tuple[StorageLevel, ...]] = ("full", "low", "enough")
LEVEL_FACTORS: Final[tuple[tuple[StorageLevel, int], ...]] = (
    ("low", FULL_FACTOR),
    ("enough", LOW_FACTOR),
)


def free_bytes(directory: Path) -> int:
    """Bytes of the file system that this user may still write."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


class RunBlocking(Protocol):
    """Runs a function that uses the disk, and returns what it returns."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


class DiskReserve:
    """The reserve file of a data directory and the task that watches its disk.

    Attributes:
        level: as last reported.
    """

    def __init__(
        self,
        data_directory: Path,
        reserve_bytes: int,
        observe: Callable[[StorageReported], None],
        *,
        level: StorageLevel = "enough",
        measure_free: Callable[[Path], int] = free_bytes,
        run_blocking: RunBlocking = trio.to_thread.run_sync,
    ) -> None:
        """Prepare; `allocate` writes the file, `run` watches.

        Args:
            data_directory: of the station.
            reserve_bytes: size of the file; 0: no reserve, and the disk is not watched.
            observe: receives each change of the level.
            level: from the journal.
            measure_free: free bytes of a directory's disk; raises OSError.
            run_blocking: runs a function beside the loop.
        """
        self.level = level
        self._data_directory = data_directory
        self._reserve_file = data_directory / "reserve"
        self._reserve_bytes = reserve_bytes
        self._observe = observe
        self._measure_free = measure_free
        self._run_blocking = run_blocking
        self._disk_lock = trio.Lock()

    async def allocate(self) -> None:
        """Write the reserve file if twice its size is free. Raises OSError."""
        async with self._disk_lock:
            await self._run_blocking(self._write_file)

    async def release(self) -> bool:
        """Delete the reserve file for a commit that found the disk full.

        Returns:
            Whether there was a file.
        """
        async with self._disk_lock:
            free = await self._run_blocking(self._delete_file)
            if free is None:
                return False
            log.error(
                "the disk of %s is full: the reserve of %d KiB is released to end transactions",
                self._data_directory,
                self._reserve_bytes // 1024,
            )
            self._report_level("full", free)
            return True

    async def run(self) -> None:
        """Measure the disk until cancelled."""
        while self._reserve_bytes:
            try:
                await self.check_disk()
            except OSError as error:
                log.warning(
                    "%s: free space cannot be measured: %s. The storage level stays %s.",
                    self._data_directory,
                    error.strerror,
                    self.level,
                )
            await trio.sleep(CHECK_INTERVAL_S)
        await trio.sleep_forever()

    async def check_disk(self) -> None:
        """Measure once, allocate a missing reserve file and report a new level. Raises OSError."""
        async with self._disk_lock:
            level, free = await self._run_blocking(partial(self._measure_level, self.level))
            if level != self.level:
                self._report_level(level, free)

    def is_allocated(self) -> bool:
        """Whether the reserve file exists. Uses the disk."""
        return self._reserve_file.exists()

    def _report_level(self, level: StorageLevel, free: int) -> None:
        log.log(
            logging.INFO if level == "enough" else logging.ERROR,
            "the disk of %s has %d KiB free: storage level %s; %s",
            self._data_directory,
            free // 1024,
            level,
            LEVEL_CONSEQUENCES[level],
        )
        self.level = level
        self._observe(StorageReported(level, free))

    # --- In a thread ----------------------------------------------------------------------------

    def _measure_level(self, present: StorageLevel) -> tuple[StorageLevel, int]:
        """The level, a missing reserve file written unless it is full, and the bytes then free."""
        beside = 0 if self.is_allocated() else self._reserve_bytes
        level = self._level_of(self._measure_free(self._data_directory) - beside, present)
        if level != "full":
            self._write_file()
        return level, self._measure_free(self._data_directory)

    def _level_of(self, free: int, present: StorageLevel) -> StorageLevel:
        """The level by the bytes free beside the reserve; a better one needs 25 % more."""
        current: StorageLevel = "full"
        for level, factor in LEVEL_FACTORS:
            is_better = LEVELS.index(level) > LEVELS.index(present)
            percent = RECOVERY_PERCENT if is_better else 100
            if free >= factor * self._reserve_bytes * percent // 100:
                current = level
        return current

    def _write_file(self) -> None:
        if self.is_allocated() or not self._reserve_bytes:
            return
        if self._measure_free(self._data_directory) < (1 + FULL_FACTOR) * self._reserve_bytes:
            return
        draft = self._reserve_file.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._reserve_bytes)
            draft.replace(self._reserve_file)
        except OSError:
            draft.unlink(missing_ok=True)  # it would keep the space that is missing
            raise

    def _delete_file(self) -> int | None:
        """The bytes free without the file, 0 if they cannot be measured; None: there was none."""
        try:
            self._reserve_file.unlink()
        except OSError:
            return None
        try:
            return self._measure_free(self._data_directory)
        except OSError:
            return 0


LEVEL_CONSEQUENCES: Final[dict[StorageLevel, str]] = {
    "enough": "normal operation",
    "low": "every second waiting sample of a transaction is dropped",
    "full": "no new transaction starts, open ones end",
}
