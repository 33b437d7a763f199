"""How is a person erased from a journal whose chain stays whole?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from journal.aside import forget_aside, holds
from journal.observations import ForgettingOrdered, ValuesErased
from journal.reader import Reader
from station.blocks.n_customers import is_needed
from station.commands.answers import No
from station.commands.control import STATION, NobodyThere, asked
from station.commands.journals import busy, journal_argument, opened
from station.commands.pen import Pen, writing

PATIENCE_S: Final = 5.0  # a running station erases at once, or has a reason not to
POLL_S: Final = 0.1

LATER: Final = "ordered. It goes once no undelivered message needs it and nobody holds the journal."


@click.command("forget")
@journal_argument
@click.argument("person", metavar="TOKEN|REF")
def forget_command(path: Path, person: str) -> None:
    """Erase the value of an idToken from JOURNAL; entries keep a reference that leads nowhere.

    TOKEN is the value as it was shown, REF what the journal has instead: # and 16 hex digits.
    Through the running station, if one runs. A value that an undelivered message needs is erased
    when that was delivered.
    """
    with opened(path) as reader:
        known = {ref: reader.value_of(ref) for ref in _refs(reader, person)}
        head = reader.head().seq
    values = {ref: value for ref, value in known.items() if value is not None}
    refs = tuple(values)
    kept = _forgotten(path, refs, head) if refs else set()
    for ref in refs:
        click.echo(f"{ref}: {LATER if ref in kept else 'erased.'}")
    shown = {*values.values(), *(() if person.startswith("#") else (person,))}
    with busy(f"looking through {path.parent}"):
        count, unreached = forget_aside(path, {person, *refs}, shown)
        left = dict(unreached)
        if refs or count:
            left |= _still_in(path.parent, shown - {values[ref] for ref in kept})
    if not (refs or count or left):
        raise No(f"{path}: knows nobody by {person!r}, or nobody any more.")
    if count:
        click.echo(f"{count} rows erased in journals that were set aside.")
    for file, why in left.items():
        click.echo(f"{file}: {why}. Delete it, if nobody needs it.", err=True)
    if left:
        raise click.exceptions.Exit(1)


def _forgotten(path: Path, refs: tuple[str, ...], head: int) -> set[str]:
    """Have the values erased; which ones something still needs."""
    try:
        asked(path.parent / STATION, "forget", refs=list(refs))
    except NobodyThere:
        return _erased(path, refs)
    return _watched(path, refs, head)


def _refs(reader: Reader, person: str) -> list[str]:
    if person.startswith("#"):
        return [person]
    return [token.ref for token in reader.tokens(person)]


def _watched(path: Path, refs: tuple[str, ...], head: int) -> set[str]:
    """Which values the running station keeps for now; behind `head` it says which are erased."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with opened(path) as reader:
            left = {ref for ref in refs if not _told_erased(reader, ref, head)}
        if not left or time.monotonic() > until:
            return left
        time.sleep(POLL_S)


def _told_erased(reader: Reader, ref: str, head: int) -> bool:
    """A value that is only gone from the table may still lie in the log."""
    found = reader.numbers(newest=1, kinds=("ValuesErased",), containing=f'"{ref}"')
    return bool(found) and found[0] > head


def _erased(path: Path, refs: tuple[str, ...]) -> set[str]:
    """Erase ourselves what nothing needs; which values something does.

    The order is written down first: should the power go, the station's next start goes on.
    """
    with writing(path) as pen:
        with busy(f"replaying {path}"):
            state = pen.remembered()
        state = pen.write(state, ForgettingOrdered(refs))
        free = tuple(ref for ref in refs if not is_needed(state, ref))
        if free:
            _erase(pen, free)
            pen.write(state, ValuesErased(free))
    return set(refs) - set(free)


def _erase(pen: Pen, refs: tuple[str, ...]) -> None:
    for ref in refs:
        pen.store.forget(ref)


def _still_in(data: Path, values: set[str]) -> dict[Path, str]:
    """Files of the data directory in which a value stands, or that cannot tell, and why."""
    found = {}
    for file in sorted(data.rglob("*")):
        emulated = "emulated" in file.relative_to(data).parts  # the world, not the station
        if emulated or not file.is_file():
            continue
        try:
            if holds(file, values):
                found[file] = "still holds the value"
        except OSError as error:
            found[file] = f"cannot be read: {error.strerror}"
    return found
