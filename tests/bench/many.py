"""Messages a second and memory of many stations in one process."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.measures import Row, Size, median_ratio
from tests.bench.stations import raise_file_limit

ROOT: Final = Path(__file__).parents[2]
OUR_PROGRAM: Final = "tests.bench.stations"
PEER_PROGRAM: Final = "tests.bench.peers.charge_points"
KIB_MAX: Final = 350
MESSAGE_US_MAX: Final = 400.0  # of a processor
FEW_DIVISOR: Final = 5  # memory of one station: the difference to this many times fewer
MEASURED_ROUNDS: Final = 1  # after one that is not measured
TIMEOUT_S: Final = 600.0


class CrowdResult(NamedTuple):
    """Figures of one process with many stations."""

    frames: int  # in both directions
    busy_s: float
    kib: float

    @property
    def rate(self) -> float:
        """Messages per processor second, the share of the CSMS included."""
        return self.frames / self.busy_s


def run_crowd(program: str, stations: int, rounds: int) -> CrowdResult:
    """Run one of the two programs.

    Raises:
        CalledProcessError: it failed; the reason is on stderr.
        TimeoutExpired: the exchange stopped.
    """
    arguments = [sys.executable, "-W", "ignore", "-m", program, str(stations), str(rounds)]
    completed = subprocess.run(
        arguments, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=TIMEOUT_S
    )
    frames, busy_s, kib = completed.stdout.split()
    return CrowdResult(int(frames), float(busy_s), float(kib))


def measure_rows(size: Size) -> Iterator[Row]:
    """Messages per second, in turn with the peer, and the memory of one more station."""
    many, few = size.stations, size.stations // FEW_DIVISOR
    name = f"{many} stations in one process"
    if not raise_file_limit(many):
        details = "the limit of open files is too low: ulimit -n"
        yield Row(f"{name}, a message", math.nan, "us", MESSAGE_US_MAX, details=details)
        yield Row(f"{name}, each", math.nan, "KiB", KIB_MAX, details=details)
        return
    ours, peers = [], []
    for _ in range(size.rounds):
        ours.append(run_crowd(OUR_PROGRAM, many, MEASURED_ROUNDS))
        peers.append(run_crowd(PEER_PROGRAM, many, MEASURED_ROUNDS))
    rates = [crowd.rate for crowd in ours], [crowd.rate for crowd in peers]
    mine, theirs = (1e6 / statistics.median(each) for each in rates)
    details = f"ocpp {theirs:.0f} us"
    yield Row(f"{name}, a message", mine, "us", MESSAGE_US_MAX, details=details)
    yield Row("the same, messages/s", median_ratio(*rates), "x ocpp")
    each = [
        (
            statistics.median(crowd.kib for crowd in crowds)
            - run_crowd(program, few, MEASURED_ROUNDS).kib
        )
        / (many - few)
        for program, crowds in ((OUR_PROGRAM, ours), (PEER_PROGRAM, peers))
    ]
    yield Row(f"{name}, each", each[0], "KiB", KIB_MAX, details=f"ocpp {each[1]:.0f} KiB")
