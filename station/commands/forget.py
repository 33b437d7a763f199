"""`station forget`: erase the value of an idToken; the hash chain stays intact.

An entry has only a reference to an idToken; the value is in a side table. Erasing the value leaves
every entry and every digest as it is. Order of the steps:

1. A running station erases: it gets the request over its control socket and records it. Without a
   station, the command records the request first, so that after a power cut the next start of the
   station continues.
2. A value that an undelivered message needs stays until that message is delivered; one in the Local
   Authorization List, until the CSMS removes it from there (D01.FR.09).
3. Journals that were set aside are rewritten without the value.
4. Every other file of the data directory is searched; files that contain the value are listed.
"""

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

ERASURE_TIMEOUT_S: Final = 5.0  # a running station erases at once, unless a message needs it
POLL_INTERVAL_S: Final = 0.1

PENDING_TEXT: Final = (
    "requested. Erased once no undelivered message needs it, the CSMS has removed it from the "
    "Local Authorization List, and no other process reads the journal."
)


@click.command("forget")
@journal_argument
@click.argument("person", metavar="TOKEN|REF")
def forget_command(path: Path, person: str) -> None:
    """Erase the value of an idToken from JOURNAL; entries keep its reference only.

    TOKEN is the value that was presented, REF its reference in the journal: # and 16 hex digits.
    A running station erases it. A value that an undelivered message needs is erased after delivery,
    one in the Local Authorization List after the CSMS has removed it.
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
    with spinner(f"searching {path.parent}"):
        count, unreached = erase_in_quarantines(path, {person, *refs}, shown)
        left = dict(unreached)
        if refs or count:
            left |= _find_files_containing(path.parent, shown - {values[ref] for ref in kept})
    if not (refs or count or left):
        raise CommandFailed(f"{path}: no value for {person!r}, or it is erased already.")
    if count:
        click.echo(f"{count} rows erased in journals that were set aside.")
    for file, why in left.items():
        click.echo(f"{file}: {why}. Delete the file if it is not needed.", err=True)
    if left:
        raise click.exceptions.Exit(1)


def _request_erasure(path: Path, refs: tuple[str, ...], head_seq: int) -> set[str]:
    """Have the values erased; returns those that are still needed."""
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
    """The values that the running station has not erased, by its entries after `head_seq`."""
    until = time.monotonic() + ERASURE_TIMEOUT_S
    while True:
        with open_journal(path) as reader:
            left = {ref for ref in refs if not _is_erasure_recorded(reader, ref, head_seq)}
        if not left or time.monotonic() > until:
            return left
        time.sleep(POLL_INTERVAL_S)


def _is_erasure_recorded(reader: Reader, ref: str, head_seq: int) -> bool:
    """Whether the erasure is recorded. Absence from the table is not enough: see the WAL."""
    seqs = reader.find_seqs(count_max=1, kinds=("PersonalValuesErased",), containing=f'"{ref}"')
    return bool(seqs) and seqs[0] > head_seq


def _erase_offline(path: Path, refs: tuple[str, ...]) -> set[str]:
    """Erase the values that no message needs; returns the others.

    The request is recorded first: after a power cut, the next start of the station continues.
    """
    with open_offline_writer(path) as writer:
        with spinner(f"replaying {path}"):
            state = writer.replay_state()
        state = writer.append_observation(state, ErasureRequested(refs))
        free = tuple(ref for ref in refs if not is_reference_needed(state, ref))
        if free:
            _erase_values(writer, free)
            writer.append_observation(state, PersonalValuesErased(free))
    return set(refs) - set(free)


def _erase_values(writer: OfflineWriter, refs: tuple[str, ...]) -> None:
    for ref in refs:
        writer.store.erase(ref)


def _find_files_containing(data: Path, values: set[str]) -> dict[Path, str]:
    """Files of the data directory that contain a value or cannot be read, each with the reason."""
    reasons = {}
    for file in sorted(data.rglob("*")):
        emulated = "emulated" in file.relative_to(data).parts  # state of the devices, not ours
        if emulated or not file.is_file():
            continue
        try:
            if contains_any_text(file, values):
                reasons[file] = "contains the value"
        except OSError as error:
            reasons[file] = f"cannot be read: {error.strerror}"
    return reasons
