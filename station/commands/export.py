"""How does the history of a station get to somebody who must be able to trust it?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import click

from journal.observations import StationStarted
from journal.reader import Reader
from station.commands.answers import Misused, No
from station.commands.aside import made_aside
from station.commands.journals import busy, journal_argument, opened
from station.commands.ranges import progress, since_option, span, until_option
from station.history.export import Done, Span, export, last_entry, revealing
from station.history.manifest import (
    FORMAT,
    KeyFailed,
    Manifest,
    Place,
    fingerprint,
    made,
    place_of,
    public_key,
    seal,
    signature_of,
    signing_key,
)
from station.history.tables import COLUMNS
from station.history.writers import (
    ParquetMissing,
    ParquetUnfit,
    ParquetWriter,
    TextWriter,
    Writer,
    arrow,
)
from station.runtime.memory import registry

FORMATS: Final = ("csv", "jsonl", "parquet")
SUFFIXES: Final = frozenset(f".{format}" for format in FORMATS)
KEY: Final = Path("keys") / "export.pem"  # beside the journal
PARTIAL: Final = ".partial"  # what is not whole yet


class Wish(NamedTuple):
    """What was asked for."""

    path: Path
    what: str
    format: str
    span: Span
    values: bool


@click.command("export")
@journal_argument
@click.argument("what", metavar="TABLE", type=click.Choice(list(COLUMNS)))
@click.option("--format", "format", type=click.Choice(FORMATS), default="csv", show_default=True)
@since_option
@until_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A new directory, or a file to be made. Without it: to stdout, with no manifest.",
)
@click.option("--values", is_flag=True, help="Give idTokens and not their references.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Ed25519 key that signs, PEM; made if absent. Default: keys/export.pem beside JOURNAL.",
)
def export_command(
    path: Path,
    what: str,
    format: str,
    since: datetime | None,
    until: datetime | None,
    out: Path | None,
    values: bool,
    key: Path | None,
) -> None:
    """Write a table of JOURNAL for others, with a signed manifest.

    TABLE is transactions, meter-values, states, faults, messages or events.

    Times are the station's own clock. A transaction belongs to the range in which it ended;
    those still open are told only without --to. What happened after --to does not count.
    """
    wish = Wish(path, what, format, span(since, until), values)
    try:
        done = _to_files(wish, out, key or path.parent / KEY) if out else _to_stdout(wish)
    except (ParquetMissing, ParquetUnfit, KeyFailed) as error:
        raise No(str(error)) from None
    except OSError as error:
        if out is None:
            raise  # whoever reads the rows has gone, or has no room
        raise No(f"{error.filename or out}: {error.strerror}. Nothing was exported.") from None
    for one in done.breaks:
        click.echo(str(one), err=True)
    if done.breaks:
        told = "the export says so" if out else "rows may be missing"
        raise No(f"{path}: not whole; {told}. Run `station verify` on it.")


def _to_stdout(wish: Wish) -> Done:
    """The rows alone: for a look, or for a pipe."""
    if wish.format == "parquet":
        raise Misused("station export: parquet is not for a terminal or a pipe; name --out.")
    with _source(wish) as reader:
        writer = TextWriter(wish.format, COLUMNS[wish.what], Path("-"), sys.stdout.buffer)
        done = _exported(wish, reader, writer)
        sys.stdout.flush()
        return done


@contextmanager
def _source(wish: Wish) -> Iterator[Reader]:
    with closing(opened(wish.path)) as reader:
        if reader.head().seq == 0:
            raise No(f"{wish.path}: no entries yet. Start the station, and there will be.")
        yield reader


def _to_files(wish: Wish, out: Path, key_path: Path) -> Done:
    if wish.format == "parquet":
        arrow()  # before anything is written
    with _source(wish) as reader:
        with busy(f"reading {wish.path}"):
            identity = _identity(reader, wish.span)
        place = place_of(out, SUFFIXES, station=identity if wish.format == "parquet" else None)
        _check(place, out, wish)
        new_key = not key_path.exists()
        key = signing_key(key_path)
        aside = PARTIAL if place.alone else f".{out.name}{PARTIAL}"
        with made_aside(place.root, aside, last=place.manifest.name) as root:
            with _writer(wish, root if place.alone else root / out.name, place.alone) as writer:
                done = _exported(wish, reader, writer)
            manifest = Manifest(
                format=FORMAT,
                table=wish.what,
                station=identity,
                journal_id=reader.journal_id,
                from_=_text(wish.span.since),
                to=_text(wish.span.until),
                first_entry=done.first_entry,
                last_entry=done.last_entry,
                last_digest=done.last_digest.hex(),
                whole=not done.breaks,
                values=wish.values,
                totals=done.totals,
                files=tuple(made(root, file, rows) for file, rows in writer.files.items()),
                public_key=public_key(key),
            )
            seal(manifest, place._replace(root=root, manifest=root / place.manifest.name), key)
    _tell(out, key_path if new_key else None, manifest)
    return done


def _tell(out: Path, new_key: Path | None, manifest: Manifest) -> None:
    """What was made; a key that nobody can know yet is said to be one."""
    new = f", which is new, in {new_key}" if new_key else ""
    click.echo(
        f"{out}: {manifest.totals['rows']} rows of entries {manifest.first_entry} to "
        f"{manifest.last_entry}, signed by key {fingerprint(manifest.public_key)}{new}"
    )


def _check(place: Place, out: Path, wish: Wish) -> None:
    """Nothing that is there already is written over."""
    if place.alone:
        if place.root.exists() and (not place.root.is_dir() or any(place.root.iterdir())):
            raise Misused(f"{place.root}: is there and not empty. Name a directory that is new.")
    elif out.suffix != f".{wish.format}":
        raise Misused(f"{out}: does not end as {wish.format} does. Name --format {out.suffix[1:]}.")
    else:
        for path in (out, place.manifest, signature_of(place.manifest)):
            if path.exists():
                raise Misused(f"{path}: is there already. Name a file that is new.")


@contextmanager
def _writer(wish: Wish, path: Path, alone: bool) -> Iterator[Writer]:
    """Into the file `path`, or the directory, where the export has one alone."""
    columns = COLUMNS[wish.what]
    if wish.format == "parquet":
        yield ParquetWriter(wish.what, columns, path, daily=alone)
        return
    path = path / f"{wish.what}.{wish.format}" if alone else path
    with path.open("xb") as file:
        yield TextWriter(wish.format, columns, path, file)


def _exported(wish: Wish, reader: Reader, writer: Writer) -> Done:
    value_of = reader.value_of if wish.values else None
    reveal = revealing(value_of, quoted=wish.what == "messages")
    last = last_entry(reader, wish.span)
    with progress() as tell:

        def advance(seq: int) -> None:
            tell(seq, last)

        return export(
            reader, registry(), wish.what, wish.span, writer, reveal=reveal, advance=advance
        )


def _identity(reader: Reader, span: Span) -> str:
    """What the station was called when the range ended."""
    before = last_entry(reader, span) + 1
    for seq in reader.numbers(newest=1, before=before, kinds=("StationStarted",)):
        event = reader.entry(seq).event
        if isinstance(event, StationStarted):
            return event.identity
    return "unknown"


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")[:23] + "Z"
