"""What happened, in order; or how did things stand at a point of it?"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, NamedTuple

import click
import msgspec

from journal.reader import Damage, Reader
from journal.state import encode_state, state_digest
from journal.terms import Entry
from station.commands.answers import Misused, No
from station.commands.journals import busy, journal_argument, opened, replayed
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


class Point(NamedTuple):
    """Where to stop: an entry's number, or a moment on the station's clock."""

    seq: int | None
    at: datetime | None


def _point(_: click.Context, __: click.Parameter, text: str | None) -> Point | None:
    """SEQ or an ISO 8601 time; without an offset it is UTC."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return Point(int(text), None)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Misused(
            f"station replay --to: {text!r} is neither an entry's number nor a time "
            "as 2026-11-22T17:25Z."
        ) from None
    return Point(None, at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))


@click.command("replay")
@journal_argument
@click.option(
    "--to", metavar="SEQ|TIME", callback=_point, help="Stop behind this entry or this moment."
)
@click.option("--state", "as_state", is_flag=True, help="Print the state there, as JSON.")
@click.option("--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@click.option("--values", is_flag=True, help="Show idTokens and not their references.")
def replay_command(
    path: Path, to: Point | None, as_state: bool, follow: bool, values: bool
) -> None:
    """Tell what JOURNAL holds, or with --state how things stood at a point of it.

    JOURNAL is a journal.db or the directory it is in, live or a copy. Nothing is written to it.
    """
    if follow and (to or as_state):
        raise Misused("station replay: --follow knows no end; leave out --to and --state.")
    if as_state and values:
        raise Misused("station replay: the state knows references only; leave out --values.")
    with closing(opened(path)) as reader:
        last = _last(path, reader, to)
        if as_state:
            _tell_state(path, reader, last)
        else:
            _Telling(path, reader, values=values).told(last, follow=follow)


def _last(path: Path, reader: Reader, to: Point | None) -> int:
    """The number of the last entry that is wanted."""
    head = reader.head()
    if head.at is None:
        raise No(f"{path}: no entries yet. Start the station, and there will be.")
    if to is None:
        return head.seq
    if to.at is not None:
        return _last_until(path, reader, to.at)
    assert to.seq is not None
    archived, _ = reader.anchor()
    if not archived < to.seq <= head.seq:
        raise No(f"{path}: entry {to.seq} is not there; it has {archived + 1} to {head.seq}.")
    return to.seq


def _last_until(path: Path, reader: Reader, at: datetime) -> int:
    """The last entry not later than `at`. The clock may have been set back in between."""
    text = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"
    seqs = [row.seq for row in reader.rows(damaged=lambda _: None) if row.at <= text]
    if not seqs:
        raise No(f"{path}: nothing happened until {text}; the first entry is later.")
    return max(seqs)


# --- The state -----------------------------------------------------------------------------------


def _tell_state(path: Path, reader: Reader, last: int) -> None:
    with busy(f"replaying {path}"):
        state = replayed(path, reader, reader.entries(1, last))
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

    def __init__(self, path: Path, reader: Reader, *, values: bool) -> None:
        self._path = path
        self._reader = reader
        self._say = _voice()
        self._values = values
        self._due = reader.anchor()[0] + 1
        self._day: date | None = None
        self._whole = True

    def told(self, last: int, *, follow: bool) -> None:
        """Tell the entries up to `last`, then those that come.

        Raises:
            No: some could not be told.
        """
        self._tell(last)
        with suppress(KeyboardInterrupt):  # the way to say that it is enough
            while follow:
                time.sleep(POLL_S)
                self._tell(self._reader.head().seq)
        if not self._whole:
            raise No(f"{self._path}: not all of it can be read. Run `station verify` on it.")

    def _tell(self, last: int) -> None:
        for entry in self._entries(last):
            if entry.at.date() != self._day:
                self._day = entry.at.date()
                self._say("", f"{self._day:%Y-%m-%d} UTC")
            self._say_entry(entry)
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
        self._say("", f"             {damage.seq:>7} ! {damage.why}")
        self._due = damage.seq + 1
        self._whole = False

    def _missing(self, seq: int) -> None:
        """Say which numbers should have come before `seq`."""
        if seq > self._due:
            self._say("", f"             {self._due:>7} ! missing up to {seq - 1}")
            self._due = seq
            self._whole = False

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

    console = Console(highlight=False)

    def say(who: str, text: str) -> None:
        console.print(text, style=STYLES.get(who, "bold"), markup=False, soft_wrap=True)

    return say
