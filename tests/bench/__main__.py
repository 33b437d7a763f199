"""`python -m tests.bench`: the table of goals and figures; exit code 1 if a goal is missed."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import disk, history, wire
from tests.bench.measures import FULL, QUICK, Row, Size
from tests.bench.peers import Peer

PEERS = Path(".bench/bin/python")


def measured(directory: Path, size: Size, parts: list[str]) -> Iterator[Row]:
    """Row by row, as they are found."""
    for part in ("disk", "history", "wire"):
        (directory / part).mkdir()
    if "disk" in parts:
        peer = Peer(PEERS.absolute()) if PEERS.exists() else None
        if peer is None:
            print(f"no {PEERS}: nothing is compared with eventsourcing. `make bench` installs it.")
        yield from disk.rows(directory / "disk", size, peer)
    if "history" in parts:
        yield from history.rows(directory / "history", size)
    if "wire" in parts:
        yield from wire.rows(directory / "wire", size)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="does it run? goals do not count")
    parser.add_argument("--only", choices=["disk", "history", "wire"], action="append")
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure")
    asked = parser.parse_args(arguments)
    missed = 0
    with TemporaryDirectory(dir=asked.directory.absolute(), prefix=".b") as directory:
        size = QUICK if asked.quick else FULL
        for row in measured(Path(directory), size, asked.only or ["disk", "history", "wire"]):
            print(row, flush=True)
            missed += not row.met
    if asked.quick:
        return 0
    print(f"{missed} goals missed" if missed else "every goal met")
    return 1 if missed else 0


if __name__ == "__main__":
    logging.disable()  # here, for it holds for the whole process
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # stations end too
    sys.exit(main(sys.argv[1:]))
