"""`station export`: a table of a journal as CSV, JSON Lines or Parquet, with a signed manifest."""

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
from station.commands.shared.atomic_output import staging_directory, stdout_if_dash
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import (
    journal_argument,
    no_entries,
    open_journal,
    spinner,
)
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
from station.transcript.phrases import escape_control_characters

FORMATS: Final = ("csv", "jsonl", "parquet")
SUFFIXES: Final = frozenset(f".{format}" for format in FORMATS)
DEFAULT_KEY_PATH: Final = Path("keys") / "export.pem"  # in the journal's directory
PARTIAL_SUFFIX: Final = ".partial"  # of the staging directory


class ExportRequest(NamedTuple):
    """What to export, and how."""

    path: Path
    table: str
    format: str
    span: TimeRange
    values: bool


@click.command("export")
@journal_argument
@click.argument("what", metavar="TABLE", type=click.Choice(list(TABLE_COLUMNS)))
@click.option(
    "--format",
    "format",
    type=click.Choice(FORMATS),
    default="csv",
    show_default=True,
    help="Format of the rows.",
)
@since_option
@until_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=stdout_if_dash,
    help="A new directory or a new file. Without it, or -: stdout, with no manifest.",
)
@click.option("--values", is_flag=True, help="Export idTokens instead of their references.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Ed25519 signing key, PEM; made if absent. Default: keys/export.pem beside JOURNAL.",
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
    """Export a table of JOURNAL, with a signed manifest.

    TABLE is transactions, meter-values, refusals, unaccounted, states, faults, messages or events.

    Times are those of the station's clock. A transaction belongs to the range in which it ended;
    open ones are exported only without --to. Entries after --to have no influence.
    """
    request = ExportRequest(path, what, format, time_span(since, until), values)
    try:
        result = (
            _export_to_files(request, out, key or path.parent / DEFAULT_KEY_PATH)
            if out
            else _export_to_stdout(request)
        )
    except (ParquetMissing, DecimalTooLong, SigningKeyFailed) as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        if out is None:
            raise  # stdout was closed or is full: `station.cli` reports it
        raise CommandFailed(
            f"{error.filename or out}: {error.strerror}. Nothing was exported."
        ) from None
    for damaged_range in result.damaged_ranges:
        click.echo(escape_control_characters(str(damaged_range)), err=True)
    if result.damaged_ranges:
        effect = "the manifest records it" if out else "rows may be missing"
        raise CommandFailed(f"{path}: damaged; {effect}. Run `station verify`.")


def _export_to_stdout(request: ExportRequest) -> ExportResult:
    """Write the rows alone, without a manifest."""
    if request.format == "parquet":
        raise click.UsageError("Parquet is not for a terminal or a pipe. Give --out.")
    with _open_source(request) as reader:
        writer = TextWriter(
            request.format, TABLE_COLUMNS[request.table], Path("-"), sys.stdout.buffer
        )
        result = _export_rows(request, reader, writer)
        sys.stdout.flush()
        return result


@contextmanager
def _open_source(request: ExportRequest) -> Iterator[Reader]:
    with closing(open_journal(request.path)) as reader:
        if reader.read_head().seq == 0:
            raise no_entries(request.path)
        yield reader


def _export_to_files(request: ExportRequest, out: Path, key_path: Path) -> ExportResult:
    if request.format == "parquet":
        import_pyarrow()  # before anything is written
    with _open_source(request) as reader:
        with spinner(f"reading {request.path}"):
            identity = _station_identity(reader, request.span)
        location = locate_export(
            out, SUFFIXES, station=identity if request.format == "parquet" else None
        )
        _check_destination(location, out, request)
        new_key = not key_path.exists()
        key = open_signing_key(key_path)
        staging = PARTIAL_SUFFIX if location.is_exclusive else f".{out.name}{PARTIAL_SUFFIX}"
        with staging_directory(location.root, staging, publish_last=location.manifest.name) as root:
            with _open_writer(
                request, root if location.is_exclusive else root / out.name, location.is_exclusive
            ) as writer:
                result = _export_rows(request, reader, writer)
            manifest = Manifest(
                format=FORMAT,
                table=request.table,
                station=identity,
                journal_id=reader.journal_id,
                from_=_format_time(request.span.since),
                to=_format_time(request.span.until),
                first_seq=result.first_seq,
                last_seq=result.last_seq,
                last_digest=result.last_digest.hex(),
                complete=not result.damaged_ranges,
                id_tokens_revealed=request.values,
                totals=result.totals,
                files=tuple(
                    describe_file(root, file, rows) for file, rows in writer.rows_by_file.items()
                ),
                public_key=encode_public_key(key),
            )
            write_manifest(
                manifest, location._replace(root=root, manifest=root / location.manifest.name), key
            )
    _print_summary(out, key_path if new_key else None, manifest)
    return result


def _print_summary(out: Path, new_key: Path | None, manifest: Manifest) -> None:
    """Print what was written; a new key is marked, because its fingerprint must be passed on."""
    new = f" (new key, in {new_key})" if new_key else ""
    click.echo(
        f"{out}: {manifest.totals['rows']} rows of entries {manifest.first_seq} to "
        f"{manifest.last_seq}, signed by key {key_fingerprint(manifest.public_key)}{new}"
    )


def _check_destination(location: ExportLocation, out: Path, request: ExportRequest) -> None:
    """Refuse to overwrite anything."""
    if location.is_exclusive:
        root = location.root
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise click.UsageError(f"{root}: exists and is not empty. Give a new directory.")
    elif out.suffix != f".{request.format}":
        raise click.UsageError(
            f"{out}: the suffix does not match --format {request.format}. Give --format "
            f"{out.suffix[1:]}."
        )
    else:
        for path in (out, location.manifest, signature_path(location.manifest)):
            if path.exists():
                raise click.UsageError(f"{path}: exists. Give a new file.")


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
    with entries_progress_bar() as update:

        def advance(seq: int) -> None:
            update(seq, last)

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
    """The identity of the station at the end of the range."""
    before = find_last_entry(reader, span) + 1
    for seq in reader.find_seqs(count_max=1, before_seq=before, kinds=("StationStarted",)):
        event = reader.read_entry(seq).event
        if isinstance(event, StationStarted):
            return event.identity
    return "unknown"


def _format_time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")[:23] + "Z"
