"""How is a person erased from a journal whose chain stays whole?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from journal.observations import ForgettingOrdered, ValuesErased
from journal.reader import Reader
from station.blocks.n_customers import is_needed
from station.commands.answers import No
from station.commands.control import STATION, NobodyThere, asked
from station.commands.journals import busy, journal_argument, opened, replayed
from station.commands.pen import Pen, writing

PATIENCE_S: Final = 5.0  # a running station erases at once, or has a reason not to
POLL_S: Final = 0.1
CHUNK: Final = 1 << 20

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
    if not values:
        raise No(f"{path}: knows nobody by {person!r}, or nobody any more.")
    refs = tuple(values)
    try:
        asked(path.parent / STATION, "forget", refs=list(refs))
        left = _watched(path, refs, head)
    except NobodyThere:
        left = _erased(path, refs)
    for ref in refs:
        click.echo(f"{ref}: {LATER if ref in left else 'erased.'}")
    gone = [value for ref, value in values.items() if ref not in left]
    found = list(_still_in(path.parent, gone))
    for file in found:
        click.echo(f"{file}: still holds the value. Delete it, if nobody needs it.", err=True)
    if found:
        raise click.exceptions.Exit(1)


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
            state = replayed(path, pen.reader, pen.reader.entries())
        state = pen.write(state, ForgettingOrdered(refs))
        free = tuple(ref for ref in refs if not is_needed(state, ref))
        if free:
            _erase(pen, free)
            pen.write(state, ValuesErased(free))
    return set(refs) - set(free)


def _erase(pen: Pen, refs: tuple[str, ...]) -> None:
    for ref in refs:
        pen.store.forget(ref)


def _still_in(data: Path, values: list[str]) -> Iterator[Path]:
    """Files of the data directory in which a value stands: copies of damaged journals, say."""
    needles = [value.casefold().encode() for value in values]
    for file in sorted(data.rglob("*")):
        emulated = "emulated" in file.relative_to(data).parts  # the world, not the station
        if file.is_file() and not emulated and _holds(file, needles):
            yield file


def _holds(file: Path, needles: list[bytes]) -> bool:
    overlap = max(map(len, needles), default=1)
    tail = b""
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            text = (tail + chunk).lower()
            if any(needle in text for needle in needles):
                return True
            tail = text[-overlap:]
    return False
