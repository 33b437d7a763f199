"""What can be saved of a journal that SQLite cannot use any more?

Reads the pages of the file and of its log without SQLite: whatever row stands whole on a page is
found, whichever page that leads there is harmed. A page that the disk cannot read is a page that
is harmed. Nothing is written.

Source: SQLite, "Database File Format", sections 1.5 to 2.1 (pages, cells, records) and 4 (log).
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

from journal.chain import FORMAT, Row, digest_of, origin
from journal.log import frames_of
from journal.sectors import FILLER, content_of, read_around
from journal.tokens import TokenRow

PAGE_BYTES = 4096  # as the store makes them
LEAF = 0x0D  # of a table
DIGEST_BYTES = 32
_PAYLOAD_MAX = 64 << 20  # of one row: more is a damaged length
_SCHEMA_BYTES = 100  # the file's header, on the first page before its tree
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type to length
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class Anchor(NamedTuple):
    """As table `anchor` has it."""

    seq: int
    digest: bytes
    origin: bytes


class Salvage:
    """What stands whole in the file at a path and in its log. A context manager.

    Attributes:
        journal_id: None: the name is gone.
        anchor: None: there is none, or it is gone.
        tokens: the side table.
    """

    def __init__(self, path: Path) -> None:
        """Look once at everything but the entries.

        Raises:
            OSError: a file is there and nothing of it, or of its log, can be read.
        """
        self.journal_id: str | None = None
        self.anchor: Anchor | None = None
        self._tokens: dict[str, TokenRow] = {}
        with ExitStack() as files:
            file, log = _File(path, files), _log(path)
            seen, self._behind = (
                {page: image for page, image in frames if page and len(image) == PAGE_BYTES}
                for frames in frames_of(log)
            )
            self._pages = Pages(file, seen)
            for number, columns in self._records(self._pages):
                self._take(number, columns)
            for number, columns in self._records_behind():
                self._take(number, columns)
            if (file.pages or log) and len(file.unread) == file.pages and not log.strip(FILLER):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._files = files.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    @property
    def tokens(self) -> list[TokenRow]:
        return list(self._tokens.values())

    @property
    def begin(self) -> tuple[int, bytes]:
        """Number and digest before the first entry that is not archived; empty, if that is gone."""
        if self.anchor is not None:
            return self.anchor.seq, self.anchor.digest
        return 0, origin(self.journal_id) if self.journal_id is not None else b""

    def rows(self) -> Iterator[Row]:
        """Entries that are not archived, as they lie; a number may come twice, the first counts."""
        archived = self.anchor.seq if self.anchor else 0
        for pages in (self._pages, self._pages.in_file):  # a log that was cut may hide newer ones
            for number, columns in self._records(pages):
                row = _entry(number, columns)
                if row is not None and row.seq > archived:
                    yield row

    def rows_behind(self, seq: int, digest: bytes) -> Iterator[Row]:
        """Entries of commits that a damaged log hides, as far as the chain leads behind `seq`."""
        hidden: dict[int, Row] = {}
        for number, columns in self._records_behind():
            row = _entry(number, columns)
            if row is not None:
                hidden[number] = row
        while (more := hidden.get(seq + 1)) is not None:
            if digest_of(digest, *more[:-1]) != more.digest:
                return
            yield more
            seq, digest = more.seq, more.digest

    def _records(self, pages: Pages) -> Iterator[tuple[int, list[Any]]]:
        for number in pages.numbers:
            yield from _records(pages, number)

    def _records_behind(self) -> Iterator[tuple[int, list[Any]]]:
        pages = self._pages.over(self._behind)
        for number in sorted(self._behind):
            yield from _records(pages, number)

    def _take(self, number: int, columns: list[Any]) -> None:
        match columns:
            case [str() as ref, str(), str(), str(), bytes()] if ref.startswith("#"):
                self._tokens[ref] = TokenRow._make(columns)
            case [int() as format, str() as name] if format == FORMAT and _is_uuid(name):
                self.journal_id = self.journal_id or name
            case [_, bytes() as digest, bytes() as begun] if len(digest) == DIGEST_BYTES:
                found = Anchor(number, digest, begun)
                self.anchor = max(self.anchor or found, found)


def _entry(number: int, columns: list[Any]) -> Row | None:
    match columns:
        case [_, str(), int(), str(), int(), None | int(), str(), bytes()]:
            row = Row(number, *columns[1:])
            return row if _is_entry(row) else None
        case _:
            return None


def _is_entry(row: Row) -> bool:
    return bool(
        row.seq > 0
        and len(row.digest) == DIGEST_BYTES
        and _AT.fullmatch(row.at)
        and row.kind.isidentifier()
    )


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


# --- Pages ---------------------------------------------------------------------------------------


class _File:
    """The pages of a file, numbered from 1.

    Not by memory mapping: a page that cannot be read there ends the program.
    """

    def __init__(self, path: Path, files: ExitStack) -> None:
        self.pages = 0
        self.unread: set[int] = set()  # and are not tried again: the disk takes its time over each
        if path.exists():
            self._file = files.enter_context(path.open("rb")).fileno()
            self.pages = -(-os.fstat(self._file).st_size // PAGE_BYTES)

    def __getitem__(self, number: int) -> bytes:
        """Raises KeyError: it is not there, or cannot be read."""
        if not 0 < number <= self.pages or number in self.unread:
            raise KeyError(number)
        page, unread = read_around(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        if unread:
            self.unread.add(number)
            raise KeyError(number)
        return page.ljust(PAGE_BYTES, b"\0")


class Pages:
    """The pages of a file, some of them as a log has them."""

    def __init__(self, file: _File, newer: Mapping[int, bytes]) -> None:
        self._file = file
        self._newer = newer

    @property
    def numbers(self) -> list[int]:
        return sorted({*range(1, self._file.pages + 1), *self._newer})

    def __getitem__(self, number: int) -> bytes:
        return self._newer[number] if number in self._newer else self._file[number]

    @property
    def in_file(self) -> Pages:
        """As the file itself has them."""
        return Pages(self._file, {})

    def over(self, newer: Mapping[int, bytes]) -> Pages:
        return Pages(self._file, {**self._newer, **newer})


def _log(path: Path) -> bytes:
    try:
        return content_of(Path(f"{path}-wal"))
    except FileNotFoundError:
        return b""


def _records(pages: Pages, number: int) -> Iterator[tuple[int, list[Any]]]:
    """The rows on a leaf: rowid and columns. What is harmed is passed over."""
    try:
        page = pages[number]
    except KeyError:
        return
    start = _SCHEMA_BYTES if number == 1 else 0
    if page[start] != LEAF:
        return
    (count,) = struct.unpack_from(">H", page, start + 3)
    for cell in range(min(count, PAGE_BYTES // 4)):
        try:
            (at,) = struct.unpack_from(">H", page, start + 8 + 2 * cell)
            yield _cell(pages, page, at)
        except (IndexError, KeyError, ValueError, struct.error):
            continue  # this row is the damage


def _cell(pages: Pages, page: bytes, at: int) -> tuple[int, list[Any]]:
    length, at = _varint(page, at)
    rowid, at = _varint(page, at)
    if not 0 < length <= _PAYLOAD_MAX:
        raise ValueError(f"a row of {length} bytes")
    local = _local(length)
    payload = page[at : at + local]
    if local < length:
        (overflow,) = struct.unpack_from(">I", page, at + local)
        payload += _overflow(pages, overflow, length - local)
    return rowid, _columns(payload)


def _local(length: int) -> int:
    """How many bytes of a row stand on the leaf itself."""
    if length <= PAGE_BYTES - 35:
        return length
    least = (PAGE_BYTES - 12) * 32 // 255 - 23
    fitting = least + (length - least) % (PAGE_BYTES - 4)
    return fitting if fitting <= PAGE_BYTES - 35 else least


def _overflow(pages: Pages, number: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        page = pages[number]
        (number,) = struct.unpack_from(">I", page)
        found += page[4 : 4 + length - len(found)]
    return found


def _columns(payload: bytes) -> list[Any]:
    """The values of a record. Raises ValueError for what is none."""
    size, at = _varint(payload, 0)
    types = []
    while at < size:
        type, at = _varint(payload, at)
        types.append(type)
    columns = []
    for type in types:
        value, at = _value(payload, at, type)
        columns.append(value)
    if at != len(payload):
        raise ValueError("the columns do not fill the row")
    return columns


def _value(payload: bytes, at: int, type: int) -> tuple[Any, int]:
    if type == 0:
        return None, at
    if type in (8, 9):
        return type - 8, at
    if type in _INTEGERS:
        end = at + _INTEGERS[type]
        return int.from_bytes(payload[at:end], "big", signed=True), end
    if type >= 12:
        end = at + (type - 12) // 2
        raw = payload[at:end]
        return (raw.decode() if type % 2 else raw), end
    raise ValueError(f"no column of ours has serial type {type}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    return value << 8 | data[at + 8], at + 9
