"""`station replay`: print the journal as a transcript, or the state at a point as JSON."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import click
import msgspec

from journal.events import Entry
from journal.state import digest_state, encode_state
from journal.storage.reader import EntryDamage, Reader
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import (
    journal_argument,
    open_journal,
    progress_bar,
    replay_state,
    with_progress,
)
from station.commands.shared.positions import (
    Position,
    entry_range,
    first_entry_at,
    last_entry_at,
    parse_position,
)
from station.history.filter import EntryFilter, FilterCriteria
from station.history.subjects import BLOCKS
from station.runtime.loop.startup import event_registry
from station.transcript.lines import describe_event, format_entry, reveal_id_tokens
from station.transcript.phrases import escape_control_characters, escape_json_text

POLL_INTERVAL_S: Final = 0.2  # of --follow

# The color of each actor on a terminal.
ACTOR_STYLES: Final = {
    "EV driver": "bold cyan",
    "operator": "bold cyan",
    "EV": "cyan",
    "device": "yellow",
    "CSMS": "magenta",
    "link": "blue",
    "clock": "dim",
    "station": "green",
}


def _parse_blocks(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> frozenset[str]:
    """Blocks of OCPP, in capital letters."""
    for name in names:
        if name.upper() not in set(BLOCKS):
            raise click.UsageError(f"--block: OCPP has blocks A to P, not {name!r}.")
    return frozenset(name.upper() for name in names)


def _parse_transactions(
    _: click.Context, __: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Prefixes of transactionIds, in lower case."""
    if "" in names:
        raise click.UsageError("--transaction: empty, and would match every transaction.")
    return tuple(name.casefold() for name in names)


def _parse_kinds(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> frozenset[str]:
    """Event kinds, typed in any case."""
    kinds = {kind.casefold(): kind for kind in event_registry().kinds}
    for name in names:
        if name.casefold() not in kinds:
            near = get_close_matches(name.casefold(), kinds, n=1)
            hint = f" Did you mean {kinds[near[0]]}?" if near else ""
            raise click.UsageError(
                f"--kind: no event kind {name!r}.{hint} `station replay --kinds` lists them."
            )
    return frozenset(kinds[name.casefold()] for name in names)


def _print_kinds(ctx: click.Context, __: click.Parameter, requested: bool) -> None:
    """Print every event kind with the first sentence of its docstring."""
    if not requested:
        return
    types = event_registry().kinds
    for name in sorted(types):
        summary, _, _ = (inspect.getdoc(types[name]) or "").partition("\n\n")
        click.echo(f"{name:<32} {' '.join(summary.split())}")
    ctx.exit()


@click.command("replay")
@journal_argument
@click.option(
    "--from",
    "since",
    metavar="SEQ|TIME",
    callback=parse_position,
    help="Begin with this entry, or at this time.",
)
@click.option(
    "--to",
    metavar="SEQ|TIME",
    callback=parse_position,
    help="End with this entry, or at this time.",
)
@click.option(
    "--evse",
    "evses",
    metavar="N",
    type=click.IntRange(min=1),
    multiple=True,
    help="Only entries of this EVSE.",
)
@click.option(
    "--transaction",
    "transactions",
    metavar="ID",
    multiple=True,
    callback=_parse_transactions,
    help="Only entries of this transaction: its transactionId or a prefix of it.",
)
@click.option(
    "--block",
    "blocks",
    metavar="A..P",
    multiple=True,
    callback=_parse_blocks,
    help="Only messages of this OCPP block, and what followed from them.",
)
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    callback=_parse_kinds,
    help="Only entries of this kind, for example CallQueued.",
)
@click.option(
    "--kinds",
    "list_kinds",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_kinds,
    help="List the event kinds and exit; no JOURNAL is needed.",
)
@click.option("--state", "as_state", is_flag=True, help="Print the state at --to, as JSON.")
@click.option("--follow", is_flag=True, help="Wait for new entries, until Ctrl-C.")
@click.option("--values", is_flag=True, help="Show idTokens instead of their references.")
def replay_command(
    path: Path,
    since: Position | None,
    to: Position | None,
    evses: tuple[int, ...],
    transactions: tuple[str, ...],
    blocks: frozenset[str],
    kinds: frozenset[str],
    as_state: bool,
    follow: bool,
    values: bool,
) -> None:
    """Print the entries of JOURNAL, or with --state the state at a point.

    JOURNAL is a journal.db or its data directory, in use or a copy. Nothing is written to it.

    A line has the time (UTC), the entry number, who acted, and what happened. `>` marks an
    observation, which was reported to the station; other lines are its decisions. `!` marks what is
    missing or unreadable. `#` and 16 hex digits are the reference of an idToken; --values shows it.

    Filters may be repeated. An entry passes if it matches one value of each filter given.
    """
    criteria = FilterCriteria(
        evse_ids=frozenset(evses),
        transaction_prefixes=transactions,
        blocks=blocks,
        kinds=kinds,
    )
    if follow and (to or as_state):
        raise click.UsageError("--follow has no end. Omit --to and --state.")
    if as_state and values:
        raise click.UsageError("The state has references only. Omit --values.")
    if as_state and (since or criteria != FilterCriteria()):
        raise click.UsageError("The state follows from all entries. Omit --from and the filters.")
    with closing(open_journal(path)) as reader:
        if as_state:
            _print_state(path, reader, last_entry_at(path, reader, to))
            return
        if follow and since:
            first, last = (
                first_entry_at(path, reader, since, allow_future=True),
                last_entry_at(path, reader, None),
            )
        else:
            first, last = entry_range(path, reader, since, to)
        _TranscriptPrinter(path, reader, criteria, first, show_values=values).print_up_to(
            last, follow=follow
        )


# --- The state -----------------------------------------------------------------------------------


def _print_state(path: Path, reader: Reader, last: int) -> None:
    with progress_bar("replaying", last) as advance:
        state = replay_state(path, reader, with_progress(reader.iter_entries(1, last), advance))
    digest = reader.digest_at(last)
    assert digest is not None, f"entry {last} was just read"
    document = {
        "seq": last,
        "digest": digest.hex(),
        "state_digest": digest_state(state),
        "state": msgspec.Raw(encode_state(state)),
    }
    text = msgspec.json.encode(document)
    if sys.stdout.isatty():
        click.echo(escape_json_text(msgspec.json.format(text, indent=2).decode()))
    else:  # the bytes of `state_digest`
        click.echo(text.decode())


# --- The transcript ------------------------------------------------------------------------------


class _TranscriptPrinter:
    """One pass through a journal that prints the entries that pass the filters."""

    def __init__(
        self,
        path: Path,
        reader: Reader,
        filters: FilterCriteria,
        first_seq: int,
        *,
        show_values: bool,
    ) -> None:
        self._path = path
        self._reader = reader
        self._filter = EntryFilter(filters, first_seq)
        self._print_line = _line_printer()
        self._show_values = show_values
        begin = reader.position_before_first()[0] + 1
        self._next_seq = begin if filters.needs_subject else max(begin, first_seq)
        self._first_seq = first_seq
        self._day: date | None = None
        self._is_complete = True
        self._printed_nothing = True

    def print_up_to(self, last: int, *, follow: bool) -> None:
        """Print the entries up to `last`, then with `follow` those that are added.

        Raises:
            CommandFailed: entries are unreadable, or no entry passed the filters.
        """
        self._print_committed(last)
        with suppress(KeyboardInterrupt):  # Ctrl-C ends --follow
            while follow:
                time.sleep(POLL_INTERVAL_S)
                self._print_committed(self._reader.read_head().seq)
        if not self._is_complete:
            raise CommandFailed(
                f"{self._path}: entries are missing or unreadable. Run `station verify`."
            )
        if self._printed_nothing and not follow:
            raise CommandFailed(f"{self._path}: no entry passes the filters. Omit one.")

    def _print_committed(self, last: int) -> None:
        """Print what is committed. A commit has complete observations, so no group stays open."""
        for entry in self._readable_entries(last):
            self._print_entries(self._filter.filter_entry(entry))
        self._print_entries(self._filter.flush_group())
        sys.stdout.flush()

    def _readable_entries(self, last: int) -> Iterator[Entry]:
        """The readable entries up to `last`; the others are reported in their place."""
        for entry in self._reader.iter_entries(self._next_seq, last, on_damage=self._on_damage):
            self._report_missing(entry.seq)
            yield entry
            self._next_seq = entry.seq + 1
        self._report_missing(last + 1)
        self._next_seq = max(self._next_seq, last + 1)

    def _on_damage(self, damage: EntryDamage) -> None:
        self._report_missing(damage.seq)
        self._report_gap(damage.seq, f"{damage.seq:>7} ! {damage.reason}")
        self._next_seq = damage.seq + 1

    def _report_missing(self, seq: int) -> None:
        """Print which entries before `seq` are missing."""
        if seq > self._next_seq:
            up_to = f" up to {seq - 1}" if seq - 1 > self._next_seq else ""
            self._report_gap(seq - 1, f"{self._next_seq:>7} ! missing{up_to}")
            self._next_seq = seq

    def _report_gap(self, last: int, text: str) -> None:
        """Print a gap whatever the filters, after the entries before it."""
        self._print_entries(self._filter.flush_group())
        if last >= self._first_seq:
            self._print_line("", f"             {escape_control_characters(text)}")
            self._is_complete = False

    def _print_entries(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.at.date() != self._day:
                self._day = entry.at.date()
                self._print_line("", f"{self._day:%Y-%m-%d} UTC")
            self._print_entry(entry)
            self._printed_nothing = False

    def _print_entry(self, entry: Entry) -> None:
        text = format_entry(entry)
        if self._show_values:
            text = reveal_id_tokens(text, self._reader.value_of)
        self._print_line(describe_event(entry.event)[0], text)


LinePrinter = Callable[[str, str], None]


def _line_printer() -> LinePrinter:
    """Prints a line, on a terminal in the color of its actor."""
    if not sys.stdout.isatty():
        return lambda _, text: print(text)
    from rich.console import Console  # imported on a terminal only: it is slow

    console = Console(highlight=False, emoji=False)  # `:100:` in a message stays as it is

    def print_line(actor: str, text: str) -> None:
        console.print(text, style=ACTOR_STYLES.get(actor, "bold"), markup=False, soft_wrap=True)

    return print_line
