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
from journal.storage.reader import Reader
from station.commands.shared.atomic_output import staging_directory
from station.commands.shared.exits import CommandFailed, UsageError
from station.commands.shared.journal_argument import journal_argument, open_journal, spinner
from station.commands.shared.time_range import (
    entries_progress_bar,
    since_option,
    time_span,
    until_option,
)
from station.history.export.export import (
    ExportResult,
    TimeRange,
    export_table,
    find_last_entry,
    make_revealer,
)
from station.history.export.manifest import (
    FORMAT,
    ExportLocation,
    Manifest,
    SigningKeyFailed,
    describe_file,
    encode_public_key,
    key_fingerprint,
    locate_export,
    open_signing_key,
    signature_path,
    write_manifest,
)
from station.history.export.tables import TABLE_COLUMNS
from station.history.export.writers import (
    DecimalTooLong,
    ParquetMissing,
    ParquetWriter,
    TableWriter,
    TextWriter,
    import_pyarrow,
)
from station.runtime.loop.startup import event_registry

FORMATS: Final = ("csv", "jsonl", "parquet")
SUFFIXES: Final = frozenset(f".{format}" for format in FORMATS)
DEFAULT_KEY_PATH: Final = Path("keys") / "export.pem"  # beside the journal
PARTIAL_SUFFIX: Final = ".partial"  # what is not whole yet


class ExportRequest(NamedTuple):
    """What was asked for."""

    path: Path
    table: str
    format: str
    span: TimeRange
    values: bool


@click.command("export")
@journal_argument
@click.argument("what", metavar="TABLE", type=click.Choice(list(TABLE_COLUMNS)))
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
    wish = ExportRequest(path, what, format, time_span(since, until), values)
    try:
        done = (
            _export_to_files(wish, out, key or path.parent / DEFAULT_KEY_PATH)
            if out
            else _export_to_stdout(wish)
        )
    except (ParquetMissing, DecimalTooLong, SigningKeyFailed) as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        if out is None:
            raise  # whoever reads the rows has gone, or has no room
        raise CommandFailed(
            f"{error.filename or out}: {error.strerror}. Nothing was exported."
        ) from None
    for one in done.damaged_ranges:
        click.echo(str(one), err=True)
    if done.damaged_ranges:
        told = "the export says so" if out else "rows may be missing"
        raise CommandFailed(f"{path}: not whole; {told}. Run `station verify` on it.")


def _export_to_stdout(request: ExportRequest) -> ExportResult:
    """The rows alone: for a look, or for a pipe."""
    if request.format == "parquet":
        raise UsageError("station export: parquet is not for a terminal or a pipe; name --out.")
    with _open_source(request) as reader:
        writer = TextWriter(
            request.format, TABLE_COLUMNS[request.table], Path("-"), sys.stdout.buffer
        )
        done = _export_rows(request, reader, writer)
        sys.stdout.flush()
        return done


@contextmanager
def _open_source(request: ExportRequest) -> Iterator[Reader]:
    with closing(open_journal(request.path)) as reader:
        if reader.read_head().seq == 0:
            raise CommandFailed(
                f"{request.path}: no entries yet. Start the station, and there will be."
            )
        yield reader


def _export_to_files(request: ExportRequest, out: Path, key_path: Path) -> ExportResult:
    if request.format == "parquet":
        import_pyarrow()  # before anything is written
    with _open_source(request) as reader:
        with spinner(f"reading {request.path}"):
            identity = _station_identity(reader, request.span)
        place = locate_export(
            out, SUFFIXES, station=identity if request.format == "parquet" else None
        )
        _check_destination(place, out, request)
        new_key = not key_path.exists()
        key = open_signing_key(key_path)
        aside = PARTIAL_SUFFIX if place.is_exclusive else f".{out.name}{PARTIAL_SUFFIX}"
        with staging_directory(place.root, aside, publish_last=place.manifest.name) as root:
            with _open_writer(
                request, root if place.is_exclusive else root / out.name, place.is_exclusive
            ) as writer:
                done = _export_rows(request, reader, writer)
            manifest = Manifest(
                format=FORMAT,
                table=request.table,
                station=identity,
                journal_id=reader.journal_id,
                from_=_format_time(request.span.since),
                to=_format_time(request.span.until),
                first_entry=done.first_entry,
                last_entry=done.last_entry,
                last_digest=done.last_digest.hex(),
                whole=not done.damaged_ranges,
                values=request.values,
                totals=done.totals,
                files=tuple(
                    describe_file(root, file, rows) for file, rows in writer.rows_by_file.items()
                ),
                public_key=encode_public_key(key),
            )
            write_manifest(
                manifest, place._replace(root=root, manifest=root / place.manifest.name), key
            )
    _print_summary(out, key_path if new_key else None, manifest)
    return done


def _print_summary(out: Path, new_key: Path | None, manifest: Manifest) -> None:
    """What was made; a key that nobody can know yet is said to be one."""
    new = f", which is new, in {new_key}" if new_key else ""
    click.echo(
        f"{out}: {manifest.totals['rows']} rows of entries {manifest.first_entry} to "
        f"{manifest.last_entry}, signed by key {key_fingerprint(manifest.public_key)}{new}"
    )


def _check_destination(place: ExportLocation, out: Path, request: ExportRequest) -> None:
    """Nothing that is there already is written over."""
    if place.is_exclusive:
        if place.root.exists() and (not place.root.is_dir() or any(place.root.iterdir())):
            raise UsageError(f"{place.root}: is there and not empty. Name a directory that is new.")
    elif out.suffix != f".{request.format}":
        raise UsageError(
            f"{out}: does not end as {request.format} does. Name --format {out.suffix[1:]}."
        )
    else:
        for path in (out, place.manifest, signature_path(place.manifest)):
            if path.exists():
                raise UsageError(f"{path}: is there already. Name a file that is new.")


@contextmanager
def _open_writer(request: ExportRequest, path: Path, is_exclusive: bool) -> Iterator[TableWriter]:
    """Into the file `path`, or the directory, where the export has one alone."""
    columns = TABLE_COLUMNS[request.table]
    if request.format == "parquet":
        yield ParquetWriter(request.table, columns, path, daily=is_exclusive)
        return
    path = path / f"{request.table}.{request.format}" if is_exclusive else path
    with path.open("xb") as file:
        yield TextWriter(request.format, columns, path, file)


def _export_rows(request: ExportRequest, reader: Reader, writer: TableWriter) -> ExportResult:
    value_of = reader.value_of if request.values else None
    reveal = make_revealer(value_of, quoted=request.table == "messages")
    last = find_last_entry(reader, request.span)
    with entries_progress_bar() as tell:

        def advance(seq: int) -> None:
            tell(seq, last)

        return export_table(
            reader,
            event_registry(),
            request.table,
            request.span,
            writer,
            reveal=reveal,
            on_progress=advance,
        )


def _station_identity(reader: Reader, span: TimeRange) -> str:
    """What the station was called when the range ended."""
    before = find_last_entry(reader, span) + 1
    for seq in reader.find_seqs(count_max=1, before_seq=before, kinds=("StationStarted",)):
        event = reader.read_entry(seq).event
        if isinstance(event, StationStarted):
            return event.identity
    return "unknown"


def _format_time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")[:23] + "Z"
