"""How does a command open the journal it is given?"""

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
from station.commands.shared.exits import CommandFailed, UsageError
from station.runtime.loop.startup import event_registry

JOURNAL_FILE: Final = "journal.db"
PROGRESS_INTERVAL_ENTRIES: Final = 1_000  # entries between two steps of a bar


def _resolve_argument(_: click.Context, __: click.Parameter, path: Path) -> Path:
    return find_journal(path)


journal_argument = click.argument(
    "path", metavar="JOURNAL", type=click.Path(path_type=Path), callback=_resolve_argument
)


def find_journal(path: Path) -> Path:
    """The journal's file, given itself or the data directory that holds it.

    Raises:
        Misused: there is none.
    """
    file = path / JOURNAL_FILE if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{file}: no such file. Name the journal, or the data directory it is in.")
    return file


def open_journal(path: Path) -> Reader:
    """The journal, for reading; it may be a live one or a copy.

    Raises:
        JournalFailed: it is no journal.
    """
    return Reader.open(path, event_registry())


def replay_state(
    path: Path,
    reader: Reader,
    entries: Iterable[Entry],
    state: State | None = None,
    first_seq: int = 1,
) -> State:
    """The state that follows from `state` and all `entries`, which begin with number `due`.

    Without a state they begin with the first entry.

    Raises:
        No: some are archived or missing, so that the state cannot be known.
        JournalFailed: one cannot be read.
    """
    archived, _ = reader.position_before_first()
    if archived:
        raise CommandFailed(
            f"{path}: entries 1 to {archived} are archived, and not at hand. The state follows "
            f"from them too: put their segments, {path.stem}.*.gz, beside it."
        )
    return apply_entries(
        state or State(journal_id=reader.journal_id), _require_contiguous(path, entries, first_seq)
    )


def _require_contiguous(path: Path, entries: Iterable[Entry], first_seq: int) -> Iterator[Entry]:
    for number, entry in enumerate(entries, first_seq):
        if entry.seq != number:
            raise CommandFailed(
                f"{path}: entry {number} is missing, so no state follows. Run `station verify`."
            )
        yield entry


def with_progress(entries: Iterable[Entry], advance: Callable[[int], None]) -> Iterator[Entry]:
    """The entries; `advance` hears now and then the number of one."""
    for entry in entries:
        if entry.seq % PROGRESS_INTERVAL_ENTRIES == 0:
            advance(entry.seq)
        yield entry


@contextmanager
def progress_bar(label: str, last_seq: int) -> Iterator[Callable[[int], None]]:
    """Show a person at a terminal how far it is: give it the numbers of entries up to `last`."""
    if not sys.stderr.isatty():
        yield lambda seq: None
        return
    from rich.console import Console  # only a person pays for this import
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=max(last_seq, 1))
        yield lambda seq: bar.update(task, completed=seq)


@contextmanager
def spinner(label: str) -> Iterator[None]:
    """Show a person that it goes on: a million entries take a while."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # only a person pays for this import

    with Console(stderr=True).status(label):
        yield
