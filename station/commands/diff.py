"""What changed between two points of a journal?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from journal.reader import Reader
from journal.state import State, encode_state
from station.commands.answers import No
from station.commands.journals import counted, journal_argument, opened, replayed, watched
from station.commands.points import Point, last_of, point
from station.history.differences import changes

BEFORE_ALL = Point(0, None)  # before the first entry nothing is known


@click.command("diff")
@journal_argument
@click.argument("a", metavar="A", callback=point)
@click.argument("b", metavar="B", callback=point)
def diff_command(path: Path, a: Point, b: Point) -> None:
    """Tell what is different in the state behind B from the state behind A.

    A and B are an entry's number, or a time as 2026-11-22T17:25Z: the last entry not later than
    it. 0 is before the first entry. A line for each thing that changed, `path: old -> new`; exit
    code 1 when nothing did.
    """
    with closing(opened(path)) as reader:
        points = [0 if one == BEFORE_ALL else last_of(path, reader, one) for one in (a, b)]
        with counted("replaying", max(points)) as advance:
            states = _states(path, reader, points, advance)
    old, new = (encode_state(states[seq]) for seq in points)
    nothing = True
    for change in changes(old, new):
        click.echo(str(change))
        nothing = False
    if nothing:
        raise No(f"{path}: nothing changed between entry {points[0]} and entry {points[1]}.")


def _states(
    path: Path, reader: Reader, points: list[int], advance: Callable[[int], None]
) -> dict[int, State]:
    """The state behind each of these entries, in one walk."""
    found: dict[int, State] = {}
    state, begin = State(journal_id=reader.journal_id), 1
    for seq in sorted(points):
        state = replayed(path, reader, watched(reader.entries(begin, seq), advance), state, begin)
        found[seq], begin = state, seq + 1
    return found
