"""How does a new release start as fast as the one it takes the place of?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from journal.events import Entry
from journal.state import State, apply_entries
from journal.storage.reader import Reader
from journal.storage.snapshots import Snapshot
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import journal_argument, open_journal, progress_bar
from station.runtime.loop.startup import open_snapshots

NICENESS: Final = 19  # a station charges somebody on the same processor


@click.command("prepare")
@journal_argument
def prepare_command(path: Path) -> None:
    """Replay JOURNAL with this release, so that its next start with it need not.

    For an update, while the release before still runs: a snapshot is laid beside its own.
    """
    os.nice(NICENESS)
    snapshots = open_snapshots(path.parent)
    with open_journal(path) as reader:
        if isinstance(snapshots.load(reader.digest_at), Snapshot):
            click.echo(f"{path}: this release has a snapshot already.")
            return
        head = reader.read_head()
        state = apply_entries(State(reader.journal_id), _read_contiguous(path, reader, head.seq))
    snapshots.save_for_next_start(head.seq, head.digest, state)
    click.echo(f"{path}: this release starts from entry {head.seq}.")


def _read_contiguous(path: Path, reader: Reader, last: int) -> Iterator[Entry]:
    """Every entry up to `last`; what is missing, a start must find for itself, and tell."""
    due = 1
    with progress_bar(f"replaying {path}", last) as show:
        for entry in reader.iter_entries(1, last):
            if entry.seq != due:
                break
            due += 1
            show(entry.seq)
            yield entry
    if due <= last:
        raise CommandFailed(
            f"{path}: entry {due} is missing, so the start has to replay. Run `station verify`."
        )
