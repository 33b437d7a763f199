"""Points of a journal given by a person: an entry's number, or a time.

A time names the last entry that is not later (`--to`, `diff`) or the first that is not earlier
(`--from`). The clock may have been set back, so that a time occurs more than once; `--to` then
takes the last and prints a note with its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import click

from journal.codec import format_time
from journal.storage.reader import Reader
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import no_entries


class Position(NamedTuple):
    """An entry's number, or a time on the station's clock."""

    seq: int | None
    at: datetime | None


def parse_position(
    _: click.Context, parameter: click.Parameter, text: str | None
) -> Position | None:
    """SEQ or an ISO 8601 time; without an offset it is UTC."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return Position(int(text), None)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        name = "" if parameter.param_type_name == "argument" else f"{parameter.opts[0]}: "
        raise click.UsageError(
            f"{name}{text!r} is neither an entry number nor a time such as 2026-11-22T17:25Z."
        ) from None
    return Position(None, at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))


def last_entry_at(path: Path, reader: Reader, to: Position | None) -> int:
    """The last entry up to that point; None: the last of the journal.

    Raises:
        CommandFailed: there is no such entry.
    """
    head = reader.read_head()
    if head.at is None:
        raise no_entries(path)
    if to is None:
        return head.seq
    if to.seq is not None:
        return _require_entry(path, reader, to.seq)
    assert to.at is not None
    until = format_time(to.at - timedelta(microseconds=to.at.microsecond % 1000))
    last, is_ambiguous, was_later = 0, False, False
    for seq, at in _entry_times(reader):
        if at <= until:
            last, is_ambiguous = seq, was_later
        else:
            was_later = True
    if not last:
        raise CommandFailed(f"{path}: no entry up to {until}; the first is later.")
    if is_ambiguous:
        note = f"{until} occurred more than once, because the clock was set back"
        click.echo(f"{note}: taken as entry {last}. Give an entry number instead.", err=True)
    return last


def first_entry_at(
    path: Path, reader: Reader, since: Position, *, allow_future: bool = False
) -> int:
    """The first entry from that point on: for a time, the first that is not earlier.

    `allow_future`: if there is none yet, the next that will be written.

    Raises:
        CommandFailed: there is no such entry.
    """
    if since.seq is not None:
        return _require_entry(path, reader, since.seq)
    assert since.at is not None
    begin = format_time(since.at + timedelta(microseconds=-since.at.microsecond % 1000))
    first = next((seq for seq, at in _entry_times(reader) if at >= begin), None)
    if first is None and not allow_future:
        raise CommandFailed(f"{path}: no entry since {begin}; the last is earlier.")
    return first or reader.read_head().seq + 1


def entry_range(
    path: Path, reader: Reader, since: Position | None, to: Position | None
) -> tuple[int, int]:
    """The first and the last entry between two points; None: the first or last of the journal.

    Raises:
        CommandFailed: there is no such entry, or none between the points.
        click.UsageError: `to` is before `since`.
    """
    last = last_entry_at(path, reader, to)
    first = first_entry_at(path, reader, since) if since else 1
    if first > last:
        if since and to and since.at and to.at and since.at <= to.at:
            raise CommandFailed(
                f"{path}: no entry in that time; entry {last} is before it, entry {first} after it."
            )
        raise click.UsageError(f"{path}: --to, entry {last}, is before --from, entry {first}.")
    return first, last


def _require_entry(path: Path, reader: Reader, seq: int) -> int:
    archived, _ = reader.position_before_first()
    head = reader.read_head()
    if not archived < seq <= head.seq:
        raise CommandFailed(
            f"{path}: no entry {seq}; the journal has entries {archived + 1} to {head.seq}."
        )
    return seq


def _entry_times(reader: Reader) -> Iterator[tuple[int, str]]:
    """Number and time of every readable entry."""
    return ((row.seq, row.at) for row in reader.iter_rows(on_damage=lambda _: None))
