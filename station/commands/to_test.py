"""Can what happened in the field be had as a test, to be run again and again?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Final

import click

from journal.reader import Reader
from journal.terms import Decision, Entry, Observation
from station.commands.answers import Misused, No
from station.commands.journals import busy, journal_argument, opened, replayed
from station.commands.points import Point, point, stretch
from station.history.retelling import Differs
from station.history.to_test import Stretch, profile_of, redacted, source

ENTRIES_MAX: Final = 2_000  # more is no test that anybody reads


@click.command("to-test")
@journal_argument
@click.option(
    "--from", "since", metavar="SEQ|TIME", required=True, callback=point, help="Begin there."
)
@click.option("--to", metavar="SEQ|TIME", callback=point, help="End there; else with the journal.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A new file, test_….py; else standard output."
)
@click.option(
    "--profile",
    metavar="NAME|FILE",
    help="The product, if this release does not have the one that the journal names.",
)
def to_test_command(
    path: Path, since: Point, to: Point | None, out: Path | None, profile: str | None
) -> None:
    """Write a stretch of JOURNAL as a test: does this release decide as it was decided then?

    The file is Python for pytest and needs this program only. Persons, stations, places and keys
    are replaced by made-up names. It begins with the observation that entry --from belongs to, and
    ends with all that was decided for the observation of entry --to.
    """
    if out is not None and out.exists():
        raise Misused(f"{out}: is there already. Name a new file.")
    with closing(opened(path)) as reader, busy(f"reading {path}"):
        stretch = _stretch(path, reader, since, to, profile)
        told = redacted(stretch)
        differs, differs_told = stretch.difference(), told.difference()
    if _seq(differs) != _seq(differs_told):
        raise No(
            f"{path}: what is decided from entry {min(_seq(differs), _seq(differs_told))} on hangs "
            "on something that must not be told. End the stretch before it, or begin behind it."
        )
    text = source(told)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(out, text)
    click.echo(_verdict(out, told, differs_told), err=out is None)


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise No(f"{out}: {error.strerror}. No test was written.") from None


def _stretch(
    path: Path, reader: Reader, since: Point, to: Point | None, profile: str | None
) -> Stretch:
    """The complete commits from `since` to `to`, and the memory before them.

    Raises:
        No: there is no such stretch, or it is too long.
    """
    first, last = stretch(path, reader, since, to)
    first = _observation(path, reader, first)
    if last - first >= ENTRIES_MAX:
        raise No(
            f"{path}: {first} to {last} are more than {ENTRIES_MAX} entries. Take fewer of them."
        )
    entries = tuple(_commits(reader, first, last))
    for due, entry in enumerate(entries, first):
        if entry.seq != due:
            raise No(f"{path}: entry {due} is missing. Run `station verify` on it.")
    before = replayed(path, reader, reader.entries(1, first - 1))
    product = profile or profile_of(before, entries)
    if not product:
        raise No(f"{path}: entry {first} does not tell of what product it is. Name its --profile.")
    return Stretch(before, first - 1, product, entries)


def _observation(path: Path, reader: Reader, seq: int) -> int:
    """The observation that an entry belongs to."""
    try:
        first = reader.entry(seq).cause or seq
        whole = isinstance(reader.entry(first).event, Observation)
    except LookupError:
        whole = False
    if not whole:
        raise No(f"{path}: what entry {seq} was decided for is missing. Begin elsewhere.")
    return first


def _commits(reader: Reader, first: int, last: int) -> Iterator[Entry]:
    """The entries, with the rest of the last commit."""
    yield from reader.entries(first, last)
    yield from takewhile(lambda entry: isinstance(entry.event, Decision), reader.entries(last + 1))


def _seq(differs: Differs | None) -> float:
    return differs.seq if differs else float("inf")


def _verdict(out: Path | None, told: Stretch, differs: Differs | None) -> str:
    first, last = told.entries[0].seq, told.entries[-1].seq
    how = f"fails at entry {differs.seq}" if differs else "passes"
    where = f"{out}: " if out else ""
    return f"{where}entries {first} to {last}; with this release the test {how}."
