"""How is a person erased from a journal whose chain stays whole?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from journal.maintenance.erase_quarantined import contains_any_text, erase_in_quarantines
from journal.observations import ErasureRequested, PersonalValuesErased
from journal.storage.reader import Reader
from station.commands.shared.control_client import STATION_SOCKET, StationUnreachable, send_request
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import journal_argument, open_journal, spinner
from station.commands.shared.offline_writer import OfflineWriter, open_offline_writer
from station.core.blocks.n_customers import is_reference_needed

ERASURE_TIMEOUT_S: Final = 5.0  # a running station erases at once, or has a reason not to
POLL_INTERVAL_S: Final = 0.1

PENDING_TEXT: Final = (
    "ordered. It goes once no undelivered message needs it and nobody holds the journal."
)


@click.command("forget")
@journal_argument
@click.argument("person", metavar="TOKEN|REF")
def forget_command(path: Path, person: str) -> None:
    """Erase the value of an idToken from JOURNAL; entries keep a reference that leads nowhere.

    TOKEN is the value as it was shown, REF what the journal has instead: # and 16 hex digits.
    Through the running station, if one runs. A value that an undelivered message needs is erased
    when that was delivered.
    """
    with open_journal(path) as reader:
        known = {ref: reader.value_of(ref) for ref in _find_references(reader, person)}
        head = reader.read_head().seq
    values = {ref: value for ref, value in known.items() if value is not None}
    refs = tuple(values)
    kept = _request_erasure(path, refs, head) if refs else set()
    for ref in refs:
        click.echo(f"{ref}: {PENDING_TEXT if ref in kept else 'erased.'}")
    shown = {*values.values(), *(() if person.startswith("#") else (person,))}
    with spinner(f"looking through {path.parent}"):
        count, unreached = erase_in_quarantines(path, {person, *refs}, shown)
        left = dict(unreached)
        if refs or count:
            left |= _find_files_containing(path.parent, shown - {values[ref] for ref in kept})
    if not (refs or count or left):
        raise CommandFailed(f"{path}: knows nobody by {person!r}, or nobody any more.")
    if count:
        click.echo(f"{count} rows erased in journals that were set aside.")
    for file, why in left.items():
        click.echo(f"{file}: {why}. Delete it, if nobody needs it.", err=True)
    if left:
        raise click.exceptions.Exit(1)


def _request_erasure(path: Path, refs: tuple[str, ...], head_seq: int) -> set[str]:
    """Have the values erased; which ones something still needs."""
    try:
        send_request(path.parent / STATION_SOCKET, "forget", refs=list(refs))
    except StationUnreachable:
        return _erase_offline(path, refs)
    return _wait_for_erasure(path, refs, head_seq)


def _find_references(reader: Reader, person: str) -> list[str]:
    if person.startswith("#"):
        return [person]
    return [token.ref for token in reader.find_references(person)]


def _wait_for_erasure(path: Path, refs: tuple[str, ...], head_seq: int) -> set[str]:
    """Which values the running station keeps for now; behind `head` it says which are erased."""
    until = time.monotonic() + ERASURE_TIMEOUT_S
    while True:
        with open_journal(path) as reader:
            left = {ref for ref in refs if not _is_erasure_recorded(reader, ref, head_seq)}
        if not left or time.monotonic() > until:
            return left
        time.sleep(POLL_INTERVAL_S)


def _is_erasure_recorded(reader: Reader, ref: str, head_seq: int) -> bool:
    """A value that is only gone from the table may still lie in the log."""
    found = reader.find_seqs(count_max=1, kinds=("PersonalValuesErased",), containing=f'"{ref}"')
    return bool(found) and found[0] > head_seq


def _erase_offline(path: Path, refs: tuple[str, ...]) -> set[str]:
    """Erase ourselves what nothing needs; which values something does.

    The order is written down first: should the power go, the station's next start goes on.
    """
    with open_offline_writer(path) as pen:
        with spinner(f"replaying {path}"):
            state = pen.replay_state()
        state = pen.append_observation(state, ErasureRequested(refs))
        free = tuple(ref for ref in refs if not is_reference_needed(state, ref))
        if free:
            _erase_values(pen, free)
            pen.append_observation(state, PersonalValuesErased(free))
    return set(refs) - set(free)


def _erase_values(writer: OfflineWriter, refs: tuple[str, ...]) -> None:
    for ref in refs:
        writer.store.erase(ref)


def _find_files_containing(data: Path, values: set[str]) -> dict[Path, str]:
    """Files of the data directory in which a value stands, or that cannot tell, and why."""
    found = {}
    for file in sorted(data.rglob("*")):
        emulated = "emulated" in file.relative_to(data).parts  # the world, not the station
        if emulated or not file.is_file():
            continue
        try:
            if contains_any_text(file, values):
                found[file] = "still holds the value"
        except OSError as error:
            found[file] = f"cannot be read: {error.strerror}"
    return found
