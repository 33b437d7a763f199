"""Which range of time does somebody mean, and how far is the walk through it?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from station.commands.shared.exits import UsageError
from station.history.export.export import TimeRange


def parse_time(
    context: click.Context, option: click.Parameter, text: str | None
) -> datetime | None:
    """An ISO 8601 time, UTC where it has no offset; finer than a millisecond is rounded up."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        return at + (-at.microsecond % 1000) * timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{context.command_path} {option.opts[0]}: {text!r} is no time as 2026-11-22T17:25Z, "
            "or a day as 2026-11-22."
        ) from None


since_option = click.option(
    "--from", "since", metavar="T", callback=parse_time, help="Only from then on."
)
until_option = click.option(
    "--to", "until", metavar="T", callback=parse_time, help="Only before then."
)


def time_span(since: datetime | None, until: datetime | None) -> TimeRange:
    """The range between them.

    Raises:
        Misused: there is none.
    """
    if since and until and since >= until:
        path = click.get_current_context().command_path
        raise UsageError(f"{path}: --from is not before --to, so nothing lies between them.")
    return TimeRange(since, until)


@contextmanager
def entries_progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Takes how many entries are done, of how many, and shows it to a person at a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console  # only a person pays for this import
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("entries", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=max(of, 1))
