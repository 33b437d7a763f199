"""`station archive`: move old, settled entries from the journal to compressed segments."""

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
from station.commands.shared.exits import CommandFailed
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
    help="Archive entries older than this.",
)
def archive_command(path: Path, days: int) -> None:
    """Move settled entries of JOURNAL to compressed segments beside it.

    Damaged journals that were set aside longer ago are removed.

    An entry is settled if it is older than every open transaction and every transaction with
    undelivered messages. A running station archives by itself, by the `retention` of its
    station.toml. All other commands read the segments as part of the journal.
    """
    try:
        with open_offline_writer(path) as writer:
            with spinner(f"replaying {path}"):
                state = writer.replay_state()
            age = timedelta(days=days)
            for quarantine in remove_older_quarantines(path, HostClock().utc() - age):
                click.echo(f"{quarantine}: removed")
            since = writer.station_time(state) - age
            limits = RetentionLimits.from_state(state, writer.store.head.seq, since)
            entries = 0
            with spinner(f"archiving {path}"):
                while moved := archive_oldest_entries(
                    writer.store, path, limits, only_if_worthwhile=False
                ):
                    entries += moved.entry_count
                    size = moved.segment.path.stat().st_size
                    click.echo(f"{moved.segment.path}: {moved.entry_count} entries in {size} bytes")
            writer.store.checkpoint()
    except JournalInUse as failure:
        raise click.UsageError(f"{failure} A running station archives by itself.") from failure
    if not entries:
        raise CommandFailed(
            f"{path}: no settled entry is older than {days} days, so nothing was archived."
        )
