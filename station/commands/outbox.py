"""What has the CSMS not confirmed, and shall it be tried again?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import click

from journal.projections.outbox import (
    CallAttempted,
    CallDelivered,
    CallQueued,
    CallsDropped,
    RetryRequested,
)
from journal.state import State
from journal.terms import Entry
from station.commands.answers import No
from station.commands.control import STATION, NobodyThere, asked
from station.commands.journals import counted, journal_argument, opened, replayed, watched
from station.commands.pen import writing

UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@click.command("outbox")
@journal_argument
@click.argument("action", metavar="list|retry", type=click.Choice(["list", "retry"]))
@click.argument("calls", metavar="[CALL]...", nargs=-1, type=click.IntRange(1))
def outbox_command(path: Path, action: str, calls: tuple[int, ...]) -> None:
    """List the calls that wait or are parked, or try parked ones again.

    JOURNAL is a journal.db or the directory it is in. `retry` goes through the running station;
    if none runs it is written down for the next start. Without CALLs all parked ones are meant.
    """
    known = _known(path)
    if action == "list":
        _list(known, set(calls))
    else:
        _retry(path, known, calls)


# --- What is known -------------------------------------------------------------------------------


class Known(NamedTuple):
    """A journal's end: the state there, and how often each open call was tried."""

    state: State
    head: Entry
    tries: Counter[int]
    open: tuple[Entry, ...]  # the entries that queued what is not confirmed, oldest first


def _known(path: Path) -> Known:
    with closing(opened(path)) as reader:
        head = reader.head()
        if head.at is None:
            raise No(f"{path}: no entries yet, so nothing waits.")
        tries: Counter[int] = Counter()
        with counted("replaying", head.seq) as advance:
            entries = watched(reader.entries(1, head.seq), advance)
            state = replayed(path, reader, _counted(entries, tries))
        outbox = state.outbox
        boot = [] if outbox.boot is None else [outbox.boot]
        calls = {*boot, *outbox.transaction, *outbox.rest, *(one.call for one in outbox.parked)}
        queued = tuple(reader.entry(call) for call in sorted(calls))
        return Known(state, reader.entry(head.seq), tries, queued)


def _counted(entries: Iterable[Entry], tries: Counter[int]) -> Iterator[Entry]:
    """The entries, with the attempts at each call that is still open counted on the way."""
    for entry in entries:
        match entry.event:
            case CallAttempted(call=call):
                tries[call] += 1
            case CallDelivered(call=call):
                tries.pop(call, None)
            case CallsDropped(calls=calls):
                for call in calls:
                    tries.pop(call, None)
        yield entry


# --- list ----------------------------------------------------------------------------------------


def _list(known: Known, wanted: set[int]) -> None:
    parked = {one.call: one.reason for one in known.state.outbox.parked}
    if not known.open:
        raise No(f"nothing waits: the CSMS confirmed everything up to entry {known.head.seq}.")
    for entry in known.open:
        if not wanted or entry.seq in wanted:
            click.echo(_told(entry, known, parked.get(entry.seq)))
    if unknown := wanted.difference(entry.seq for entry in known.open):
        raise No(f"{_named(tuple(sorted(unknown)))}: not among what waits or is parked.")


def _told(entry: Entry, known: Known, reason: str | None) -> str:
    """One line about one call; its age is that at the journal's last entry."""
    queued = entry.event
    assert isinstance(queued, CallQueued), f"entry {entry.seq} queues no call"
    age = _age(known.head.at - entry.at)
    parts = [f"{'parked' if reason else 'waiting':<7} call {entry.seq:<7} {age:>11}", queued.action]
    if mark := queued.transaction:
        parts.append(f"{mark.transaction_id} seqNo {mark.seq_no} {mark.event_type}")
    elif told := queued.status:
        parts.append(f"EVSE {told.evse_id} connector {told.connector_id} {told.status}")
    parts.append(f"attempts {known.tries[entry.seq]}")
    if reason:
        parts.append(reason)
    return "  ".join(parts)


def _age(age: timedelta) -> str:
    """The largest unit that fits, and the next: 3 d 4 h. A clock set back gives 0 s."""
    seconds = max(0, int(age.total_seconds()))
    for place, (unit, size) in enumerate(UNITS):
        if seconds >= size:
            text = f"{seconds // size} {unit}"
            rest = seconds % size
            if rest and place + 1 < len(UNITS):
                smaller, its_size = UNITS[place + 1]
                text += f" {rest // its_size} {smaller}" if rest >= its_size else ""
            return text
    return "0 s"


# --- retry ---------------------------------------------------------------------------------------


def _retry(path: Path, known: Known, calls: tuple[int, ...]) -> None:
    parked = [one.call for one in known.state.outbox.parked]
    if not parked:
        raise No(f"{path}: nothing is parked, so there is nothing to try again.")
    for call in calls:
        if call not in parked:
            raise No(f"{path}: call {call} is not parked. See `station outbox {path} list`.")
    chosen = calls or tuple(parked)
    try:
        asked(path.parent / STATION, "retry", calls=list(chosen))
        how = "the station tries again"
    except NobodyThere:
        _written_down(path, known, chosen)
        how = "no station runs, so it is tried again at the next start"
    click.echo(f"{_named(chosen)}: {how}.")


def _named(calls: tuple[int, ...]) -> str:
    return f"call {calls[0]}" if len(calls) == 1 else f"calls {', '.join(map(str, calls))}"


def _written_down(path: Path, known: Known, calls: tuple[int, ...]) -> None:
    """Append the operator's wish ourselves, as the journal's only writer.

    Raises:
        Misused: a transaction is open.
        No: somebody wrote meanwhile.
        JournalFailed: another process writes the journal.
    """
    with writing(path) as pen:
        if pen.store.head.seq != known.head.seq:
            raise No(f"{path}: somebody wrote to it meanwhile. Try again.")
        pen.write(known.state, RetryRequested(calls))
