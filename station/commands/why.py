"""`station why`: print the chain of causes of an entry or of a transaction."""

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
    no_entries,
    open_journal,
    progress_bar,
    with_progress,
)
from station.history.explain.causes import CausalGraph, build_causal_graph
from station.history.explain.explanation import (
    Explanation,
    History,
    explain_entry,
    explain_transaction,
    is_disruption,
)
from station.history.explain.lines import format_section
from station.transcript.lines import reveal_id_tokens
from station.transcript.phrases import escape_control_characters

LISTED_TRANSACTIONS_MAX: Final = 5  # listed if a prefix matches several

TextFormatter = Callable[[str], str]  # replaces references by their values, or leaves them


@click.command("why")
@journal_argument
@click.argument("what", metavar="TRANSACTION|SEQ")
@click.option("--values", is_flag=True, help="Show idTokens instead of their references.")
def why_command(path: Path, what: str, values: bool) -> None:
    """Print the chain of causes of an entry, or of a transaction.

    A number is an entry number if there is such an entry; anything else is a transactionId or a
    prefix of one. Each line ends with the entries it follows from and the requirement that
    decided it, if the journal shows which.
    """
    damages: list[EntryDamage] = []
    disruptions: list[int] = []
    with closing(open_journal(path)) as reader:
        with progress_bar("reading", reader.read_head().seq) as advance:
            first, _ = reader.position_before_first()
            entries = with_progress(reader.iter_entries(on_damage=damages.append), advance)
            causes = build_causal_graph(
                _collect_disruptions(_record_gaps(entries, first + 1, damages), disruptions)
            )
        if not causes.last_seq:
            raise no_entries(path)
        explanation = _explain_target(path, reader, causes, disruptions, what)
        _print_explanation(
            explanation, lambda text: reveal_id_tokens(text, reader.value_of) if values else text
        )
    if damages:
        raise CommandFailed(
            f"{path}: {len(damages)} entries are missing or unreadable, the first is "
            f"{damages[0].seq}. Run `station verify`."
        )


def _record_gaps(
    entries: Iterator[Entry], next_seq: int, damages: list[EntryDamage]
) -> Iterator[Entry]:
    """The entries; each missing number is added to the damages."""
    for entry in entries:
        if entry.seq > next_seq:
            known = {damage.seq for damage in damages}
            damages += [
                EntryDamage(seq, "missing")
                for seq in range(next_seq, entry.seq)
                if seq not in known
            ]
        next_seq = entry.seq + 1
        yield entry


def _collect_disruptions(entries: Iterable[Entry], disruptions: list[int]) -> Iterator[Entry]:
    """The entries; numbers of those that disturb every open transaction are collected."""
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
    matches = [
        name for name in causes.entries_by_transaction if target and name.startswith(target.lower())
    ]
    if digits and not matches:
        raise CommandFailed(
            f"{path}: no entry {target}; the journal has entries {archived + 1} to "
            f"{causes.last_seq}."
        )
    return explain_transaction(history, _single_transaction(path, target, matches), disruptions)


def _read_entry(reader: Reader, seq: int) -> Entry | None:
    """An entry; None if it cannot be read."""
    try:
        return reader.read_entry(seq)
    except (LookupError, JournalFailed):
        return None  # the chain has a line for it all the same


def _single_transaction(path: Path, target: str, matches: list[str]) -> str:
    """The only match."""
    if not matches:
        raise CommandFailed(
            f"{path}: no transaction {target!r}. `station replay` lists transactionIds."
        )
    if len(matches) > 1:
        names = ", ".join(matches[:LISTED_TRANSACTIONS_MAX])
        raise CommandFailed(
            f"{path}: {len(matches)} transactions begin with {target!r}: {names}. Give more of it."
        )
    return matches[0]


def _print_explanation(explanation: Explanation, format_text: TextFormatter) -> None:
    click.secho(format_text(explanation.heading), bold=True)
    for answer in explanation.answers:
        click.echo(escape_control_characters(format_text(answer)))
    for section in explanation.sections:
        click.secho(f"\n{section.title}", bold=True)
        for chain_entry, line in format_section(section):
            is_subject = chain_entry is not None and chain_entry.is_subject
            click.secho(escape_control_characters(format_text(line)), bold=is_subject)
