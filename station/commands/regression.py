"""Can what happened in the field be had as a test, to be run again and again?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Final

import click

from journal.events import Decision, Entry, Observation
from journal.storage.reader import Reader
from station.commands.shared.exits import CommandFailed, UsageError
from station.commands.shared.journal_argument import (
    journal_argument,
    open_journal,
    replay_state,
    spinner,
)
from station.commands.shared.positions import Position, entry_range, parse_position
from station.history.regression.case_writer import (
    Excerpt,
    find_profile,
    redact_excerpt,
    render_test,
)
from station.history.regression.replayed_case import DecisionDiffers

ENTRIES_MAX: Final = 2_000  # more is no test that anybody reads


@click.command("to-test")
@journal_argument
@click.option(
    "--from",
    "since",
    metavar="SEQ|TIME",
    required=True,
    callback=parse_position,
    help="Begin there.",
)
@click.option(
    "--to", metavar="SEQ|TIME", callback=parse_position, help="End there; else with the journal."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A new file, test_….py; else standard output."
)
@click.option(
    "--profile",
    metavar="NAME|FILE",
    help="The product, if this release does not have the one that the journal names.",
)
def to_test_command(
    path: Path, since: Position, to: Position | None, out: Path | None, profile: str | None
) -> None:
    """Write a stretch of JOURNAL as a test: does this release decide as it was decided then?

    The file is Python for pytest and needs this program only. Persons, stations, places and keys
    are replaced by made-up names. It begins with the observation that entry --from belongs to, and
    ends with all that was decided for the observation of entry --to.
    """
    if out is not None and out.exists():
        raise UsageError(f"{out}: is there already. Name a new file.")
    with closing(open_journal(path)) as reader, spinner(f"reading {path}"):
        stretch = _load_range(path, reader, since, to, profile)
        told = redact_excerpt(stretch)
        differs, differs_told = stretch.find_difference(), told.find_difference()
    if _difference_seq(differs) != _difference_seq(differs_told):
        raise CommandFailed(
            f"{path}: what is decided from entry {min(_difference_seq(differs), _difference_seq(differs_told))} on hangs "
            "on something that must not be told. End the stretch before it, or begin behind it."
        )
    text = render_test(told)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_test(out, text)
    click.echo(_result_line(out, told, differs_told), err=out is None)


def _write_test(out: Path, text: str) -> None:
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{out}: {error.strerror}. No test was written.") from None


def _load_range(
    path: Path, reader: Reader, since: Position, to: Position | None, profile: str | None
) -> Excerpt:
    """The complete commits from `since` to `to`, and the memory before them.

    Raises:
        No: there is no such stretch, or it is too long.
    """
    first, last = entry_range(path, reader, since, to)
    first = _observation_seq(path, reader, first)
    if last - first >= ENTRIES_MAX:
        raise CommandFailed(
            f"{path}: {first} to {last} are more than {ENTRIES_MAX} entries. Take fewer of them."
        )
    entries = tuple(_complete_commits(reader, first, last))
    for due, entry in enumerate(entries, first):
        if entry.seq != due:
            raise CommandFailed(f"{path}: entry {due} is missing. Run `station verify` on it.")
    before = replay_state(path, reader, reader.iter_entries(1, first - 1))
    product = profile or find_profile(before, entries)
    if not product:
        raise CommandFailed(
            f"{path}: entry {first} does not tell of what product it is. Name its --profile."
        )
    return Excerpt(before, first - 1, product, entries)


def _observation_seq(path: Path, reader: Reader, seq: int) -> int:
    """The observation that an entry belongs to."""
    try:
        first = reader.read_entry(seq).cause or seq
        whole = isinstance(reader.read_entry(first).event, Observation)
    except LookupError:
        whole = False
    if not whole:
        raise CommandFailed(
            f"{path}: what entry {seq} was decided for is missing. Begin elsewhere."
        )
    return first


def _complete_commits(reader: Reader, first: int, last: int) -> Iterator[Entry]:
    """The entries, with the rest of the last commit."""
    yield from reader.iter_entries(first, last)
    yield from takewhile(
        lambda entry: isinstance(entry.event, Decision), reader.iter_entries(last + 1)
    )


def _difference_seq(differs: DecisionDiffers | None) -> float:
    return differs.seq if differs else float("inf")


def _result_line(out: Path | None, redacted_range: Excerpt, differs: DecisionDiffers | None) -> str:
    first, last = redacted_range.entries[0].seq, redacted_range.entries[-1].seq
    how = f"fails at entry {differs.seq}" if differs else "passes"
    where = f"{out}: " if out else ""
    return f"{where}entries {first} to {last}; with this release the test {how}."
