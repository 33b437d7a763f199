"""Is a journal, or an export, still what the station wrote?"""

from __future__ import annotations

import re
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Final

import click

from journal.codec import Registry
from journal.reader import Head, JournalFailed, Reader
from journal.verify import Witness, verify, witness_of
from station.commands.answers import Misused, No
from station.commands.journals import FILE, busy, found

EXPORTED: Final = "manifest.json"  # as the names of all manifests end
NAMES: Final = (".csv", ".jsonl", ".parquet", EXPORTED, f"{EXPORTED}.sig")  # so end those of files
TREE: Final = "station=*"  # directories of an export to Parquet


def _witness(_: click.Context, __: click.Parameter, text: str | None) -> Witness | None:
    if text is None:
        return None
    try:
        return witness_of(text)
    except ValueError as error:
        raise Misused(f"station verify --head: {error}.") from None


def _fingerprint(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", text, re.ASCII):
        raise Misused(f"station verify --key: a fingerprint is 64 hex digits, not {text!r}.")
    return text


@click.command("verify")
@click.argument("path", metavar="JOURNAL|EXPORT", type=click.Path(path_type=Path))
@click.option(
    "--head",
    "witness",
    metavar="SEQ:DIGEST",
    callback=_witness,
    help="An entry as somebody outside saw it: a cut tail shows in no chain.",
)
@click.option(
    "--key",
    metavar="FINGERPRINT",
    callback=_fingerprint,
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
    witness: Witness | None,
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
        raise Misused("station verify --profile: says how --redecide judges; add that.")
    if _is_export(path):
        if redecide:
            raise Misused("station verify --redecide: an export holds no judgement.")
        _verify_export(path, witness, key)
    elif key is not None:
        raise Misused("station verify --key: a journal is not signed; only an export is.")
    elif path.is_dir() and not (path / FILE).exists():
        raise Misused(
            f"{path}: neither {FILE} nor {EXPORTED} is there. Name a journal, or an export."
        )
    else:
        whole = _verify_journal(found(path), witness)
        as_decided = _judged_again(found(path), profiles) if redecide else True
        if not (whole and as_decided):
            raise click.exceptions.Exit(1)


def _judged_again(path: Path, profiles: tuple[str, ...]) -> bool:
    from station.commands.redecide import judged_again  # who only verifies needs no judgement

    return judged_again(path, profiles)


def _verify_journal(path: Path, witness: Witness | None) -> bool:
    """Whether all is as it was written."""
    before = _extent(path)  # a live journal grows while it is read
    complaints = 0
    with busy(f"verifying {path}"):
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
    manifests = (path / EXPORTED, path / f"_{EXPORTED}", path.with_name(f"{path.name}.{EXPORTED}"))
    if path.name.endswith(NAMES) or any(one.is_file() for one in manifests):
        return True
    if not path.is_dir() or (path / FILE).exists():
        return False
    parts = (TREE, f"*/{TREE}", *(f"*{name}" for name in NAMES))
    return any(True for part in parts for _ in path.glob(part))


def _verify_export(path: Path, witness: Witness | None, key: str | None) -> None:
    from station.history.manifest import complaints, intruders, manifests_at

    manifests = manifests_at(path)
    if not manifests:
        raise No(f"{path}: no manifest vouches for it. An export that was broken off has none.")
    if len(manifests) > 1 and witness:
        raise Misused(f"{path}: {len(manifests)} exports. Name the one that --head is of.")
    wrong = False
    with busy(f"verifying {path}"):
        for complaint in chain(
            intruders(path, manifests) if path.is_dir() else (),
            *(complaints(manifest, expected=key) for manifest in manifests),
        ):
            click.echo(complaint, err=True)
            wrong = True
    if wrong:
        raise click.exceptions.Exit(1)
    for manifest in manifests:
        _tell_export(path if len(manifests) == 1 else manifest.parent, manifest, witness)


def _tell_export(path: Path, manifest: Path, witness: Witness | None) -> None:
    from station.history.manifest import read, told

    export = read(manifest)
    facts = told(export)
    if witness and witness != (export.last_entry, bytes.fromhex(export.last_digest)):
        raise No(f"{path}: made at {facts['head']}, not at the head you named.")
    if not export.whole:
        raise No(f"{path}: as it was signed, but of a journal that was damaged.")
    since = f" of entries from {export.first_entry} on" if export.first_entry > 1 else ""
    click.echo(
        f"{path}: whole. {facts['rows']} rows of {export.table} of {export.station}{since}, "
        f"signed by key {facts['key']} at {facts['head']}"
    )


def _extent(path: Path) -> tuple[int, Head] | None:
    """The number before the first entry, and the head; None where they cannot be read."""
    try:
        with closing(Reader.open(path, Registry(()))) as reader:
            return reader.anchor()[0], reader.head()
    except JournalFailed:
        return None  # `verify` says why, and where
