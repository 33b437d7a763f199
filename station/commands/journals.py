"""How does a command open the journal it is given?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from journal.reader import Reader
from journal.state import State, folded
from journal.terms import Entry
from station.commands.answers import Misused, No
from station.runtime.memory import registry

FILE: Final = "journal.db"
ADVANCE_EVERY: Final = 1_000  # entries between two steps of a bar


def _found(_: click.Context, __: click.Parameter, path: Path) -> Path:
    return found(path)


journal_argument = click.argument(
    "path", metavar="JOURNAL", type=click.Path(path_type=Path), callback=_found
)


def found(path: Path) -> Path:
    """The journal's file, given itself or the data directory that holds it.

    Raises:
        Misused: there is none.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise Misused(f"{file}: no such file. Name the journal, or the data directory it is in.")
    return file


def opened(path: Path) -> Reader:
    """The journal, for reading; it may be a live one or a copy.

    Raises:
        JournalFailed: it is no journal.
    """
    return Reader.open(path, registry())


def replayed(
    path: Path,
    reader: Reader,
    entries: Iterable[Entry],
    state: State | None = None,
    due: int = 1,
) -> State:
    """The state that follows from `state` and all `entries`, which begin with number `due`.

    Without a state they begin with the first entry.

    Raises:
        No: some are archived or missing, so that the state cannot be known.
        JournalFailed: one cannot be read.
    """
    archived, _ = reader.anchor()
    if archived:
        raise No(
            f"{path}: entries 1 to {archived} are archived, and not at hand. The state follows "
            f"from them too: put their segments, {path.stem}.*.gz, beside it."
        )
    return folded(state or State(journal_id=reader.journal_id), _gapless(path, entries, due))


def _gapless(path: Path, entries: Iterable[Entry], due: int) -> Iterator[Entry]:
    for number, entry in enumerate(entries, due):
        if entry.seq != number:
            raise No(
                f"{path}: entry {number} is missing, so no state follows. Run `station verify`."
            )
        yield entry


def watched(entries: Iterable[Entry], advance: Callable[[int], None]) -> Iterator[Entry]:
    """The entries; `advance` hears now and then the number of one."""
    for entry in entries:
        if entry.seq % ADVANCE_EVERY == 0:
            advance(entry.seq)
        yield entry


@contextmanager
def counted(what: str, last: int) -> Iterator[Callable[[int], None]]:
    """Show a person at a terminal how far it is: give it the numbers of entries up to `last`."""
    if not sys.stderr.isatty():
        yield lambda seq: None
        return
    from rich.console import Console  # only a person pays for this import
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=max(last, 1))
        yield lambda seq: bar.update(task, completed=seq)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show a person that it goes on: a million entries take a while."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # only a person pays for this import

    with Console(stderr=True).status(what):
        yield
