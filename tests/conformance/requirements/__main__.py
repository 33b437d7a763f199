"""`python -m tests.conformance.requirements`: the tests that hold each requirement.

Exit code 1 if a requirement is neither cited nor excused.
"""

from __future__ import annotations

from itertools import groupby

import click

from tests.conformance.requirements import Verdict, all_verdicts, bound_parties


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="Also list the citations of each requirement."
)
def main(everything: bool) -> None:
    """Cited, excused and missing requirements of each use case."""
    verdicts = all_verdicts()
    click.echo("use case  cited  (by a case only)  excused  not built  missing")
    for use_case, group in groupby(verdicts, key=lambda verdict: verdict.requirement[:3]):
        click.echo(_format_row(use_case, list(group)))
    click.echo(_format_row("all", verdicts))
    others = len(bound_parties()) - len(verdicts)
    click.echo(f"\n{others} others bind only the CSMS or the operator.\n")
    for verdict in verdicts:
        if everything or not verdict.cited_by:
            click.echo(_format_verdict(verdict))
    raise SystemExit(1 if any(verdict.is_missing for verdict in verdicts) else 0)


def _format_row(name: str, verdicts: list[Verdict]) -> str:
    cited = sum(bool(verdict.cited_by) for verdict in verdicts)
    by_cases = sum(verdict.is_by_cases_only for verdict in verdicts)
    not_built = sum(verdict.not_built for verdict in verdicts)
    missing = sum(verdict.is_missing for verdict in verdicts)
    excused = len(verdicts) - cited - not_built - missing
    return f"{name:<8}  {cited:>5}  {by_cases:>16}  {excused:>7}  {not_built:>9}  {missing:>7}"


def _format_verdict(verdict: Verdict) -> str:
    if verdict.cited_by:
        return f"{verdict.requirement}  {', '.join(verdict.cited_by)}"
    label = "MISSING" if verdict.is_missing else "not built" if verdict.not_built else "excused"
    return f"{verdict.requirement}  {label}: {verdict.excuse or 'neither cited nor excused'}"


if __name__ == "__main__":
    main()
