"""Random inputs of peers, devices and files, with a limit of processor time and memory for each.

    python -m tests.durability.fuzz SECONDS [SEED]

An input may be refused only by the exceptions that the parser documents. Exit code 1 if an input
was too expensive or raised another exception; each is printed.
"""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Final

from tests.durability.fuzz.file_targets import make_file_targets
from tests.durability.fuzz.peer_targets import make_peer_targets
from tests.durability.fuzz.target import Target, memory_of, run_input

MEMORY_MAX: Final = 32 * 2**20  # allocated at once for one input
MEASURED_EVERY: Final = 50  # inputs; the memory of one is measured, which makes it slow


def fuzz(seconds: float, seed: int, report: Callable[[str], None], rounds_max: float = inf) -> int:
    """Run all targets in turn for a time; reports each finding. How many there were."""
    with tempfile.TemporaryDirectory() as directory, make_file_targets(Path(directory)) as files:
        return _fuzz_targets([*make_peer_targets(), *files], seconds, seed, report, rounds_max)


def _fuzz_targets(
    targets: list[Target],
    seconds: float,
    seed: int,
    report: Callable[[str], None],
    rounds_max: float,
) -> int:
    dice, findings = random.Random(seed), 0
    gc.collect()
    gc.freeze()  # as the station does at its start
    most: dict[str, Any] = {target.name: (0.0, b"", 0) for target in targets}
    ends_at = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < ends_at and rounds < rounds_max:
        rounds += 1
        for target in targets:
            if rounds % target.every:
                continue
            data = target.mutate(dice, dice.choice(target.seeds), target.bytes_max)
            result = run_input(target, data)
            worst_s, worst_data, count = most[target.name]
            if result.cpu_s > worst_s:
                worst_s, worst_data = result.cpu_s, data
            most[target.name] = worst_s, worst_data, count + 1
            if result.failure or result.cpu_s > target.cpu_max_s:
                findings += 1
                cost = f"{result.cpu_s * 1000:.1f} ms {result.failure}"
                report(f"{target.name}: {cost} {len(data)} bytes {data[:200]!r}")
            if count % MEASURED_EVERY == 0 and (memory := memory_of(target, data)) > MEMORY_MAX:
                findings += 1
                allocated = f"{memory / 2**20:.1f} MiB"
                report(f"{target.name}: {allocated} for {len(data)} bytes {data[:200]!r}")
    for target in targets:
        worst_s, worst_data, count = most[target.name]
        memory = memory_of(target, worst_data)
        findings += memory > MEMORY_MAX
        report(
            f"{target.name}: {count} inputs, at most {worst_s * 1000:.1f} ms, "
            f"its memory {memory / 2**20:.1f} MiB"
        )
    return findings


def main(seconds: float, seed: int) -> int:
    """The command line."""
    print(f"seed {seed}")
    return 1 if fuzz(seconds, seed, print) else 0


if __name__ == "__main__":
    sys.exit(
        main(float(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else random.randrange(2**32))
    )
