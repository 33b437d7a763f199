"""`python -m tests.durability.damage --damages 1000 --seed 0`: run a station on damaged journals.

The damages are done to a journal with its entries in the database file, and to one with its
entries in the write-ahead log. Prints every violation. `--sectors`: unreadable sectors only.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from station.simulation.world import shared_memory_directory
from tests.durability.damage.bad_sectors import LIST_ENV_VAR, prepare_environment
from tests.durability.damage.sweep import find_violations, generate_bad_sectors, generate_damages
from tests.durability.damage.worlds import make_original

PROGRESS_INTERVAL_S = 10.0  # between two lines of progress


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.durability.damage", description=__doc__)
    parser.add_argument(
        "--damages", type=int, default=1000, help="number of damages to each journal"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sectors", action="store_true", help="unreadable sectors only")
    options = parser.parse_args(arguments)
    if options.sectors and LIST_ENV_VAR not in os.environ:
        return rerun_with_bad_sectors(arguments)
    generate = generate_bad_sectors if options.sectors else generate_damages
    logging.disable(logging.CRITICAL)
    scratch = Path(tempfile.mkdtemp(prefix="damage-", dir=shared_memory_directory()))
    violations, damages, printed_s = 0, 0, time.perf_counter()
    try:
        for checkpointed in (True, False):
            original = make_original(scratch / f"{checkpointed}", checkpointed=checkpointed)
            for damage in islice(generate(original, options.seed), options.damages):
                damages += 1
                for violation in find_violations(original, damage, scratch):
                    violations += 1
                    print(f"{'file' if checkpointed else 'log'}: {damage[0]}: {violation}")
                if time.perf_counter() - printed_s > PROGRESS_INTERVAL_S:
                    printed_s = time.perf_counter()
                    print(f"{damages} damages, {violations} violations", file=sys.stderr)
    finally:
        shutil.rmtree(scratch)
    print(f"{damages} damages, {violations} violations")
    return 1 if violations else 0


def rerun_with_bad_sectors(arguments: list[str]) -> int:
    """Run the same arguments in a process for which sectors can be made unreadable."""
    with tempfile.TemporaryDirectory() as directory:
        env = {**os.environ, **prepare_environment(Path(directory))}
        return subprocess.run(
            [sys.executable, "-m", "tests.durability.damage", *arguments], env=env
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
