"""The options --from and --to that take times, and the progress of a pass through the entries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from station.history.export.export import TimeRange


def parse_time(_: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """An ISO 8601 time, UTC if it has no offset; rounded up to a millisecond."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        return at + (-at.microsecond % 1000) * timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"{option.opts[0]}: {text!r} is not a time such as 2026-11-22T17:25Z or a day such as "
            "2026-11-22."
        ) from None


since_option = click.option(
    "--from", "since", metavar="T", callback=parse_time, help="Begin at this time."
)
until_option = click.option(
    "--to", "until", metavar="T", callback=parse_time, help="End before this time."
)


def time_span(since: datetime | None, until: datetime | None) -> TimeRange:
    """The range between them.

    Raises:
        click.UsageError: it is empty.
    """
    if since and until and since >= until:
        raise click.UsageError("--from is not before --to, so the range is empty.")
    return TimeRange(since, until)


@contextmanager
def entries_progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; the function it gives takes entries done and entries total."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console  # imported on a terminal only: it is slow
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("entries", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=max(of, 1))
