"""How did a station fare in a range of time, as a page to look at?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from station.commands.answers import Misused, No
from station.commands.journals import journal_argument, opened
from station.history.export import Span
from station.history.report.gathering import Facts, NothingThereError, gather
from station.history.report.page import page
from station.runtime.memory import registry


def _moment(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    """An ISO 8601 time, UTC where it has no offset; finer than a millisecond is rounded up."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        return at + (-at.microsecond % 1000) * timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise Misused(
            f"station report: {text!r} is no time as 2026-11-22T17:25Z, or a day as 2026-11-22."
        ) from None


@click.command("report")
@journal_argument
@click.option("--from", "since", metavar="T", callback=_moment, help="Only from then on.")
@click.option("--to", "until", metavar="T", callback=_moment, help="Only before then.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to be written, over one that is there. Without it: to stdout.",
)
def report_command(
    path: Path, since: datetime | None, until: datetime | None, out: Path | None
) -> None:
    """Make one HTML page of how the station of JOURNAL fared.

    Time lines, uptime with its evidence, sessions, messages, faults and response times of the
    whole journal, or of a range of time (UTC). The page opens offline and holds no personal value.
    """
    if since and until and since >= until:
        raise Misused("station report: --from is not before --to, so nothing lies between them.")
    if out is None and sys.stdout.isatty():
        raise Misused("station report: a page is not for a terminal; name --out FILE.html.")
    facts = _gathered(path, Span(since, until))
    text = page(facts)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(out, text)
        click.echo(f"{out}: entries {facts.first_entry} to {facts.last_entry}, {len(text):,} bytes")
    if facts.complaints_count:
        raise No(f"{path}: not whole; the page says so. Run `station verify` on it.")


def _gathered(path: Path, span: Span) -> Facts:
    with closing(opened(path)) as reader:
        if reader.head().seq == 0:
            raise No(f"{path}: no entries yet. Start the station, and there will be.")
        try:
            with _progress() as advance:
                return gather(reader, registry(), span, advance=advance)
        except NothingThereError as error:
            raise No(f"{path}: {error}. Name another --from or --to.") from None


def _write(out: Path, text: str) -> None:
    """All of it or nothing: a page that was broken off would look like a short one."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise No(f"{out}: {error.strerror}. No page was written.") from None


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """How far it is, for a person at a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console  # only a person pays for this import
    from rich.progress import Progress

    with ExitStack() as stack:
        bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        task = bar.add_task("entries", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=max(of, 1))
