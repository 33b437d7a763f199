"""Which is the first seed whose world breaks a promise of the station?

`python -m station.simulation --seeds 10000 --seed0 0` tries one seed after the other and stops at
the first that fails: its plan, its transcript and what was broken are printed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from station.simulation.run_plan import RunResult, run_plan, shrink_plan
from station.simulation.seeds import make_plan

PROGRESS_INTERVAL_S = 10.0  # between two lines of progress


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="station.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--seed0", type=int, default=0, help="the first")
    parser.add_argument("--shrink", action="store_true", help="look for the least that breaks it")
    asked = parser.parse_args(arguments)
    began = told = time.perf_counter()
    totals: Counter[str] = Counter()
    for seed in range(asked.seed0, asked.seed0 + asked.seeds):
        verdict = run_plan(make_plan(seed))
        if verdict.violation:
            print(format_failure(seed, verdict))
            if asked.shrink:
                print(f"\nThe least that breaks it:\n{shrink_plan(verdict.plan)}")
            return 1
        totals.update(
            seeds=1,
            entries=verdict.entries,
            lives=verdict.process_starts,
            transactions=verdict.transactions,
            resent=verdict.resent_count,
        )
        if time.perf_counter() - told > PROGRESS_INTERVAL_S:
            told = time.perf_counter()
            print(format_summary(totals, told - began), flush=True)
    print(format_summary(totals, time.perf_counter() - began))
    return 0


def format_summary(totals: Counter[str], seconds: float) -> str:
    """What was tried so far, for a person."""
    return (
        f"{totals['seeds']} seeds kept every promise, {totals['seeds'] / seconds:.1f} seeds/s: "
        f"{totals['transactions']} transactions, {totals['lives']} lives, "
        f"{totals['entries']} entries, {totals['resent']} messages sent again"
    )


def format_failure(seed: int, verdict: RunResult) -> str:
    """A seed that failed, with everything to see why."""
    plan = "\n".join(f"  {one.at_s:8.2f} s  {one}" for one in verdict.plan.events)
    variables = "\n".join(f"  {name} = {value}" for name, value in verdict.plan.variables.items())
    return (
        f"{verdict.transcript}\n\nseed {seed}\n{variables}\n{plan}\n"
        f"seed {seed} broke a promise. {verdict.violation}"
    )


if __name__ == "__main__":
    logging.disable()  # here, for it holds for the whole process
    sys.exit(main(sys.argv[1:]))
