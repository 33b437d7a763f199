"""What happened, in order; or how did things stand at a point of it?"""

from __future__ import annotations

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

from journal.reader import Damage, Reader
from journal.state import encode_state, state_digest
from journal.terms import Entry
from station.commands.answers import Misused, No
from station.commands.journals import counted, journal_argument, opened, replayed, watched
from station.commands.points import Point, first_of, last_of, point, stretch
from station.history.sieve import Sieve, Wish
from station.history.subjects import BLOCKS
from station.runtime.memory import registry
from station.transcript import line, meaning, named

POLL_S: Final = 0.2  # how often --follow looks for more

# Who speaks, as a terminal with colours shows it.
STYLES: Final = {
    "EV driver": "bold cyan",
    "operator": "bold cyan",
    "EV": "cyan",
    "device": "yellow",
    "CSMS": "magenta",
    "link": "blue",
    "clock": "dim",
    "station": "green",
}


def _known_block(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> frozenset[str]:
    """Blocks of OCPP, as capital letters."""
    for name in names:
        if name.upper() not in set(BLOCKS):
            raise Misused(f"station replay --block: OCPP has blocks A to P, not {name!r}.")
    return frozenset(name.upper() for name in names)


def _beginnings(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Beginnings of transactionIds, in small letters."""
    if "" in names:
        raise Misused("station replay --transaction: no name is the beginning of all of them.")
    return tuple(name.casefold() for name in names)


def _known_kind(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> frozenset[str]:
    """Kinds of event, in whatever case they were typed."""
    kinds = {kind.casefold(): kind for kind in registry().kinds}
    for name in names:
        if name.casefold() not in kinds:
            near = get_close_matches(name.casefold(), kinds, n=1)
            hint = f" Did you mean {kinds[near[0]]}?" if near else ""
            raise Misused(f"station replay --kind: there is no kind of event {name!r}.{hint}")
    return frozenset(kinds[name.casefold()] for name in names)


@click.command("replay")
@journal_argument
@click.option(
    "--from", "since", metavar="SEQ|TIME", callback=point, help="Begin with it, or at that moment."
)
@click.option(
    "--to", metavar="SEQ|TIME", callback=point, help="Stop behind this entry or this moment."
)
@click.option(
    "--evse", "evses", metavar="N", type=click.IntRange(min=1), multiple=True, help="Of this EVSE."
)
@click.option(
    "--transaction",
    "transactions",
    metavar="ID",
    multiple=True,
    callback=_beginnings,
    help="Of this transaction: its transactionId, or the beginning of it.",
)
@click.option(
    "--block",
    "blocks",
    metavar="A..P",
    multiple=True,
    callback=_known_block,
    help="Of messages of this block of OCPP.",
)
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    callback=_known_kind,
    help="Of this kind of entry, as CallQueued.",
)
@click.option("--state", "as_state", is_flag=True, help="Print the state there, as JSON.")
@click.option("--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@click.option("--values", is_flag=True, help="Show idTokens and not their references.")
def replay_command(
    path: Path,
    since: Point | None,
    to: Point | None,
    evses: tuple[int, ...],
    transactions: tuple[str, ...],
    blocks: frozenset[str],
    kinds: frozenset[str],
    as_state: bool,
    follow: bool,
    values: bool,
) -> None:
    """Tell what JOURNAL holds, or with --state how things stood at a point of it.

    JOURNAL is a journal.db or the directory it is in, live or a copy. Nothing is written to it.

    Filters may be given several times, any of one kind will do; of different kinds all must hold.
    """
    wish = Wish(
        evses=frozenset(evses),
        transactions=transactions,
        blocks=blocks,
        kinds=kinds,
    )
    if follow and (to or as_state):
        raise Misused("station replay: --follow knows no end; leave out --to and --state.")
    if as_state and values:
        raise Misused("station replay: the state knows references only; leave out --values.")
    if as_state and (since or wish != Wish()):
        raise Misused("station replay: the state follows from all entries; leave out the filters.")
    with closing(opened(path)) as reader:
        if as_state:
            _tell_state(path, reader, last_of(path, reader, to))
            return
        if follow and since:
            first, last = first_of(path, reader, since, to_come=True), last_of(path, reader, None)
        else:
            first, last = stretch(path, reader, since, to)
        _Telling(path, reader, wish, first, values=values).told(last, follow=follow)


# --- The state -----------------------------------------------------------------------------------


def _tell_state(path: Path, reader: Reader, last: int) -> None:
    with counted("replaying", last) as advance:
        state = replayed(path, reader, watched(reader.entries(1, last), advance))
    digest = reader.digest_at(last)
    assert digest is not None, f"entry {last} was read just now"
    told = {
        "seq": last,
        "digest": digest.hex(),
        "state_digest": state_digest(state),
        "state": msgspec.Raw(encode_state(state)),
    }
    text = msgspec.json.encode(told)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    click.echo(text.decode())


# --- The transcript ------------------------------------------------------------------------------


class _Telling:
    """One walk through a journal, aloud."""

    def __init__(self, path: Path, reader: Reader, wish: Wish, first: int, *, values: bool) -> None:
        self._path = path
        self._reader = reader
        self._sieve = Sieve(wish, first)
        self._say = _voice()
        self._values = values
        begin = reader.anchor()[0] + 1
        self._due = begin if wish.of_subjects else max(begin, first)
        self._first = first
        self._day: date | None = None
        self._whole = True
        self._nothing = True

    def told(self, last: int, *, follow: bool) -> None:
        """Tell the entries up to `last`, then those that come.

        Raises:
            No: some could not be told, or there was nothing to tell.
        """
        self._tell(last)
        with suppress(KeyboardInterrupt):  # the way to say that it is enough
            while follow:
                time.sleep(POLL_S)
                self._tell(self._reader.head().seq)
        if not self._whole:
            raise No(f"{self._path}: not all of it can be read. Run `station verify` on it.")
        if self._nothing and not follow:
            raise No(f"{self._path}: no entry passes the filters. Leave one out.")

    def _tell(self, last: int) -> None:
        """Tell what is committed; a commit holds whole observations, so nothing is held back."""
        for entry in self._entries(last):
            self._say_all(self._sieve.taken(entry))
        self._say_all(self._sieve.rest())
        sys.stdout.flush()

    def _entries(self, last: int) -> Iterator[Entry]:
        """What can be read up to `last`; what cannot is named where it would stand."""
        for entry in self._reader.entries(self._due, last, damaged=self._damaged):
            self._missing(entry.seq)
            yield entry
            self._due = entry.seq + 1
        self._missing(last + 1)
        self._due = max(self._due, last + 1)

    def _damaged(self, damage: Damage) -> None:
        self._missing(damage.seq)
        self._complain(damage.seq, f"{damage.seq:>7} ! {damage.why}")
        self._due = damage.seq + 1

    def _missing(self, seq: int) -> None:
        """Say which numbers should have come before `seq`."""
        if seq > self._due:
            upto = f" up to {seq - 1}" if seq - 1 > self._due else ""
            self._complain(seq - 1, f"{self._due:>7} ! missing{upto}")
            self._due = seq

    def _complain(self, last: int, text: str) -> None:
        """Say what is not there, whatever the filters, behind all that comes before it."""
        self._say_all(self._sieve.rest())
        if last >= self._first:
            self._say("", f"             {text}")
            self._whole = False

    def _say_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.at.date() != self._day:
                self._day = entry.at.date()
                self._say("", f"{self._day:%Y-%m-%d} UTC")
            self._say_entry(entry)
            self._nothing = False

    def _say_entry(self, entry: Entry) -> None:
        text = line(entry)
        if self._values:
            text = named(text, self._reader.value_of)
        self._say(meaning(entry.event)[0], text)


Voice = Callable[[str, str], None]


def _voice() -> Voice:
    """How a line is said: in the colour of who speaks, where there are colours."""
    if not sys.stdout.isatty():
        return lambda _, text: print(text)
    from rich.console import Console  # only a person pays for this import

    console = Console(highlight=False, emoji=False)  # :100: in a message is no emoji

    def say(who: str, text: str) -> None:
        console.print(text, style=STYLES.get(who, "bold"), markup=False, soft_wrap=True)

    return say
