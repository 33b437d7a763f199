"""Writers of export files: CSV, JSON lines and Parquet.

Decimals keep all their digits, also in Parquet; times are UTC. The same rows give the same bytes
(Parquet: with the same release of pyarrow).

A text of a row can come from a CSMS, a card or an EV, and is opened in a spreadsheet or printed on
a terminal. So in CSV and JSON Lines it has no control characters, and in CSV it is no formula
(OWASP, "CSV Injection"):

* CSV: a character that is not printable is written as Python escapes it (`\\x1b`, `\\u202e`), and a
  text that begins with `=`, `+`, `-` or `@` has an apostrophe before it, unless it is a number. The
  columns `EXACT_COLUMNS` keep every character, because digests are computed from them.
* JSON Lines: such a character is written as JSON escapes it, so the value is the same.
* Parquet: the values as they are; nothing interprets them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from journal.codec import format_time
from station.history.export.table import Columns, ColumnType, TableRow
from station.transcript.phrases import escape_control_characters, escape_json_text

DECIMAL_DIGITS: Final = (38, 9)  # of a Parquet decimal: in total, and after the point
BATCH_ROWS_MAX: Final = 10_000  # Parquet rows kept in memory: a few megabytes
EXACT_COLUMNS: Final = frozenset({"body"})  # JSON of an entry: an object, so never a formula
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_json_encoder = msgspec.json.Encoder(decimal_format="number")


class ParquetMissing(Exception):
    """pyarrow is not installed. One line: what to do."""


class DecimalTooLong(Exception):
    """A number has more digits than a Parquet decimal. One line: what to do."""


class TableWriter(Protocol):
    """Writes rows to one or more files."""

    rows_by_file: dict[Path, int]  # files written so far, with their numbers of rows

    def write(self, table_row: TableRow) -> None: ...

    def close(self) -> None: ...


class _PassThroughFile:
    """A file whose `write` returns the text."""

    def write(self, text: str) -> str:
        return text


_csv_writer: Any = csv.writer(
    _PassThroughFile(), lineterminator="\n"
)  # returns what `write` returns


# --- Text ----------------------------------------------------------------------------------------


def encode_csv_row(columns: Columns, table_row: TableRow) -> bytes:
    """RFC 4180 with a bare line feed; an unknown value is empty."""
    cells = [
        _neutralize_text(value)
        if isinstance(value, str) and name not in EXACT_COLUMNS
        else _format_value(value)
        for (name, _), value in zip(columns, table_row.values, strict=True)
    ]
    text: str = _csv_writer.writerow(cells)
    return text.encode()


def _neutralize_text(text: str) -> str:
    """A text that is no formula in a spreadsheet and controls no terminal."""
    is_formula = text.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(text)
    return ("'" if is_formula else "") + escape_control_characters(text)


def encode_csv_header(columns: Columns) -> bytes:
    return (",".join(name for name, _ in columns) + "\n").encode()


def encode_json_line(columns: Columns, table_row: TableRow) -> bytes:
    """One JSON object; decimals are numbers and keep their trailing zeros."""
    row = {
        name: format_time(value) if isinstance(value, datetime) else value
        for (name, _), value in zip(columns, table_row.values, strict=True)
    }
    return escape_json_text(_json_encoder.encode(row).decode()).encode() + b"\n"


def _format_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    return format_time(value) if isinstance(value, datetime) else value


TEXT_FORMATS: Final[
    dict[str, tuple[Callable[[Columns], bytes], Callable[[Columns, TableRow], bytes]]]
] = {
    "csv": (encode_csv_header, encode_csv_row),
    "jsonl": (lambda columns: b"", encode_json_line),
}


class TextWriter:
    """CSV or JSON lines into an open file."""

    def __init__(self, format: str, columns: Columns, path: Path, file: BinaryIO) -> None:
        encode_header, self._encode_row = TEXT_FORMATS[format]
        self._columns = columns
        self._path = path
        self._file = file
        self.rows_by_file = {path: 0}
        file.write(encode_header(columns))

    def write(self, table_row: TableRow) -> None:
        self._file.write(self._encode_row(self._columns, table_row))
        self.rows_by_file[self._path] += 1

    def close(self) -> None:
        self._file.flush()


# --- Parquet -------------------------------------------------------------------------------------


def import_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet.

    Raises:
        ParquetMissing: the extra `parquet` is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ParquetMissing(
            "parquet: pyarrow is not installed. Run `pip install 'ocpp-station[parquet]'`."
        ) from None
    return pyarrow, pyarrow.parquet


class ParquetWriter:
    """One file, or one in each directory `day=…/`, the layout that query engines read."""

    def __init__(self, table_name: str, columns: Columns, path: Path, *, daily: bool) -> None:
        """Prepare to write to `path`: the file, or the directory of the days.

        Raises:
            ParquetMissing: pyarrow is not installed.
        """
        self._pyarrow, self._parquet = import_pyarrow()
        self._schema = self._pyarrow.schema(
            [(name, self._arrow_type(kind)) for name, kind in columns],
        )
        self._table_name = table_name
        self._path = path
        self._daily = daily
        self._current_day: str | None = None
        self._open_writer: Any = None
        self._current_path = path
        self._pending_rows: list[TableRow] = []
        self.rows_by_file: dict[Path, int] = {}

    def write(self, table_row: TableRow) -> None:
        day = f"{table_row.at:%Y-%m-%d}"
        if self._open_writer is None or (self._daily and day != self._current_day):
            self._start_file(day)
        self._pending_rows.append(table_row)
        if len(self._pending_rows) >= BATCH_ROWS_MAX:
            self._flush_rows()

    def close(self) -> None:
        if self._open_writer is None and not self._daily:
            self._start_file("")  # an empty file still has its columns
        self._flush_rows()
        if self._open_writer is not None:
            self._open_writer.close()
            self._open_writer = None

    def _start_file(self, day: str) -> None:
        """Start the next file. After the clock was set back, a day can have a second file."""
        if self._open_writer is not None:
            self.close()
        self._current_day, self._current_path = day, self._path
        if self._daily:
            directory = self._path / f"day={day}"
            directory.mkdir(parents=True, exist_ok=True)
            self._current_path = (
                directory / f"{self._table_name}-{len(self.rows_by_file) + 1:04}.parquet"
            )
        self.rows_by_file[self._current_path] = 0
        self._open_writer = self._parquet.ParquetWriter(self._current_path, self._schema)

    def _flush_rows(self) -> None:
        if not self._pending_rows:
            return
        values = list(zip(*(table_row.values for table_row in self._pending_rows), strict=True))
        try:
            columns = [
                self._pyarrow.array(column, type=field.type)
                for column, field in zip(values, self._schema, strict=True)
            ]
        except self._pyarrow.ArrowInvalid as error:
            raise DecimalTooLong(
                f"parquet: {error}. Use csv or jsonl, which have no limit."
            ) from error
        self._open_writer.write_table(self._pyarrow.Table.from_arrays(columns, schema=self._schema))
        self.rows_by_file[self._current_path] += len(self._pending_rows)
        self._pending_rows.clear()

    def _arrow_type(self, column_type: ColumnType) -> Any:
        arrow = self._pyarrow
        return {
            "text": arrow.string,
            "int": arrow.int64,
            "decimal": lambda: arrow.decimal128(*DECIMAL_DIGITS),
            "time": lambda: arrow.timestamp("ms", tz="UTC"),
        }[column_type]()
