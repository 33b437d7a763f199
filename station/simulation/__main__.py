"""Run simulated worlds with faults, one per seed, and stop at the first that breaks a promise.

`python -m station.simulation --seeds 10000 --seed0 0`. For a seed that fails, the plan, the end of
the transcript and the broken promise are printed.
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
    parser.add_argument("--seeds", type=int, default=1000, help="number of seeds")
    parser.add_argument("--seed0", type=int, default=0, help="first seed")
    parser.add_argument(
        "--shrink", action="store_true", help="reduce a failing plan to the smallest that fails"
    )
    options = parser.parse_args(arguments)
    started_at = printed_at = time.perf_counter()
    totals: Counter[str] = Counter()
    for seed in range(options.seed0, options.seed0 + options.seeds):
        result = run_plan(make_plan(seed))
        if result.violation:
            print(format_failure(seed, result))
            if options.shrink:
                print(f"\nThe smallest plan that fails:\n{shrink_plan(result.plan)}")
            return 1
        totals.update(
            seeds=1,
            entries=result.entries,
            process_starts=result.process_starts,
            transactions=result.transactions,
            resent=result.resent_count,
        )
        if time.perf_counter() - printed_at > PROGRESS_INTERVAL_S:
            printed_at = time.perf_counter()
            print(format_summary(totals, printed_at - started_at), flush=True)
    print(format_summary(totals, time.perf_counter() - started_at))
    return 0


def format_summary(totals: Counter[str], seconds: float) -> str:
    """Totals of the seeds run so far, on one line."""
    return (
        f"{totals['seeds']} seeds kept every promise, {totals['seeds'] / seconds:.1f} seeds/s: "
        f"{totals['transactions']} transactions, {totals['process_starts']} starts of the program, "
        f"{totals['entries']} entries, {totals['resent']} messages sent again"
    )


def format_failure(seed: int, result: RunResult) -> str:
    """A seed that failed: transcript, variables, plan and the broken promise."""
    plan = "\n".join(f"  {event.at_s:8.2f} s  {event}" for event in result.plan.events)
    variables = "\n".join(f"  {name} = {value}" for name, value in result.plan.variables.items())
    return (
        f"{result.transcript}\n\nseed {seed}\n{variables}\n{plan}\n"
        f"seed {seed} broke a promise. {result.violation}"
    )


if __name__ == "__main__":
    logging.disable()  # only here: it affects the whole process
    sys.exit(main(sys.argv[1:]))
