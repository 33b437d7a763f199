"""`python -m tests.conformance.octt`: run the test cases of Part 6 that apply to a product."""

from __future__ import annotations

import time
from pathlib import Path

import click

from station.profiles import ProfileError, load_profile
from tests.conformance.octt import report
from tests.conformance.octt.applicability import CORE, Applicability, decide_all_cases
from tests.conformance.octt.cases import PLAYS
from tests.conformance.octt.runner import Outcome, Runner

JOBS = 3  # most of a case is waiting


@click.command()
@click.option("--profile", default="evs-flash-300", show_default=True, help="Name or .toml file.")
@click.option("--case", "case_ids", multiple=True, help="Only this case; may be repeated.")
@click.option(
    "--report",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report as JSON.",
)
@click.option(
    "--jobs", default=JOBS, show_default=True, type=click.IntRange(1), help="Cases run at a time."
)
@click.option(
    "--trace", is_flag=True, help="Show the last frames and the station's log of failed cases."
)
@click.option("--list", "only_list", is_flag=True, help="List the cases that would run, and why.")
def main(
    profile: str,
    case_ids: tuple[str, ...],
    path: Path | None,
    jobs: int,
    trace: bool,
    only_list: bool,
) -> None:
    """Run the applicable test cases of the Core profile against a station process.

    For a product without a certificate, also the cases of other profiles that are implemented.

    Exit code 0: all passed; 1: some failed; 2: usage.
    """
    try:
        product = load_profile(profile)
    except ProfileError as error:
        raise click.UsageError(str(error)) from None
    decided = decide_all_cases(product)
    chosen = _select_cases(decided, case_ids, core_only=product.certificate is not None)
    if only_list:
        for case_id in chosen:
            click.echo(f"{case_id:<13} {decided[case_id].case.title} ({decided[case_id].reason})")
        return
    began_s = time.monotonic()
    progress = Progress(len(chosen), trace=trace)
    outcomes = Runner(profile, jobs=jobs, on_outcome=progress).run_cases(chosen)
    click.echo()
    for line in report.abstract_lines(decided, outcomes, product):
        click.echo(line)
    click.echo(f"\n{len(outcomes)} cases in {time.monotonic() - began_s:.0f} s")
    if path is not None:
        report.write_report(path, decided, outcomes, product)
    raise SystemExit(0 if all(outcome.passed for outcome in outcomes) else 1)


def _select_cases(
    decided: dict[str, Applicability], case_ids: tuple[str, ...], *, core_only: bool
) -> list[str]:
    """The cases to run: those requested, or every applicable one of Core.

    Unless `core_only`, the implemented ones of the other certification profiles follow.

    Raises:
        click.UsageError: an unknown id, or a case that does not apply and is not implemented.
    """
    ids = [_full_case_id(case_id) for case_id in case_ids]
    for case_id in ids:
        if case_id not in decided:
            raise click.UsageError(f"{case_id} is no test case of Part 5 for Charging Stations")
        if not decided[case_id].applies and case_id not in PLAYS:
            raise click.UsageError(f"{case_id} does not apply: {decided[case_id].reason}")
    return ids or [
        case_id
        for case_id, applicability in decided.items()
        if applicability.applies
        and (applicability.case.profile == CORE or (not core_only and case_id in PLAYS))
    ]


def _full_case_id(case_id: str) -> str:
    return case_id.upper() if case_id.upper().endswith("_CS") else f"{case_id.upper()}_CS"


class Progress:
    """One line per case as it ends."""

    def __init__(self, count: int, *, trace: bool) -> None:
        self.count = count
        self.trace = trace
        self.done = 0

    def __call__(self, outcome: Outcome) -> None:
        self.done += 1
        mark = click.style("pass", fg="green") if outcome.passed else click.style("FAIL", fg="red")
        number = f"[{self.done:>3}/{self.count}]"
        click.echo(
            f"{number} {mark} {outcome.case_id:<13} {outcome.took_s:5.1f} s  {outcome.reason[:300]}"
        )
        if self.trace and outcome.trace:
            click.echo(outcome.trace)


if __name__ == "__main__":
    main()
