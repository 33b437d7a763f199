"""`python -m tests.conformance.octt.mutants`: does the tool notice every fault it should?

For each mutant the cases that must turn red are played against it. A case that stays green is a
hole in the tool. Cases are first played against the station as it is: only what is green there
can turn red.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from tests.conformance.octt.mutants import MUTANTS
from tests.conformance.octt.runner import START_FAILED, Outcome, Runner

JOBS = 3


@click.command()
@click.option("--profile", default="evs-flash-300", show_default=True, help="Name or .toml file.")
@click.option("--mutant", "names", multiple=True, type=click.Choice(sorted(MUTANTS)))
@click.option("--jobs", default=JOBS, show_default=True, type=click.IntRange(1))
def main(profile: str, names: tuple[str, ...], jobs: int) -> None:
    """Play the cases that must fail against each mutant.

    Exit code 0: every mutant was noticed by each of its cases; 1: some were not.
    """
    chosen = names or tuple(MUTANTS)
    sound = _passing_cases(
        profile, {case for name in chosen for case in MUTANTS[name].failing_cases}, jobs
    )
    survived = 0
    for name in chosen:
        mutant = MUTANTS[name]
        program = (sys.executable, "-m", "tests.conformance.octt.mutants.station", name)
        cases = [case for case in mutant.failing_cases if case in sound]
        outcomes = Runner(profile, jobs=jobs, program=program).run_cases(cases)
        alive = [outcome.case_id for outcome in outcomes if not _is_noticed(outcome)]
        survived += len(alive) + (not cases)
        verdict = click.style("noticed", fg="green")
        if alive or not cases:
            verdict = click.style("SURVIVES", fg="red")
        click.echo(f"{verdict} {name}: {mutant.description}")
        for outcome in outcomes:
            told = "stays green" if outcome.passed else outcome.reason.splitlines()[0][:200]
            click.echo(f"    {outcome.case_id}: {told}")
        for case in set(mutant.failing_cases) - set(cases):
            click.echo(f"    {case}: red without any fault, says nothing")
    raise SystemExit(1 if survived else 0)


def _is_noticed(outcome: Outcome) -> bool:
    """Whether the case is red, and not because there was nothing to play it against."""
    return not (outcome.passed or outcome.reason.startswith(START_FAILED))


def _passing_cases(profile: str, cases: Iterable[str], jobs: int) -> set[str]:
    """Those of the cases that the station as it is passes."""
    outcomes = Runner(profile, jobs=jobs).run_cases(sorted(cases))
    return {outcome.case_id for outcome in outcomes if outcome.passed}


if __name__ == "__main__":
    main()
