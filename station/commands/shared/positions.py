"""Which entry does somebody mean who names a number, or a moment?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import click

from journal.codec import format_time
from journal.storage.reader import Reader
from station.commands.shared.exits import CommandFailed, UsageError


class Position(NamedTuple):
    """An entry's number, or a moment on the station's clock."""

    seq: int | None
    at: datetime | None


def parse_position(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> Position | None:
    """SEQ or an ISO 8601 time; without an offset it is UTC."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return Position(int(text), None)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        name = "" if parameter.param_type_name == "argument" else f" {parameter.opts[0]}"
        raise UsageError(
            f"{context.command_path}{name}: {text!r} is neither an entry's number nor a time "
            "as 2026-11-22T17:25Z."
        ) from None
    return Position(None, at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))


def last_entry_at(path: Path, reader: Reader, to: Position | None) -> int:
    """The last entry up to that point; None: the last of all.

    A moment means the last entry not later than it: the clock may have been set back before, and
    who did not mean that is told.

    Raises:
        No: there is no such entry.
    """
    head = reader.read_head()
    if head.at is None:
        raise CommandFailed(f"{path}: no entries yet. Start the station, and there will be.")
    if to is None:
        return head.seq
    if to.seq is not None:
        return _require_entry(path, reader, to.seq)
    assert to.at is not None
    until = format_time(to.at - timedelta(microseconds=to.at.microsecond % 1000))
    found, again, later = 0, False, False
    for seq, at in _entry_times(reader):
        if at <= until:
            found, again = seq, later
        else:
            later = True
    if not found:
        raise CommandFailed(f"{path}: nothing happened until {until}; the first entry is later.")
    if again:
        note = f"{until} was passed more than once, for the clock was set back"
        click.echo(f"{note}: taken as entry {found}. A number says which is meant.", err=True)
    return found


def first_entry_at(
    path: Path, reader: Reader, since: Position, *, allow_future: bool = False
) -> int:
    """The first entry from that point on: for a moment, the first that is not earlier.

    `allow_future`: if there is none yet, the next that will be written.

    Raises:
        No: there is no such entry.
    """
    if since.seq is not None:
        return _require_entry(path, reader, since.seq)
    assert since.at is not None
    begin = format_time(since.at + timedelta(microseconds=-since.at.microsecond % 1000))
    found = next((seq for seq, at in _entry_times(reader) if at >= begin), None)
    if found is None and not allow_future:
        raise CommandFailed(f"{path}: nothing happened since {begin}; the last entry is earlier.")
    return found or reader.read_head().seq + 1


def entry_range(
    path: Path, reader: Reader, since: Position | None, to: Position | None
) -> tuple[int, int]:
    """The first and the last entry between two points; None: from the first, to the last of all.

    Raises:
        No: there is no such entry, or none between them.
        Misused: `to` is before `since`.
    """
    last = last_entry_at(path, reader, to)
    first = first_entry_at(path, reader, since) if since else 1
    if first > last:
        if since and to and since.at and to.at and since.at <= to.at:
            raise CommandFailed(
                f"{path}: nothing happened then; {last} is the entry before, {first} behind."
            )
        raise UsageError(f"{path}: --to, entry {last}, is before --from, entry {first}.")
    return first, last


def _require_entry(path: Path, reader: Reader, seq: int) -> int:
    archived, _ = reader.position_before_first()
    head = reader.read_head()
    if not archived < seq <= head.seq:
        raise CommandFailed(
            f"{path}: entry {seq} is not there; it has {archived + 1} to {head.seq}."
        )
    return seq


def _entry_times(reader: Reader) -> Iterator[tuple[int, str]]:
    """Number and time of every entry that can be read."""
    return ((row.seq, row.at) for row in reader.iter_rows(on_damage=lambda _: None))
