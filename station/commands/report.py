"""How did a station fare in a range of time, as a page to look at?"""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path

import click

from journal.storage.atomic_file import write_atomically
from station.commands.shared.exits import CommandFailed, UsageError
from station.commands.shared.journal_argument import journal_argument, open_journal
from station.commands.shared.time_range import (
    entries_progress_bar,
    since_option,
    time_span,
    until_option,
)
from station.history.export.export import TimeRange
from station.history.report.collect import RangeEmptyError, ReportData, collect_report_data
from station.history.report.page import render_page
from station.runtime.loop.startup import event_registry


@click.command("report")
@journal_argument
@since_option
@until_option
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
    wanted = time_span(since, until)
    if out is None and sys.stdout.isatty():
        raise UsageError("station report: a page is not for a terminal; name --out FILE.html.")
    facts = _collect_facts(path, wanted)
    text = render_page(facts)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_page(out, text)
        click.echo(f"{out}: {facts.describe_entries}, {len(text.encode()):,} bytes")
    if facts.problems_count:
        raise CommandFailed(f"{path}: not whole; the page says so. Run `station verify` on it.")


def _collect_facts(path: Path, period: TimeRange) -> ReportData:
    with closing(open_journal(path)) as reader:
        if reader.read_head().seq == 0:
            raise CommandFailed(f"{path}: no entries yet. Start the station, and there will be.")
        try:
            with entries_progress_bar() as advance:
                return collect_report_data(reader, event_registry(), period, on_progress=advance)
        except RangeEmptyError as error:
            raise CommandFailed(f"{path}: {error}. Name another --from or --to.") from None


def _write_page(out: Path, text: str) -> None:
    """All of it or nothing: a page that was broken off would look like a short one.

    What a link leads to is replaced, not the link; a device or a pipe is written to.
    """
    target = out.resolve()
    content = text.encode("utf-8")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)
        else:
            write_atomically(target, content)
    except OSError as error:
        raise CommandFailed(f"{out}: {error.strerror}. No page was written.") from None
