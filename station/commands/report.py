"""`station report`: one HTML page of uptime, sessions, messages and faults."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path

import click

from journal.storage.atomic_file import write_atomically
from station.commands.shared.atomic_output import stdout_if_dash
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import journal_argument, no_entries, open_journal
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
    callback=stdout_if_dash,
    help="The page to write; an existing one is replaced. Without it, or -: stdout.",
)
def report_command(
    path: Path, since: datetime | None, until: datetime | None, out: Path | None
) -> None:
    """Write one HTML page about the operation of the station of JOURNAL.

    Timelines, uptime with its evidence, sessions, messages, faults and response times of the
    whole journal, or of a time range (UTC). The page needs no network and has no personal data.
    """
    period = time_span(since, until)
    if out is None and sys.stdout.isatty():
        raise click.UsageError("A page is not for a terminal. Give --out FILE.html.")
    facts = _collect_facts(path, period)
    text = render_page(facts)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_page(out, text)
        click.echo(f"{out}: {facts.describe_entries}, {len(text.encode()):,} bytes")
    if facts.problems_count:
        raise CommandFailed(f"{path}: damaged; the page shows where. Run `station verify`.")


def _collect_facts(path: Path, period: TimeRange) -> ReportData:
    with closing(open_journal(path)) as reader:
        if reader.read_head().seq == 0:
            raise no_entries(path)
        try:
            with entries_progress_bar() as advance:
                return collect_report_data(reader, event_registry(), period, on_progress=advance)
        except RangeEmptyError as error:
            raise CommandFailed(f"{path}: {error}. Give another --from or --to.") from None


def _write_page(out: Path, text: str) -> None:
    """Write the whole page or nothing: an incomplete page would look like a short one.

    A symbolic link to a file is replaced, and the file is not written to: another user may have
    made the link. A device or a pipe is written to, also through a link (`/dev/stdout`).
    """
    content = text.encode("utf-8")
    try:
        if out.exists() and not out.is_file():
            out.write_bytes(content)
        else:
            write_atomically(out, content)
    except OSError as error:
        raise CommandFailed(f"{out}: {error.strerror}. No page was written.") from None
