"""Why did it stop, why was the card refused, why was this sent twice?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from journal.reader import Damage, JournalFailed, Reader
from journal.terms import Entry
from station.commands.answers import No
from station.commands.journals import counted, journal_argument, opened, watched
from station.history.accounts import (
    Account,
    History,
    Told,
    account_of_entry,
    account_of_transaction,
    is_upheaval,
)
from station.history.causes import Causes, causes_of
from station.transcript import line, named

NAMED_MAX: Final = 5  # transactions that are told when several are meant

Word = Callable[[str], str]  # how a text is told: with the values of its references, or without


@click.command("why")
@journal_argument
@click.argument("what", metavar="TRANSACTION|SEQ")
@click.option("--values", is_flag=True, help="Show idTokens and not their references.")
def why_command(path: Path, what: str, values: bool) -> None:
    """Tell the chain of causes behind an entry, or behind a transaction.

    A number is an entry's, if there is such an entry; anything else is a transactionId or the
    beginning of one. Each line ends in the entries it follows from and the requirement that
    decided it, where the journal tells which.
    """
    damages: list[Damage] = []
    upheavals: list[int] = []
    with closing(opened(path)) as reader:
        with counted("reading", reader.head().seq) as advance:
            first, _ = reader.anchor()
            read = watched(reader.entries(damaged=damages.append), advance)
            causes = causes_of(_noted(_gaps_told(read, first + 1, damages), upheavals))
        if not causes.heard:
            raise No(f"{path}: no entries yet. Start the station, and there will be.")
        account = _account(path, reader, causes, upheavals, what)
        _tell(account, lambda text: named(text, reader.value_of) if values else text)
    if damages:
        told = f"{len(damages)} entries cannot be read, the first is {damages[0].seq}"
        raise No(f"{path}: {told}. Run `station verify` on it.")


def _gaps_told(entries: Iterator[Entry], due: int, damages: list[Damage]) -> Iterator[Entry]:
    """The entries; a number that nothing stands for counts among the damages."""
    for entry in entries:
        if entry.seq > due:
            told = {damage.seq for damage in damages}
            damages += [Damage(one, "missing") for one in range(due, entry.seq) if one not in told]
        due = entry.seq + 1
        yield entry


def _noted(entries: Iterable[Entry], upheavals: list[int]) -> Iterator[Entry]:
    """The entries; those that befall whatever is going on are noted on the way."""
    for entry in entries:
        if is_upheaval(entry.event):
            upheavals.append(entry.seq)
        yield entry


def _account(
    path: Path, reader: Reader, causes: Causes, upheavals: list[int], what: str
) -> Account:
    history = History(causes, lambda seq: _entry(reader, seq))
    archived, _ = reader.anchor()
    digits = what.isascii() and what.isdigit()
    if digits and archived < int(what) <= causes.heard:
        return account_of_entry(history, int(what))
    found = [name for name in causes.transactions if what and name.startswith(what.lower())]
    if digits and not found:
        raise No(f"{path}: entry {what} is not there; it has {archived + 1} to {causes.heard}.")
    return account_of_transaction(history, _only(path, what, found), upheavals)


def _entry(reader: Reader, seq: int) -> Entry | None:
    """An entry, as far as it can be read."""
    try:
        return reader.entry(seq)
    except (LookupError, JournalFailed):
        return None  # the chain shows where it would stand


def _only(path: Path, what: str, found: list[str]) -> str:
    """The one transaction that can be meant."""
    if not found:
        raise No(f"{path}: no transaction is called {what!r}. `station replay` names them.")
    if len(found) > 1:
        some = ", ".join(found[:NAMED_MAX])
        raise No(f"{path}: {len(found)} transactions begin with {what!r}: {some}. Give more of it.")
    return found[0]


def _tell(account: Account, word: Word) -> None:
    click.secho(word(account.heading), bold=True)
    for answer in account.answers:
        click.echo(word(answer))
    for section in account.sections:
        click.secho(f"\n{section.title}", bold=True)
        day = None
        for told in section.entries:
            if told.entry and told.entry.at.date() != day:
                day = told.entry.at.date()
                click.echo(f"  {day:%Y-%m-%d} UTC")
            click.secho(word(_line(told)), bold=told.asked)
        for text in section.lines:
            click.echo(f"  {word(text)}")


def _line(told: Told) -> str:
    """A line of the transcript, then what it follows from and the requirement."""
    mark = "*" if told.asked else " "
    if told.entry is None:
        return f"{mark} {told.seq:>20} ! archived, missing or unreadable"
    return f"{mark} {line(told.entry)}{''.join(_links(told))}"


def _links(told: Told) -> Iterator[str]:
    if told.behind:
        yield f" <- {', '.join(map(str, told.behind))}"
    if told.reason and told.reason.requirement:
        yield f" [{told.reason.requirement}]"
