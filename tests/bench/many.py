"""How many messages a second, and how much memory, where many stations share a process?"""

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
FEW_DIVISOR: Final = 5  # one in so many is few: memory is what the rest adds
MEASURED_ROUNDS: Final = 1  # that are measured, after one that is not
TIMEOUT_S: Final = 600.0


class CrowdResult(NamedTuple):
    """What so many stations in one process came to."""

    frames: int  # in both directions
    worked_s: float
    kib: float

    @property
    def rate(self) -> float:
        """Messages per processor second; the CSMS's share is in it."""
        return self.frames / self.worked_s


def run_crowd(program: str, stations: int, turns: int) -> CrowdResult:
    """Run one of the two programs.

    Raises:
        CalledProcessError: it failed; it has said why on stderr.
        TimeoutExpired: the talk came to a standstill.
    """
    arguments = [sys.executable, "-W", "ignore", "-m", program, str(stations), str(turns)]
    told = subprocess.run(
        arguments, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=TIMEOUT_S
    )
    frames, worked_s, kib = told.stdout.split()
    return CrowdResult(int(frames), float(worked_s), float(kib))


def measure_rows(size: Size) -> Iterator[Row]:
    """Messages per second, in turn with the peer, and what one more station takes up."""
    many, few = size.stations, size.stations // FEW_DIVISOR
    what = f"{many} stations in one process"
    if not raise_file_limit(many):
        beside = "too few files may be open at once: ulimit -n"
        yield Row(f"{what}, messages/s", math.nan, "x ocpp", 8, ">=", beside)
        yield Row(f"{what}, each", math.nan, "KiB", 60, details=beside)
        return
    ours, peers = [], []
    for _ in range(size.rounds):
        ours.append(run_crowd(OUR_PROGRAM, many, MEASURED_ROUNDS))
        peers.append(run_crowd(PEER_PROGRAM, many, MEASURED_ROUNDS))
    rates = [one.rate for one in ours], [one.rate for one in peers]
    beside = "{:.0f}/s; ocpp {:.0f}/s".format(*map(statistics.median, rates))
    yield Row(f"{what}, messages/s", median_ratio(*rates), "x ocpp", 8, ">=", beside)
    each = [
        (statistics.median(one.kib for one in all_) - run_crowd(program, few, MEASURED_ROUNDS).kib)
        / (many - few)
        for program, all_ in ((OUR_PROGRAM, ours), (PEER_PROGRAM, peers))
    ]
    yield Row(f"{what}, each", each[0], "KiB", 60, details=f"ocpp {each[1]:.0f} KiB")
