"""`station to-test`: write a range of a journal as a regression test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Final

import click

from journal.events import Decision, Entry, Observation
from journal.storage.reader import Reader
from station.commands.shared.atomic_output import stdout_if_dash
from station.commands.shared.exits import CommandFailed
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

ENTRIES_MAX: Final = 2_000  # a longer test is not readable


@click.command("to-test")
@journal_argument
@click.option(
    "--from",
    "since",
    metavar="SEQ|TIME",
    required=True,
    callback=parse_position,
    help="Begin with this entry, or at this time.",
)
@click.option(
    "--to",
    metavar="SEQ|TIME",
    callback=parse_position,
    help="End with this entry, or at this time. Default: the end of JOURNAL.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=stdout_if_dash,
    help="A new file, test_….py. Without it, or -: stdout.",
)
@click.option(
    "--profile",
    metavar="NAME|FILE",
    help="The product profile, if the one of the journal is not part of this release.",
)
def to_test_command(
    path: Path, since: Position, to: Position | None, out: Path | None, profile: str | None
) -> None:
    """Write a range of JOURNAL as a test that this release makes the same decisions.

    The file is Python for pytest and needs this program only. Persons, stations, places and keys
    are replaced by invented names. It begins with the observation that entry --from belongs to, and
    ends with the last decision for the observation of entry --to.
    """
    if out is not None and out.exists():
        raise click.UsageError(f"{out}: exists. Give a new file.")
    with closing(open_journal(path)) as reader, spinner(f"reading {path}"):
        excerpt = _load_range(path, reader, since, to, profile)
        redacted = redact_excerpt(excerpt)
        difference = excerpt.find_difference()
        redacted_difference = redacted.find_difference()
    seqs = (_difference_seq(difference), _difference_seq(redacted_difference))
    if seqs[0] != seqs[1]:
        raise CommandFailed(
            f"{path}: the decisions from entry {min(seqs)} on depend on a value that must be "
            "redacted. End the range before that entry, or begin after it."
        )
    text = render_test(redacted)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_test(out, text)
    click.echo(_result_line(out, redacted, redacted_difference), err=out is None)


def _write_test(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:  # a link without a target is not followed
            file.write(text)
    except OSError as error:
        raise CommandFailed(f"{out}: {error.strerror}. No test was written.") from None


def _load_range(
    path: Path, reader: Reader, since: Position, to: Position | None, profile: str | None
) -> Excerpt:
    """The complete commits from `since` to `to`, and the state before them.

    Raises:
        CommandFailed: there is no such range, or it is too long.
    """
    first, last = entry_range(path, reader, since, to)
    first = _observation_seq(path, reader, first)
    if last - first >= ENTRIES_MAX:
        raise CommandFailed(
            f"{path}: {first} to {last} are more than {ENTRIES_MAX} entries. Give a shorter range."
        )
    entries = tuple(_complete_commits(reader, first, last))
    for seq, entry in enumerate(entries, first):
        if entry.seq != seq:
            raise CommandFailed(f"{path}: entry {seq} is missing. Run `station verify`.")
    before = replay_state(path, reader, reader.iter_entries(1, first - 1))
    product = profile or find_profile(before, entries)
    if not product:
        raise CommandFailed(
            f"{path}: the product profile at entry {first} is not recorded. Give --profile."
        )
    return Excerpt(before, first - 1, product, entries)


def _observation_seq(path: Path, reader: Reader, seq: int) -> int:
    """The observation that an entry belongs to."""
    try:
        first = reader.read_entry(seq).cause or seq
        is_present = isinstance(reader.read_entry(first).event, Observation)
    except LookupError:
        is_present = False
    if not is_present:
        raise CommandFailed(
            f"{path}: the observation of entry {seq} is missing. Give another --from."
        )
    return first


def _complete_commits(reader: Reader, first: int, last: int) -> Iterator[Entry]:
    """The entries, then the rest of the last commit."""
    yield from reader.iter_entries(first, last)
    yield from takewhile(
        lambda entry: isinstance(entry.event, Decision), reader.iter_entries(last + 1)
    )


def _difference_seq(difference: DecisionDiffers | None) -> float:
    return difference.seq if difference else float("inf")


def _result_line(out: Path | None, excerpt: Excerpt, difference: DecisionDiffers | None) -> str:
    first, last = excerpt.entries[0].seq, excerpt.entries[-1].seq
    how = f"fails at entry {difference.seq}" if difference else "passes"
    where = f"{out}: " if out else ""
    return f"{where}entries {first} to {last}; with this release the test {how}."
