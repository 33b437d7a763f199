"""How does a row become a line of a file?

Decimals are written with all their digits, also in Parquet, and times as UTC. The same rows give
the same bytes (Parquet: with the same release of pyarrow).
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from journal.codec import at_text
from station.history.rows import Columns, Kind, Line

DIGITS: Final = (38, 9)  # of a Parquet decimal: in all, and behind the point
ROWS_AT_ONCE: Final = 10_000  # of Parquet in memory: some megabytes

_json = msgspec.json.Encoder(decimal_format="number")


class ParquetMissing(Exception):
    """pyarrow is not installed. One line: what to do."""


class ParquetUnfit(Exception):
    """A number has more digits than a Parquet decimal. One line: what to do."""


class Writer(Protocol):
    """Takes rows and leaves files."""

    files: dict[Path, int]  # made so far, and how many rows each has

    def write(self, line: Line) -> None: ...

    def close(self) -> None: ...


class _Handed:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


_csv: Any = csv.writer(_Handed(), lineterminator="\n")  # gives what the file gives


# --- Text ----------------------------------------------------------------------------------------


def csv_line(columns: Columns, line: Line) -> bytes:
    """RFC 4180 with a bare line feed; nothing for what is not known."""
    text: str = _csv.writerow([_plain(value) for value in line.values])
    return text.encode()


def csv_head(columns: Columns) -> bytes:
    return (",".join(name for name, _ in columns) + "\n").encode()


def jsonl_line(columns: Columns, line: Line) -> bytes:
    """One object; decimals are numbers that keep their zeros."""
    row = {
        name: at_text(value) if isinstance(value, datetime) else value
        for (name, _), value in zip(columns, line.values, strict=True)
    }
    return _json.encode(row) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    return at_text(value) if isinstance(value, datetime) else value


TEXTS: Final[dict[str, tuple[Callable[[Columns], bytes], Callable[[Columns, Line], bytes]]]] = {
    "csv": (csv_head, csv_line),
    "jsonl": (lambda columns: b"", jsonl_line),
}


class TextWriter:
    """CSV or JSON lines into an open file."""

    def __init__(self, format: str, columns: Columns, path: Path, file: BinaryIO) -> None:
        head, self._line = TEXTS[format]
        self._columns = columns
        self._path = path
        self._file = file
        self.files = {path: 0}
        file.write(head(columns))

    def write(self, line: Line) -> None:
        self._file.write(self._line(self._columns, line))
        self.files[self._path] += 1

    def close(self) -> None:
        self._file.flush()


# --- Parquet -------------------------------------------------------------------------------------


def arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet part.

    Raises:
        ParquetMissing: they are an extra that is not installed.
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
    """One file, or one in each `day=…/`, the layout engines know."""

    def __init__(self, what: str, columns: Columns, path: Path, *, daily: bool) -> None:
        """`path`: the file, or the directory of the days.

        Raises:
            ParquetMissing: pyarrow is not installed.
        """
        self._arrow, self._parquet = arrow()
        self._schema = self._arrow.schema(
            [(name, self._type(kind)) for name, kind in columns],
        )
        self._what = what
        self._path = path
        self._daily = daily
        self._day: str | None = None
        self._open: Any = None
        self._file = path
        self._rows: list[Line] = []
        self.files: dict[Path, int] = {}

    def write(self, line: Line) -> None:
        day = f"{line.at:%Y-%m-%d}"
        if self._open is None or (self._daily and day != self._day):
            self._turn(day)
        self._rows.append(line)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        if self._open is None and not self._daily:
            self._turn("")  # an empty file still tells its columns
        self._flush()
        if self._open is not None:
            self._open.close()
            self._open = None

    def _turn(self, day: str) -> None:
        """Begin the next file. A clock that is set back may begin a day anew."""
        if self._open is not None:
            self.close()
        self._day, self._file = day, self._path
        if self._daily:
            part = self._path / f"day={day}"
            part.mkdir(parents=True, exist_ok=True)
            self._file = part / f"{self._what}-{len(self.files) + 1:04}.parquet"
        self.files[self._file] = 0
        self._open = self._parquet.ParquetWriter(self._file, self._schema)

    def _flush(self) -> None:
        if not self._rows:
            return
        values = list(zip(*(line.values for line in self._rows), strict=True))
        try:
            columns = [
                self._arrow.array(column, type=field.type)
                for column, field in zip(values, self._schema, strict=True)
            ]
        except self._arrow.ArrowInvalid as error:
            raise ParquetUnfit(
                f"parquet: {error}. Use csv or jsonl, which have no limit."
            ) from error
        self._open.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self.files[self._file] += len(self._rows)
        self._rows.clear()

    def _type(self, kind: Kind) -> Any:
        arrow = self._arrow
        return {
            "text": arrow.string,
            "int": arrow.int64,
            "decimal": lambda: arrow.decimal128(*DIGITS),
            "time": lambda: arrow.timestamp("ms", tz="UTC"),
        }[kind]()
