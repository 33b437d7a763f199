"""`python -m tests.bench`: the table of goals and figures; exit code 1 if a goal is missed."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench import deciding, disk, everyday, history, many, protection, wire
from tests.bench.measures import FULL, QUICK, Row, Size
from tests.bench.peers import Peer

PEERS: Final = Path(".bench/bin/python")
PARTS: Final = ("disk", "history", "deciding", "wire", "many", "protection", "everyday")
RUN_TIMEOUT_S: Final = 1_800  # of a run on a busy machine; on an idle one it takes eight minutes


def measure_parts(directory: Path, size: Size, parts: Collection[str]) -> Iterator[Row]:
    """The rows of the parts, each when it is measured."""
    for part in parts:
        (directory / part).mkdir()
    if "disk" in parts:
        peer = Peer(PEERS.absolute()) if PEERS.exists() else None
        yield from disk.measure_rows(directory / "disk", size, peer)
    if "history" in parts:
        yield from history.measure_rows(directory / "history", size)
    if "deciding" in parts:
        yield from deciding.measure_rows(directory / "deciding", size)
    if "wire" in parts:
        yield from wire.measure_rows(directory / "wire", size)
    if "many" in parts:
        yield from many.measure_rows(size)
    if "protection" in parts:
        yield from protection.measure_rows(directory / "protection", size)
    if "everyday" in parts:
        yield from everyday.measure_rows(directory / "everyday", size)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short trial; goals do not count")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure")
    options = parser.parse_args(arguments)
    goals = missed = 0
    began = time.monotonic()
    print(f"{os.cpu_count()} processors; load average {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory(dir=options.directory.absolute(), prefix=".b") as directory:
        size = QUICK if options.quick else FULL
        for row in measure_parts(Path(directory), size, set(options.only or PARTS)):
            print(row, flush=True)
            goals += row.limit is not None
            missed += not row.is_met
    if options.quick:
        return 0
    minutes = (time.monotonic() - began) / 60
    print(f"{missed} of {goals} goals missed; {minutes:.0f} minutes")
    return 1 if missed else 0


if __name__ == "__main__":
    logging.disable()  # here, because it affects the whole process
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # so that no start compiles
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # so that started stations end too
    signal.signal(signal.SIGALRM, lambda number, frame: sys.exit("bench: not finished in time"))
    signal.alarm(RUN_TIMEOUT_S)
    sys.exit(main(sys.argv[1:]))
