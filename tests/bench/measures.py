"""Rows of the result table, and functions that measure time and memory."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

ROUNDS: Final = 5  # the median counts
SAMPLE_INTERVAL_S: Final = 0.02  # between two readings of the size of a process


class Size(NamedTuple):
    """How much is measured."""

    entries: int  # of the long journal
    rounds: int
    repetitions: int  # of a short operation in a round
    stations: int = 0  # in one process


FULL: Final = Size(entries=1_000_000, rounds=ROUNDS, repetitions=400, stations=1_000)
QUICK: Final = Size(entries=20_000, rounds=1, repetitions=20, stations=20)


class Row(NamedTuple):
    """One line of the table."""

    name: str
    figure: float
    unit: str
    limit: float | None = None  # the goal; None: no goal
    comparison: Literal["<=", ">="] = "<="
    details: str = ""  # the absolute figures of a ratio

    @property
    def is_met(self) -> bool:
        if self.limit is None:
            return True
        return self.figure <= self.limit if self.comparison == "<=" else self.figure >= self.limit

    def __str__(self) -> str:
        goal = "" if self.limit is None else f"{self.comparison} {self.limit:g}"
        verdict = "" if self.limit is None else "met" if self.is_met else "MISSED"
        figure = f"{self.figure:9.2f} {self.unit:<8}"
        return f"{self.name:<56} {goal:>8} {figure} {verdict:<6}  {self.details}".rstrip()


def percentile_of(values: Iterable[float], part: float) -> float:
    """The value that `part` of all do not exceed.

    Raises:
        IndexError: there are no values.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def cpu_time_of(act: Callable[[], object]) -> float:
    """Processor seconds of a call: for what only computes, independent of other programs."""
    began = time.process_time()
    act()
    return time.process_time() - began


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of pairs."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def rss_mib(pid: int, field: Literal["VmRSS", "VmHWM"] = "VmRSS") -> float:
    """Resident memory of a process, now or at its highest."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/{pid}/status has no {field}")


def cpu_s(pid: int) -> float:
    """Processor seconds of all threads of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


class CommandUsage(NamedTuple):
    """A command that ran to its end."""

    cpu_s: float  # of a processor
    peak_mib: float
    exit_code: int


def run_command(arguments: Sequence[str | Path]) -> CommandUsage:
    """Run a command and discard its output.

    The peak is read while it runs: the peak of `wait4` begins with the size of the parent.
    """
    process, peak_mib = subprocess.Popen(arguments, stdout=subprocess.DEVNULL), 0.0
    ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    while not ended:
        with suppress(OSError):  # it has just ended
            peak_mib = max(peak_mib, rss_mib(process.pid, "VmHWM"))
        time.sleep(SAMPLE_INTERVAL_S)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    return CommandUsage(usage.ru_utime + usage.ru_stime, peak_mib, process.returncode)
