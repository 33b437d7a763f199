"""Is a journal, or an export, still what the station wrote?"""

from __future__ import annotations

import re
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Final

import click

from journal.codec import Registry
from journal.maintenance.verify import WitnessedHead, parse_witnessed_head, verify
from journal.storage.errors import JournalFailed
from journal.storage.reader import Head, Reader
from station.commands.shared.exits import CommandFailed, UsageError
from station.commands.shared.journal_argument import JOURNAL_FILE, find_journal, spinner

MANIFEST_SUFFIX: Final = "manifest.json"  # as the names of all manifests end
EXPORT_SUFFIXES: Final = (
    ".csv",
    ".jsonl",
    ".parquet",
    MANIFEST_SUFFIX,
    f"{MANIFEST_SUFFIX}.sig",
)  # so end those of files
PARTITION_GLOB: Final = "station=*"  # directories of an export to Parquet


def _parse_head(_: click.Context, __: click.Parameter, text: str | None) -> WitnessedHead | None:
    if text is None:
        return None
    try:
        return parse_witnessed_head(text)
    except ValueError as error:
        raise UsageError(f"station verify --head: {error}.") from None


def _check_fingerprint(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", text, re.ASCII):
        raise UsageError(f"station verify --key: a fingerprint is 64 hex digits, not {text!r}.")
    return text


@click.command("verify")
@click.argument("path", metavar="JOURNAL|EXPORT", type=click.Path(path_type=Path))
@click.option(
    "--head",
    "witness",
    metavar="SEQ:DIGEST",
    callback=_parse_head,
    help="An entry as somebody outside saw it: a cut tail shows in no chain.",
)
@click.option(
    "--key",
    metavar="FINGERPRINT",
    callback=_check_fingerprint,
    help="Of an EXPORT: the key it must be signed with, as somebody trustworthy told it.",
)
@click.option(
    "--redecide",
    is_flag=True,
    help="Also judge the whole JOURNAL again: where would this release decide otherwise?",
)
@click.option(
    "--profile",
    "profiles",
    metavar="NAME|FILE",
    multiple=True,
    help="With --redecide: the profile of a product that does not come with the program.",
)
def verify_command(
    path: Path,
    witness: WitnessedHead | None,
    key: str | None,
    redecide: bool,
    profiles: tuple[str, ...],
) -> None:
    """Check that every entry of JOURNAL is there, in order and unchanged; or an EXPORT alone.

    JOURNAL is a journal.db or the directory it is in, live or a copy with its -wal beside it.
    EXPORT is the directory, the data file or the manifest that `station export` made.
    Each complaint is one line on stderr; exit code 1 if there is one.
    """
    if profiles and not redecide:
        raise UsageError("station verify --profile: says how --redecide judges; add that.")
    if _is_export(path):
        if redecide:
            raise UsageError("station verify --redecide: an export holds no judgement.")
        _verify_export(path, witness, key)
    elif key is not None:
        raise UsageError("station verify --key: a journal is not signed; only an export is.")
    elif path.is_dir() and not (path / JOURNAL_FILE).exists():
        raise UsageError(
            f"{path}: neither {JOURNAL_FILE} nor {MANIFEST_SUFFIX} is there. Name a journal, or an export."
        )
    else:
        whole = _verify_journal(find_journal(path), witness)
        as_decided = _redecide_journal(find_journal(path), profiles) if redecide else True
        if not (whole and as_decided):
            raise click.exceptions.Exit(1)


def _redecide_journal(path: Path, profiles: tuple[str, ...]) -> bool:
    from station.commands.redecide import redecide_journal  # who only verifies needs no judgement

    return redecide_journal(path, profiles)


def _verify_journal(path: Path, witness: WitnessedHead | None) -> bool:
    """Whether all is as it was written."""
    before = _journal_extent(path)  # a live journal grows while it is read
    complaints = 0
    with spinner(f"verifying {path}"):
        for complaint in verify(path, witness):
            click.echo(str(complaint), err=True)
            complaints += 1
    if complaints or before is None:
        return False
    archived, head = before
    click.echo(
        f"{path}: whole. {head.seq - archived} entries, the last is {head.seq}:{head.digest.hex()}"
    )
    return True


def _is_export(path: Path) -> bool:
    """Told without the parts that only an export needs: a journal stands in most directories."""
    manifests = (
        path / MANIFEST_SUFFIX,
        path / f"_{MANIFEST_SUFFIX}",
        path.with_name(f"{path.name}.{MANIFEST_SUFFIX}"),
    )
    if path.name.endswith(EXPORT_SUFFIXES) or any(one.is_file() for one in manifests):
        return True
    if not path.is_dir() or (path / JOURNAL_FILE).exists():
        return False
    parts = (PARTITION_GLOB, f"*/{PARTITION_GLOB}", *(f"*{name}" for name in EXPORT_SUFFIXES))
    return any(True for part in parts for _ in path.glob(part))


def _verify_export(path: Path, witness: WitnessedHead | None, key: str | None) -> None:
    from station.history.export.manifest import find_manifests, find_unexported_files, verify_export

    manifests = find_manifests(path)
    if not manifests:
        raise CommandFailed(
            f"{path}: no manifest vouches for it. An export that was broken off has none."
        )
    if len(manifests) > 1 and witness:
        raise UsageError(f"{path}: {len(manifests)} exports. Name the one that --head is of.")
    wrong = False
    with spinner(f"verifying {path}"):
        for complaint in chain(
            find_unexported_files(path, manifests) if path.is_dir() else (),
            *(verify_export(manifest, expected_fingerprint=key) for manifest in manifests),
        ):
            click.echo(complaint, err=True)
            wrong = True
    if wrong:
        raise click.exceptions.Exit(1)
    for manifest in manifests:
        _print_export_summary(path if len(manifests) == 1 else manifest.parent, manifest, witness)


def _print_export_summary(path: Path, manifest: Path, witness: WitnessedHead | None) -> None:
    from station.history.export.manifest import read_manifest, summarize_manifest

    export = read_manifest(manifest)
    facts = summarize_manifest(export)
    if witness and witness != (export.last_entry, bytes.fromhex(export.last_digest)):
        raise CommandFailed(f"{path}: made at {facts['head']}, not at the head you named.")
    if not export.whole:
        raise CommandFailed(f"{path}: as it was signed, but of a journal that was damaged.")
    since = f" of entries from {export.first_entry} on" if export.first_entry > 1 else ""
    click.echo(
        f"{path}: whole. {facts['rows']} rows of {export.table} of {export.station}{since}, "
        f"signed by key {facts['key']} at {facts['head']}"
    )


def _journal_extent(path: Path) -> tuple[int, Head] | None:
    """The number before the first entry, and the head; None where they cannot be read."""
    try:
        with closing(Reader.open(path, Registry(()))) as reader:
            return reader.position_before_first()[0], reader.read_head()
    except JournalFailed:
        return None  # `verify` says why, and where
