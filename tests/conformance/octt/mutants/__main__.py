"""`python -m tests.conformance.octt.mutants`: run against each mutant the cases that must fail.

A case that passes on its mutant is a gap in the tool. All cases first run against the unchanged
station: one that fails there proves nothing on a mutant, and is reported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from tests.conformance.octt.mutants import MUTANTS
from tests.conformance.octt.mutants.fault import Mutant
from tests.conformance.octt.runner import START_FAILED, Outcome, Runner

JOBS = 3


@click.command()
@click.option("--profile", default="evs-flash-300", show_default=True, help="Name or .toml file.")
@click.option("--mutant", "names", multiple=True, type=click.Choice(sorted(MUTANTS)))
@click.option("--jobs", default=JOBS, show_default=True, type=click.IntRange(1))
def main(profile: str, names: tuple[str, ...], jobs: int) -> None:
    """Run the cases that must fail against each mutant.

    Exit code 0: each mutant made each of its cases fail; 1: at least one case passed.
    """
    chosen = names or tuple(MUTANTS)
    passing = {
        product: _passing_cases(product, chosen, profile, jobs)
        for product in {_product_of(MUTANTS[name], profile) for name in chosen}
    }
    survived = 0
    for name in chosen:
        mutant = MUTANTS[name]
        product = _product_of(mutant, profile)
        program = (sys.executable, "-m", "tests.conformance.octt.mutants.station", name)
        cases = [case for case in mutant.failing_cases if case in passing[product]]
        outcomes = Runner(product, jobs=jobs, program=program).run_cases(cases)
        undetected = [outcome.case_id for outcome in outcomes if not _is_detected(outcome)]
        survived += len(undetected) + (not cases)
        verdict = click.style("detected", fg="green")
        if undetected or not cases:
            verdict = click.style("NOT DETECTED", fg="red")
        click.echo(f"{verdict} {name}: {mutant.description}")
        for outcome in outcomes:
            result = "passes" if outcome.passed else outcome.reason.splitlines()[0][:200]
            click.echo(f"    {outcome.case_id}: {result}")
        for case in set(mutant.failing_cases) - set(cases):
            click.echo(f"    {case}: fails on the unchanged station, proves nothing")
    raise SystemExit(1 if survived else 0)


def _is_detected(outcome: Outcome) -> bool:
    """Whether the case failed for another reason than a station that did not start."""
    return not (outcome.passed or outcome.reason.startswith(START_FAILED))


def _product_of(mutant: Mutant, profile: str) -> str:
    """The product that the cases of a mutant run on."""
    return mutant.profile or profile


def _passing_cases(product: str, names: Iterable[str], profile: str, jobs: int) -> set[str]:
    """The cases of all mutants of a product that pass on the unchanged station."""
    cases = {
        case
        for name in names
        if _product_of(MUTANTS[name], profile) == product
        for case in MUTANTS[name].failing_cases
    }
    outcomes = Runner(product, jobs=jobs).run_cases(sorted(cases))
    return {outcome.case_id for outcome in outcomes if outcome.passed}


if __name__ == "__main__":
    main()
