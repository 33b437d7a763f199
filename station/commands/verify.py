"""`station verify`: check that a journal or an export is what the station wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Final

import click

from journal.codec import Registry
from journal.maintenance.verify import WitnessedHead, parse_witnessed_head, verify
from journal.storage.errors import JournalFailed
from journal.storage.reader import Head, Reader
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import JOURNAL_FILE, find_journal, spinner

MANIFEST_SUFFIX: Final = "manifest.json"  # end of the name of every manifest
EXPORT_SUFFIXES: Final = (
    ".csv",
    ".jsonl",
    ".parquet",
    MANIFEST_SUFFIX,
    f"{MANIFEST_SUFFIX}.sig",
)
KEY_NOT_VOUCHED_FOR: Final = (
    "Anyone can change an export and sign it again with a key of their own. Compare the key with "
    "the fingerprint noted at commissioning, and give that one with --key."
)
PARTITION_GLOB: Final = "station=*"  # directories of an export to Parquet


def _parse_head(_: click.Context, __: click.Parameter, text: str | None) -> WitnessedHead | None:
    if text is None:
        return None
    try:
        return parse_witnessed_head(text)
    except ValueError as error:
        raise click.UsageError(f"--head: {error}.") from None


def _check_fingerprints(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> frozenset[str]:
    for text in texts:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", text, re.ASCII):
            raise click.UsageError(f"--key: a fingerprint has 64 hex digits, not {text!r}.")
    return frozenset(text.lower() for text in texts)


@click.command("verify")
@click.argument("path", metavar="JOURNAL|EXPORT", type=click.Path(path_type=Path))
@click.option(
    "--head",
    "witness",
    metavar="SEQ:DIGEST",
    callback=_parse_head,
    help="An entry that was recorded elsewhere: the chain alone does not show a removed end.",
)
@click.option(
    "--key",
    "keys",
    metavar="FINGERPRINT",
    multiple=True,
    callback=_check_fingerprints,
    help="The key an EXPORT must be signed with, from a trusted source; may be repeated.",
)
@click.option(
    "--redecide",
    is_flag=True,
    help="Also decide all of JOURNAL again and print where this release differs.",
)
@click.option(
    "--profile",
    "profiles",
    metavar="NAME|FILE",
    multiple=True,
    help="With --redecide: a product profile that is not part of this release.",
)
def verify_command(
    path: Path,
    witness: WitnessedHead | None,
    keys: frozenset[str],
    redecide: bool,
    profiles: tuple[str, ...],
) -> None:
    """Check that every entry of JOURNAL is present, in order and unchanged; or check an EXPORT.

    JOURNAL is a journal.db or its data directory, in use or a copy together with its -wal.
    EXPORT is the directory, the data file or the manifest that `station export` wrote.
    Each complaint is one line on stderr; exit code 1 if there is one, and for an EXPORT without
    --key: a signature alone does not show who signed.
    """
    if profiles and not redecide:
        raise click.UsageError("--profile needs --redecide.")
    if _is_export(path):
        if redecide:
            raise click.UsageError("--redecide: an export has no decisions. Give the journal.")
        _verify_export(path, witness, keys)
    elif keys:
        raise click.UsageError("--key: a journal is not signed; only an export is.")
    elif path.is_dir() and not (path / JOURNAL_FILE).exists():
        raise click.UsageError(
            f"{path}: no {JOURNAL_FILE} and no {MANIFEST_SUFFIX}. Give a journal or an export."
        )
    else:
        whole = _verify_journal(find_journal(path), witness)
        as_decided = _redecide_journal(find_journal(path), profiles) if redecide else True
        if not (whole and as_decided):
            raise click.exceptions.Exit(1)


def _redecide_journal(path: Path, profiles: tuple[str, ...]) -> bool:
    from station.commands.redecide import redecide_journal  # slow to import, often not needed

    return redecide_journal(path, profiles)


def _verify_journal(path: Path, witness: WitnessedHead | None) -> bool:
    """Print the complaints; whether there are none."""
    before = _journal_extent(path)  # first: a journal in use grows while it is read
    complaints = 0
    with spinner(f"verifying {path}"):
        for complaint in verify(path, witness):
            click.echo(_printable(complaint), err=True)
            complaints += 1
        for unaccounted in _check_energy(path):
            click.echo(unaccounted, err=True)
            complaints += 1
    if complaints or before is None:
        return False
    archived, head = before
    click.echo(
        f"{path}: intact. {head.seq - archived} entries, the last is {head.seq}:{head.digest.hex()}"
    )
    return True


def _check_energy(path: Path) -> Iterator[str]:
    """Where registers do not add up; nothing if the journal cannot be read at all."""
    # Slow to import, and an export does not need them.
    from journal.projections.energy_ledger import EnergyLedger
    from station.history.energy_check import check_energy

    try:
        registry = Registry(EnergyLedger.HANDLES)
        with Reader.open(path, registry) as reader:
            first = reader.position_before_first()[0] + 1
            rows = reader.iter_rows(first, on_damage=lambda _: None)  # reported by the chain
            yield from check_energy(rows, registry)
    except JournalFailed:
        return


def _is_export(path: Path) -> bool:
    """Whether the path names an export. Imports nothing: most paths name a journal."""
    manifests = (
        path / MANIFEST_SUFFIX,
        path / f"_{MANIFEST_SUFFIX}",
        path.with_name(f"{path.name}.{MANIFEST_SUFFIX}"),
    )
    if path.name.endswith(EXPORT_SUFFIXES) or any(manifest.is_file() for manifest in manifests):
        return True
    if not path.is_dir() or (path / JOURNAL_FILE).exists():
        return False
    patterns = (PARTITION_GLOB, f"*/{PARTITION_GLOB}", *(f"*{name}" for name in EXPORT_SUFFIXES))
    return any(True for pattern in patterns for _ in path.glob(pattern))


def _verify_export(path: Path, witness: WitnessedHead | None, keys: frozenset[str]) -> None:
    from station.history.export.manifest import find_manifests, find_unexported_files, verify_export

    manifests = find_manifests(path)
    if not manifests:
        raise CommandFailed(f"{path}: no manifest. An export that was interrupted has none.")
    if len(manifests) > 1 and witness:
        raise click.UsageError(
            f"{path}: {len(manifests)} exports. Give the one that --head belongs to."
        )
    is_intact = True
    with spinner(f"verifying {path}"):
        for complaint in chain(
            find_unexported_files(path, manifests) if path.is_dir() else (),
            *(verify_export(manifest, fingerprints=keys) for manifest in manifests),
        ):
            click.echo(complaint, err=True)
            is_intact = False
    if not is_intact:
        raise click.exceptions.Exit(1)
    for manifest in manifests:
        _print_export_summary(
            path if len(manifests) == 1 else manifest.parent,
            manifest,
            witness,
            is_vouched_for=bool(keys),
        )
    if not keys:
        raise CommandFailed(KEY_NOT_VOUCHED_FOR)


def _print_export_summary(
    path: Path, manifest: Path, witness: WitnessedHead | None, *, is_vouched_for: bool
) -> None:
    """Print what an export without complaints is, and whether its key was given.

    The station's name is quoted unless it is an identity: a name can contain a sentence.
    """
    from station.config.station_toml import IDENTITY_PATTERN
    from station.history.export.manifest import read_manifest, summarize_manifest

    export, _ = read_manifest(manifest)
    facts = summarize_manifest(export)
    if witness and witness != (export.last_seq, bytes.fromhex(export.last_digest)):
        raise CommandFailed(f"{path}: exported at {facts['head']}, not at the given --head.")
    if not export.complete:
        raise CommandFailed(
            f"{path}: as it was signed, but the journal was damaged when it was exported."
        )
    is_identity = IDENTITY_PATTERN.fullmatch(export.station)
    name = export.station if is_identity else f"station {export.station!a}"
    since = f" of entries from {export.first_seq} on" if export.first_seq > 1 else ""
    verdict = "intact" if is_vouched_for else "consistent, but its signer is not vouched for"
    click.echo(
        f"{_printable(path)}: {verdict}. {facts['rows']} rows of {export.table} of {name}{since}, "
        f"signed by key {facts['key']} at {facts['head']}"
    )


def _printable(text: object) -> str:
    """A text from a file, or a path, on one line and without terminal control."""
    from station.transcript.phrases import escape_control_characters

    return escape_control_characters(str(text))


def _journal_extent(path: Path) -> tuple[int, Head] | None:
    """The number before the first entry, and the head; None where they cannot be read."""
    try:
        with closing(Reader.open(path, Registry(()))) as reader:
            return reader.position_before_first()[0], reader.read_head()
    except JournalFailed:
        return None  # `verify` reports why and where
