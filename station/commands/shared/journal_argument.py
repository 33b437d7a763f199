"""The argument JOURNAL, and how commands read a journal: open, replay, show progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from journal.events import Entry
from journal.state import State, apply_entries
from journal.storage.reader import Reader
from station.commands.shared.exits import CommandFailed
from station.runtime.loop.startup import event_registry

JOURNAL_FILE: Final = "journal.db"
PROGRESS_INTERVAL_ENTRIES: Final = 1_000  # entries between two steps of a progress bar


def _resolve_argument(_: click.Context, __: click.Parameter, path: Path) -> Path:
    return find_journal(path)


journal_argument = click.argument(
    "path", metavar="JOURNAL", type=click.Path(path_type=Path), callback=_resolve_argument
)


def find_journal(path: Path) -> Path:
    """The journal file, given its path or the data directory that contains it.

    Raises:
        click.UsageError: there is none.
    """
    file = path / JOURNAL_FILE if path.is_dir() else path
    if not file.is_file():
        raise click.UsageError(f"{file}: no such file. Give a journal.db or its data directory.")
    return file


def open_journal(path: Path) -> Reader:
    """The journal, for reading; it may be in use by a station, or a copy.

    Raises:
        JournalFailed: the file is not a journal.
    """
    return Reader.open(path, event_registry())


def no_entries(path: Path) -> CommandFailed:
    """The error of a journal without entries."""
    return CommandFailed(f"{path}: no entries yet. Start the station first.")


def replay_state(
    path: Path,
    reader: Reader,
    entries: Iterable[Entry],
    state: State | None = None,
    first_seq: int = 1,
) -> State:
    """The state that follows from `state` and all `entries`, the first of which is `first_seq`.

    Without `state`, the entries begin with the first of the journal.

    Raises:
        CommandFailed: entries are archived elsewhere or missing, so there is no state.
        JournalFailed: an entry cannot be read.
    """
    archived, _ = reader.position_before_first()
    if archived:
        raise CommandFailed(
            f"{path}: entries 1 to {archived} are archived and their segments are absent, so the "
            f"state is unknown. Put the segments, {path.stem}.*.gz, into the same directory."
        )
    return apply_entries(
        state or State(journal_id=reader.journal_id), _require_contiguous(path, entries, first_seq)
    )


def _require_contiguous(path: Path, entries: Iterable[Entry], first_seq: int) -> Iterator[Entry]:
    for seq, entry in enumerate(entries, first_seq):
        if entry.seq != seq:
            raise CommandFailed(
                f"{path}: entry {seq} is missing, so the state is unknown. Run `station verify`."
            )
        yield entry


def with_progress(entries: Iterable[Entry], advance: Callable[[int], None]) -> Iterator[Entry]:
    """The entries; `advance` receives the number of every thousandth."""
    for entry in entries:
        if entry.seq % PROGRESS_INTERVAL_ENTRIES == 0:
            advance(entry.seq)
        yield entry


@contextmanager
def progress_bar(label: str, last_seq: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; the function it gives takes entry numbers up to `last_seq`."""
    if not sys.stderr.isatty():
        yield lambda seq: None
        return
    from rich.console import Console  # imported on a terminal only: it is slow
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=max(last_seq, 1))
        yield lambda seq: bar.update(task, completed=seq)


@contextmanager
def spinner(label: str) -> Iterator[None]:
    """A spinner on a terminal, for work of unknown length: a million entries take a while."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # imported on a terminal only: it is slow

    with Console(stderr=True).status(label):
        yield
