"""`station diff`: what changed in the state between two points of a journal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from journal.state import State, encode_state
from journal.storage.reader import Reader
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import (
    journal_argument,
    open_journal,
    progress_bar,
    replay_state,
    with_progress,
)
from station.commands.shared.positions import Position, last_entry_at, parse_position
from station.history.json_diff import diff_json
from station.transcript.phrases import escape_json_text

JOURNAL_START = Position(0, None)  # before the first entry: the empty state


@click.command("diff")
@journal_argument
@click.argument("a", metavar="A", callback=parse_position)
@click.argument("b", metavar="B", callback=parse_position)
def diff_command(path: Path, a: Position, b: Position) -> None:
    """Print what differs in the state after B from the state after A.

    A and B are entry numbers, or times such as 2026-11-22T17:25Z, which mean the last entry not
    later. 0 is before the first entry. One line for each change, `path: old -> new`; exit code 1 if
    nothing changed.
    """
    with closing(open_journal(path)) as reader:
        points = [
            0 if position == JOURNAL_START else last_entry_at(path, reader, position)
            for position in (a, b)
        ]
        with progress_bar("replaying", max(points)) as advance:
            states = _replay_states(path, reader, points, advance)
    old, new = (encode_state(states[seq]) for seq in points)
    is_same = True
    for change in diff_json(old, new):
        click.echo(escape_json_text(str(change)).replace("\n", "\\n"))  # of a key
        is_same = False
    if is_same:
        raise CommandFailed(
            f"{path}: nothing changed between entry {points[0]} and entry {points[1]}."
        )


def _replay_states(
    path: Path, reader: Reader, seqs: list[int], advance: Callable[[int], None]
) -> dict[int, State]:
    """The state after each of these entries, in one pass."""
    states: dict[int, State] = {}
    state, begin = State(journal_id=reader.journal_id), 1
    for seq in sorted(seqs):
        state = replay_state(
            path, reader, with_progress(reader.iter_entries(begin, seq), advance), state, begin
        )
        states[seq], begin = state, seq + 1
    return states
