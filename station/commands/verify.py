"""Is a journal still what the station wrote?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from journal.codec import Registry
from journal.reader import Head, JournalFailed, Reader
from journal.verify import Witness, verify, witness_of
from station.commands.answers import Misused
from station.commands.journals import busy, journal_argument


def _witness(_: click.Context, __: click.Parameter, text: str | None) -> Witness | None:
    if text is None:
        return None
    try:
        return witness_of(text)
    except ValueError as error:
        raise Misused(f"station verify --head: {error}.") from None


@click.command("verify")
@journal_argument
@click.option(
    "--head",
    "witness",
    metavar="SEQ:DIGEST",
    callback=_witness,
    help="An entry as somebody outside saw it: a cut tail shows in no chain.",
)
def verify_command(path: Path, witness: Witness | None) -> None:
    """Check that every entry of JOURNAL is there, in order and unchanged.

    JOURNAL is a journal.db or the directory it is in, live or a copy with its -wal beside it.
    Each complaint is one line on stderr; exit code 1 if there is one.
    """
    before = _extent(path)  # a live journal grows while it is read
    complaints = 0
    with busy(f"verifying {path}"):
        for complaint in verify(path, witness):
            click.echo(str(complaint), err=True)
            complaints += 1
    if complaints or before is None:
        raise click.exceptions.Exit(1)
    archived, head = before
    click.echo(
        f"{path}: whole. {head.seq - archived} entries, the last is {head.seq}:{head.digest.hex()}"
    )


def _extent(path: Path) -> tuple[int, Head] | None:
    """The number before the first entry, and the head; None where they cannot be read."""
    try:
        with closing(Reader.open(path, Registry(()))) as reader:
            return reader.anchor()[0], reader.head()
    except JournalFailed:
        return None  # `verify` says why, and where
