"""What is so old that it may leave the journal's file?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from journal.retention import Limits, archive, without_older
from journal.store import JournalInUse
from station.commands.answers import Misused, No
from station.commands.journals import busy, journal_argument
from station.commands.pen import writing
from station.runtime.clock import HostClock

DAYS: Final = 90  # as `[journal] retention` of station.toml


@click.command("archive")
@journal_argument
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    default=DAYS,
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
        with writing(path) as pen:
            with busy(f"replaying {path}"):
                state = pen.remembered()
            age = timedelta(days=days)
            for aside in without_older(path, HostClock().utc() - age):
                click.echo(f"{aside}: removed")
            since = pen.now(state) - age
            limits = Limits.of(state, pen.store.head.seq, since)
            entries = 0
            with busy(f"archiving {path}"):
                while moved := archive(pen.store, path, limits, worth=False):
                    entries += moved.entries
                    size = moved.segment.path.stat().st_size
                    click.echo(f"{moved.segment.path}: {moved.entries} entries in {size} bytes")
            pen.store.checkpoint()
    except JournalInUse as failure:
        raise Misused(
            f"{failure} A running station archives by itself what is older than its retention."
        ) from failure
    if not entries:
        raise No(f"{path}: nothing settled is older than {days} days, so all of it stays.")
