"""The station with a measurement of how long one task holds each of its loops.

A program: FILE, then the arguments of `station`. The longest step of a task, in ms of processor
time, is in FILE: first that of the station's loop, then that of the devices' loop. `LoopHolds`
reads and resets them from another process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import trio

from station.cli import main

FIGURE: Final = Struct("=d")  # ms
FILE_BYTES: Final = 2 * FIGURE.size
STATION, DEVICES = 0, FIGURE.size  # offsets


class Holds(NamedTuple):
    """The longest steps, ms of processor time."""

    station_ms: float
    devices_ms: float


class LoopHolds:
    """The file, as another process uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(FILE_BYTES))

    def reset(self) -> None:
        """Begin to measure again."""
        with self.path.open("r+b") as file:
            file.write(bytes(FILE_BYTES))

    def read(self) -> Holds:
        """The figures since the last reset."""
        data = self.path.read_bytes()
        return Holds(*(FIGURE.unpack_from(data, offset)[0] for offset in (STATION, DEVICES)))


class StepTimer(trio.abc.Instrument):
    """Keeps the longest step of a loop in the file."""

    def __init__(self, memory: mmap, offset: int) -> None:
        self._memory = memory
        self._offset = offset
        self._began_s = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_s = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        held_ms = (time.thread_time() - self._began_s) * 1_000
        if held_ms > FIGURE.unpack_from(self._memory, self._offset)[0]:
            FIGURE.pack_into(self._memory, self._offset, held_ms)


def measure_loops(path: Path) -> None:
    """From now on every loop of this process is measured."""
    with path.open("r+b") as file:
        memory = mmap(file.fileno(), FILE_BYTES)
    run: Callable[..., Any] = trio.run

    def run_measured(*arguments: Any, **options: Any) -> Any:
        is_main = threading.current_thread() is threading.main_thread()
        timer = StepTimer(memory, STATION if is_main else DEVICES)
        instruments = [*options.pop("instruments", ()), timer]
        return run(*arguments, **options, instruments=instruments)

    trio.run = run_measured  # type: ignore[assignment]


if __name__ == "__main__":
    measure_loops(Path(sys.argv[1]))
    sys.argv = ["station", *sys.argv[2:]]
    main()
