"""`station prepare`: write a snapshot for a new release, so that its first start is fast."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from journal.events import Entry
from journal.state import State, apply_entries
from journal.storage.reader import Reader
from journal.storage.snapshots import PartialSnapshot, Snapshot, SnapshotIgnored
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import journal_argument, open_journal, progress_bar
from station.config.data_directory import restrict_new_files
from station.runtime.loop.state_snapshot import complete_snapshot, open_snapshots

NICENESS: Final = 19  # a running station has the same processor


@click.command("prepare")
@journal_argument
def prepare_command(path: Path) -> None:
    """Replay JOURNAL with this release and save a snapshot for its first start.

    For an update, while the previous release still runs; its own snapshot remains.
    """
    os.nice(NICENESS)
    restrict_new_files()
    snapshots = open_snapshots(path.parent)
    with open_journal(path) as reader:
        snapshot = snapshots.load(reader.digest_at)
        if isinstance(snapshot, Snapshot):
            click.echo(f"{path}: this release already has a snapshot.")
            return
        head = reader.read_head()
        if isinstance(snapshot, PartialSnapshot):
            snapshot = complete_snapshot(reader, snapshot)
        if isinstance(snapshot, SnapshotIgnored):
            snapshot = Snapshot(0, State(reader.journal_id))
        entries = _read_contiguous(path, reader, snapshot.seq + 1, head.seq)
        state = apply_entries(snapshot.state, entries)
    snapshots.save_for_next_start(head.seq, head.digest, state)
    click.echo(f"{path}: snapshot written; this release starts from entry {head.seq}.")


def _read_contiguous(path: Path, reader: Reader, first: int, last: int) -> Iterator[Entry]:
    """Entries `first` to `last`. If one is missing there is no snapshot: the start must find it."""
    next_seq = first
    with progress_bar(f"replaying {path}", last) as advance:
        for entry in reader.iter_entries(first, last):
            if entry.seq != next_seq:
                break
            next_seq += 1
            advance(entry.seq)
            yield entry
    if next_seq <= last:
        raise CommandFailed(
            f"{path}: entry {next_seq} is missing. No snapshot was written. Run `station verify`."
        )
