"""`python -m tests.conformance.requirements`: what holds each requirement; ends 1 if something does not."""

from __future__ import annotations

from itertools import groupby

import click

from tests.conformance.requirements import Verdict, all_verdicts, bound_parties


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also say which test cites what.")
def main(everything: bool) -> None:
    """Cited, excused and missing requirements of each use case."""
    judged = all_verdicts()
    click.echo("use case  cited  (by a case only)  excused  not built  missing")
    for use_case, each in groupby(judged, key=lambda one: one.requirement[:3]):
        click.echo(_format_row(use_case, list(each)))
    click.echo(_format_row("all", judged))
    others = len(bound_parties()) - len(judged)
    click.echo(f"\n{others} more bind the CSMS or the operator alone.\n")
    for one in judged:
        if everything or not one.cited_by:
            click.echo(_format_verdict(one))
    raise SystemExit(1 if any(one.is_missing for one in judged) else 0)


def _format_row(name: str, judged: list[Verdict]) -> str:
    cited = sum(bool(one.cited_by) for one in judged)
    by_cases = sum(one.is_by_cases_only for one in judged)
    not_built = sum(one.not_built for one in judged)
    missing = sum(one.is_missing for one in judged)
    excused = len(judged) - cited - not_built - missing
    return f"{name:<8}  {cited:>5}  {by_cases:>16}  {excused:>7}  {not_built:>9}  {missing:>7}"


def _format_verdict(verdict: Verdict) -> str:
    if verdict.cited_by:
        return f"{verdict.requirement}  {', '.join(verdict.cited_by)}"
    what = "MISSING" if verdict.is_missing else "not built" if verdict.not_built else "excused"
    return f"{verdict.requirement}  {what}: {verdict.excuse or 'neither cited nor excused'}"


if __name__ == "__main__":
    main()
