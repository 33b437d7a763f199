"""What is so old that it may leave the journal's file?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from journal.maintenance.retention import (
    RetentionLimits,
    archive_oldest_entries,
    remove_older_quarantines,
)
from journal.storage.errors import JournalInUse
from station.commands.shared.exits import CommandFailed, UsageError
from station.commands.shared.journal_argument import journal_argument, spinner
from station.commands.shared.offline_writer import open_offline_writer
from station.runtime.clock import HostClock

RETENTION_DAYS: Final = 90  # as `[journal] retention` of station.toml


@click.command("archive")
@journal_argument
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    default=RETENTION_DAYS,
    show_default=True,
    help="Whatever is older may go.",
)
def archive_command(path: Path, days: int) -> None:
    """Move settled entries of JOURNAL to compressed segments beside it.

    Damaged journals that were set aside longer ago are removed.

    Settled is what lies before every open transaction and every transaction whose messages still
    wait. A running station does this by itself, with the `retention` of its station.toml.
    All other commands read the segments as if nothing had been moved.
    """
    try:
        with open_offline_writer(path) as pen:
            with spinner(f"replaying {path}"):
                state = pen.replay_state()
            age = timedelta(days=days)
            for aside in remove_older_quarantines(path, HostClock().utc() - age):
                click.echo(f"{aside}: removed")
            since = pen.station_time(state) - age
            limits = RetentionLimits.from_state(state, pen.store.head.seq, since)
            entries = 0
            with spinner(f"archiving {path}"):
                while moved := archive_oldest_entries(
                    pen.store, path, limits, only_if_worthwhile=False
                ):
                    entries += moved.entry_count
                    size = moved.segment.path.stat().st_size
                    click.echo(f"{moved.segment.path}: {moved.entry_count} entries in {size} bytes")
            pen.store.checkpoint()
    except JournalInUse as failure:
        raise UsageError(
            f"{failure} A running station archives by itself what is older than its retention."
        ) from failure
    if not entries:
        raise CommandFailed(
            f"{path}: nothing settled is older than {days} days, so all of it stays."
        )
