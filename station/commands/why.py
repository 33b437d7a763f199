"""Why did it stop, why was the card refused, why was this sent twice?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from journal.events import Entry
from journal.storage.errors import JournalFailed
from journal.storage.reader import EntryDamage, Reader
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import (
    journal_argument,
    open_journal,
    progress_bar,
    with_progress,
)
from station.history.explain.causes import CausalGraph, build_causal_graph
from station.history.explain.explanation import (
    ChainEntry,
    Explanation,
    History,
    explain_entry,
    explain_transaction,
    is_disruption,
)
from station.transcript.lines import format_entry, reveal_id_tokens

LISTED_TRANSACTIONS_MAX: Final = 5  # transactions that are told when several are meant

TextFormatter = Callable[
    [str], str
]  # how a text is told: with the values of its references, or without


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
    damages: list[EntryDamage] = []
    upheavals: list[int] = []
    with closing(open_journal(path)) as reader:
        with progress_bar("reading", reader.read_head().seq) as advance:
            first, _ = reader.position_before_first()
            read = with_progress(reader.iter_entries(on_damage=damages.append), advance)
            causes = build_causal_graph(
                _collect_disruptions(_record_gaps(read, first + 1, damages), upheavals)
            )
        if not causes.last_seq:
            raise CommandFailed(f"{path}: no entries yet. Start the station, and there will be.")
        account = _explain_target(path, reader, causes, upheavals, what)
        _print_explanation(
            account, lambda text: reveal_id_tokens(text, reader.value_of) if values else text
        )
    if damages:
        told = f"{len(damages)} entries cannot be read, the first is {damages[0].seq}"
        raise CommandFailed(f"{path}: {told}. Run `station verify` on it.")


def _record_gaps(
    entries: Iterator[Entry], next_seq: int, damages: list[EntryDamage]
) -> Iterator[Entry]:
    """The entries; a number that nothing stands for counts among the damages."""
    for entry in entries:
        if entry.seq > next_seq:
            told = {damage.seq for damage in damages}
            damages += [
                EntryDamage(one, "missing") for one in range(next_seq, entry.seq) if one not in told
            ]
        next_seq = entry.seq + 1
        yield entry


def _collect_disruptions(entries: Iterable[Entry], disruptions: list[int]) -> Iterator[Entry]:
    """The entries; those that befall whatever is going on are noted on the way."""
    for entry in entries:
        if is_disruption(entry.event):
            disruptions.append(entry.seq)
        yield entry


def _explain_target(
    path: Path, reader: Reader, causes: CausalGraph, disruptions: list[int], target: str
) -> Explanation:
    history = History(causes, lambda seq: _read_entry(reader, seq))
    archived, _ = reader.position_before_first()
    digits = target.isascii() and target.isdigit()
    if digits and archived < int(target) <= causes.last_seq:
        return explain_entry(history, int(target))
    found = [
        name for name in causes.entries_by_transaction if target and name.startswith(target.lower())
    ]
    if digits and not found:
        raise CommandFailed(
            f"{path}: entry {target} is not there; it has {archived + 1} to {causes.last_seq}."
        )
    return explain_transaction(history, _single_transaction(path, target, found), disruptions)


def _read_entry(reader: Reader, seq: int) -> Entry | None:
    """An entry, as far as it can be read."""
    try:
        return reader.read_entry(seq)
    except (LookupError, JournalFailed):
        return None  # the chain shows where it would stand


def _single_transaction(path: Path, target: str, matches: list[str]) -> str:
    """The one transaction that can be meant."""
    if not matches:
        raise CommandFailed(
            f"{path}: no transaction is called {target!r}. `station replay` names them."
        )
    if len(matches) > 1:
        some = ", ".join(matches[:LISTED_TRANSACTIONS_MAX])
        raise CommandFailed(
            f"{path}: {len(matches)} transactions begin with {target!r}: {some}. Give more of it."
        )
    return matches[0]


def _print_explanation(explanation: Explanation, format_text: TextFormatter) -> None:
    click.secho(format_text(explanation.heading), bold=True)
    for answer in explanation.answers:
        click.echo(format_text(answer))
    for section in explanation.sections:
        click.secho(f"\n{section.title}", bold=True)
        day = None
        for told in section.entries:
            if told.entry and told.entry.at.date() != day:
                day = told.entry.at.date()
                click.echo(f"  {day:%Y-%m-%d} UTC")
            click.secho(format_text(_chain_entry_line(told)), bold=told.is_subject)
        for text in section.lines:
            click.echo(f"  {format_text(text)}")


def _chain_entry_line(chain_entry: ChainEntry) -> str:
    """A line of the transcript, then what it follows from and the requirement."""
    mark = "*" if chain_entry.is_subject else " "
    if chain_entry.entry is None:
        return f"{mark} {chain_entry.seq:>20} ! archived, missing or unreadable"
    return f"{mark} {format_entry(chain_entry.entry)}{''.join(_cause_suffixes(chain_entry))}"


def _cause_suffixes(chain_entry: ChainEntry) -> Iterator[str]:
    if chain_entry.direct_causes:
        yield f" <- {', '.join(map(str, chain_entry.direct_causes))}"
    if chain_entry.reason and chain_entry.reason.requirement:
        yield f" [{chain_entry.reason.requirement}]"
