"""How many damaged journals does a station live on?

`python -m tests.durability.damage --damages 1000 --seed 0`: each damage is done to a journal whose entries lie
in its file, and to one whose entries lie in its log. Prints what did not hold.
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
    parser.add_argument("--damages", type=int, default=1000, help="how many, of each journal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sectors", action="store_true", help="they cannot be read, that is all")
    asked = parser.parse_args(arguments)
    if asked.sectors and LIST_ENV_VAR not in os.environ:
        return rerun_with_bad_sectors(arguments)
    kinds = generate_bad_sectors if asked.sectors else generate_damages
    logging.disable(logging.CRITICAL)
    scratch = Path(tempfile.mkdtemp(prefix="damage-", dir=shared_memory_directory()))
    bad, count, told = 0, 0, time.perf_counter()
    try:
        for checkpointed in (True, False):
            made = make_original(scratch / f"{checkpointed}", checkpointed=checkpointed)
            for damage in islice(kinds(made, asked.seed), asked.damages):
                count += 1
                for what in find_violations(made, damage, scratch):
                    bad += 1
                    print(f"{'file' if checkpointed else 'log'}: {damage[0]}: {what}")
                if time.perf_counter() - told > PROGRESS_INTERVAL_S:
                    told = time.perf_counter()
                    print(f"{count} damages, {bad} broken", file=sys.stderr)
    finally:
        shutil.rmtree(scratch)
    print(f"{count} damages, {bad} broken")
    return 1 if bad else 0


def rerun_with_bad_sectors(arguments: list[str]) -> int:
    """The same in a process that can have some."""
    with tempfile.TemporaryDirectory() as place:
        env = {**os.environ, **prepare_environment(Path(place))}
        return subprocess.run(
            [sys.executable, "-m", "tests.durability.damage", *arguments], env=env
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
