"""`station outbox`: list the calls that the CSMS has not confirmed, or retry parked ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import click

from journal.events import Entry
from journal.projections.outbox import (
    CallAttempted,
    CallDelivered,
    CallQueued,
    CallRetryRequested,
    CallsDropped,
)
from journal.state import State
from station.commands.shared.control_client import STATION_SOCKET, StationUnreachable, send_request
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import (
    journal_argument,
    open_journal,
    progress_bar,
    replay_state,
    with_progress,
)
from station.commands.shared.offline_writer import open_offline_writer
from station.transcript.phrases import escape_control_characters

AGE_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@click.command("outbox")
@journal_argument
@click.argument("action", metavar="list|retry", type=click.Choice(["list", "retry"]))
@click.argument("calls", metavar="[CALL]...", nargs=-1, type=click.IntRange(1))
def outbox_command(path: Path, action: str, calls: tuple[int, ...]) -> None:
    """List the calls that wait or are parked, or retry parked ones.

    A call is parked after its last attempt failed: it is kept, and sent again only by `retry`.

    JOURNAL is a journal.db or its data directory. CALL is the entry number that queued a call;
    without CALLs, all are listed or retried. A running station retries at once; otherwise the
    request is recorded for the next start.
    """
    status = _read_outbox(path)
    if action == "list":
        _list_calls(status, set(calls))
    else:
        _retry_calls(path, status, calls)


# --- The outbox at the end of the journal --------------------------------------------------------


class OutboxStatus(NamedTuple):
    """The state at the end of a journal, and the number of attempts of each open call."""

    state: State
    head: Entry
    attempts: Counter[int]
    open_calls: tuple[Entry, ...]  # the entries that queued the unconfirmed calls, oldest first


def _read_outbox(path: Path) -> OutboxStatus:
    with closing(open_journal(path)) as reader:
        head = reader.read_head()
        if head.at is None:
            raise CommandFailed(f"{path}: no entries yet, so no call waits.")
        attempts: Counter[int] = Counter()
        with progress_bar("replaying", head.seq) as advance:
            entries = with_progress(reader.iter_entries(1, head.seq), advance)
            state = replay_state(path, reader, _count_attempts(entries, attempts))
        outbox = state.outbox
        boot = [] if outbox.boot_call_seq is None else [outbox.boot_call_seq]
        calls = {
            *boot,
            *outbox.transaction,
            *outbox.general,
            *(call.call_seq for call in outbox.parked),
        }
        queued = tuple(reader.read_entry(call) for call in sorted(calls))
        return OutboxStatus(state, reader.read_entry(head.seq), attempts, queued)


def _count_attempts(entries: Iterable[Entry], attempts: Counter[int]) -> Iterator[Entry]:
    """The entries; counts the attempts of each open call on the way."""
    for entry in entries:
        match entry.event:
            case CallAttempted(call_seq=call):
                attempts[call] += 1
            case CallDelivered(call_seq=call):
                attempts.pop(call, None)
            case CallsDropped(call_seqs=calls):
                for call in calls:
                    attempts.pop(call, None)
        yield entry


# --- list ----------------------------------------------------------------------------------------


def _list_calls(status: OutboxStatus, selected: set[int]) -> None:
    parked = {call.call_seq: call.reason for call in status.state.outbox.parked}
    if not status.open_calls and not selected:
        click.echo(f"nothing waits: the CSMS confirmed every call up to entry {status.head.seq}.")
    for entry in status.open_calls:
        if not selected or entry.seq in selected:
            click.echo(_call_line(entry, status, parked.get(entry.seq)))
    if unknown := selected.difference(entry.seq for entry in status.open_calls):
        raise CommandFailed(f"{_format_calls(tuple(sorted(unknown)))}: neither waiting nor parked.")


def _call_line(entry: Entry, status: OutboxStatus, reason: str | None) -> str:
    """One line about one call; its age is the age at the last entry of the journal."""
    queued = entry.event
    assert isinstance(queued, CallQueued), f"entry {entry.seq} queues no call"
    age = _format_age(status.head.at - entry.at)
    parts = [f"{'parked' if reason else 'waiting':<7} call {entry.seq:<7} {age:>11}", queued.action]
    if event := queued.transaction_event:
        parts.append(f"{event.transaction_id} seqNo {event.seq_no} {event.event_type}")
    elif status_sent := queued.connector_status:
        parts.append(
            f"EVSE {status_sent.evse_id} connector {status_sent.connector_id} {status_sent.status}"
        )
    parts.append(f"attempts {status.attempts[entry.seq]}")
    if reason:
        parts.append(reason)
    return escape_control_characters("  ".join(parts))  # the CSMS chose the reason


def _format_age(age: timedelta) -> str:
    """The largest unit that fits, and the next: 3 d 4 h. A clock set back gives 0 s."""
    seconds = max(0, int(age.total_seconds()))
    for place, (unit, size) in enumerate(AGE_UNITS):
        if seconds >= size:
            text = f"{seconds // size} {unit}"
            rest = seconds % size
            if rest and place + 1 < len(AGE_UNITS):
                smaller, its_size = AGE_UNITS[place + 1]
                text += f" {rest // its_size} {smaller}" if rest >= its_size else ""
            return text
    return "0 s"


# --- retry ---------------------------------------------------------------------------------------


def _retry_calls(path: Path, status: OutboxStatus, calls: tuple[int, ...]) -> None:
    parked = [call.call_seq for call in status.state.outbox.parked]
    if not parked:
        raise CommandFailed(f"{path}: no call is parked, so there is none to retry.")
    for call in calls:
        if call not in parked:
            raise CommandFailed(
                f"{path}: call {call} is not parked. Run `station outbox {path} list`."
            )
    chosen = calls or tuple(parked)
    try:
        send_request(path.parent / STATION_SOCKET, "retry", calls=list(chosen))
        how = "the station retries"
    except StationUnreachable:
        _record_retry(path, status, chosen)
        how = "no station is running; retried at its next start"
    click.echo(f"{_format_calls(chosen)}: {how}.")


def _format_calls(calls: tuple[int, ...]) -> str:
    return f"call {calls[0]}" if len(calls) == 1 else f"calls {', '.join(map(str, calls))}"


def _record_retry(path: Path, status: OutboxStatus, calls: tuple[int, ...]) -> None:
    """Record the request, as the only writer of the journal.

    Raises:
        click.UsageError: a transaction is open.
        CommandFailed: another process wrote in the meantime.
        JournalFailed: another process writes the journal.
    """
    with open_offline_writer(path) as writer:
        if writer.store.head.seq != status.head.seq:
            raise CommandFailed(
                f"{path}: another process wrote to it in the meantime. Run the command again."
            )
        writer.append_observation(status.state, CallRetryRequested(calls))
