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

from journal.chain import JOURNAL_FORMAT, EntryRow, entry_digest, origin_digest
from journal.log import split_frames
from journal.sectors import FILLER, read_file_with_filler, read_with_filler
from journal.tokens import TokenRow

PAGE_BYTES = 4096  # as the store makes them
TABLE_LEAF = 0x0D  # of a table
DIGEST_BYTES = 32
_PAYLOAD_MAX = 64 << 20  # of one row: more is a damaged length
_FILE_HEADER_BYTES = 100  # the file's header, on the first page before its tree
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
            file, log = _PagedFile(path, files), _read_log(path)
            seen, self._hidden_pages = (
                {page: image for page, image in frames if page and len(image) == PAGE_BYTES}
                for frames in split_frames(log)
            )
            self._pages = PageView(file, seen)
            for number, columns in self._iter_records(self._pages):
                self._sort_record(number, columns)
            for number, columns in self._iter_hidden_records():
                self._sort_record(number, columns)
            if (
                (file.page_count or log)
                and len(file.unreadable_pages) == file.page_count
                and not log.strip(FILLER)
            ):
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
    def position_before_first(self) -> tuple[int, bytes]:
        """Number and digest before the first entry that is not archived; empty, if that is gone."""
        if self.anchor is not None:
            return self.anchor.seq, self.anchor.digest
        return 0, origin_digest(self.journal_id) if self.journal_id is not None else b""

    def iter_rows(self) -> Iterator[EntryRow]:
        """Entries that are not archived, as they lie; a number may come twice, the first counts."""
        archived = self.anchor.seq if self.anchor else 0
        for pages in (
            self._pages,
            self._pages.without_log,
        ):  # a log that was cut may hide newer ones
            for number, columns in self._iter_records(pages):
                row = _parse_entry_row(number, columns)
                if row is not None and row.seq > archived:
                    yield row

    def iter_hidden_rows(self, seq: int, digest: bytes) -> Iterator[EntryRow]:
        """Entries of commits that a damaged log hides, as far as the chain leads behind `seq`."""
        hidden: dict[int, EntryRow] = {}
        for number, columns in self._iter_hidden_records():
            row = _parse_entry_row(number, columns)
            if row is not None:
                hidden[number] = row
        while (more := hidden.get(seq + 1)) is not None:
            if entry_digest(digest, *more[:-1]) != more.digest:
                return
            yield more
            seq, digest = more.seq, more.digest

    def _iter_records(self, pages: PageView) -> Iterator[tuple[int, list[Any]]]:
        for number in pages.page_numbers:
            yield from _iter_leaf_records(pages, number)

    def _iter_hidden_records(self) -> Iterator[tuple[int, list[Any]]]:
        pages = self._pages.overlaid_with(self._hidden_pages)
        for number in sorted(self._hidden_pages):
            yield from _iter_leaf_records(pages, number)

    def _sort_record(self, number: int, columns: list[Any]) -> None:
        match columns:
            case [str() as ref, str(), str(), str(), bytes()] if ref.startswith("#"):
                self._tokens[ref] = TokenRow._make(columns)
            case [int() as format, str() as name] if format == JOURNAL_FORMAT and _is_uuid(name):
                self.journal_id = self.journal_id or name
            case [_, bytes() as digest, bytes() as begun] if len(digest) == DIGEST_BYTES:
                found = Anchor(number, digest, begun)
                self.anchor = max(self.anchor or found, found)


def _parse_entry_row(number: int, columns: list[Any]) -> EntryRow | None:
    match columns:
        case [_, str(), int(), str(), int(), None | int(), str(), bytes()]:
            row = EntryRow(number, *columns[1:])
            return row if _is_entry_row(row) else None
        case _:
            return None


def _is_entry_row(row: EntryRow) -> bool:
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


class _PagedFile:
    """The pages of a file, numbered from 1.

    Not by memory mapping: a page that cannot be read there ends the program.
    """

    def __init__(self, path: Path, files: ExitStack) -> None:
        self.page_count = 0
        self.unreadable_pages: set[int] = (
            set()
        )  # and are not tried again: the disk takes its time over each
        if path.exists():
            self._file = files.enter_context(path.open("rb")).fileno()
            self.page_count = -(-os.fstat(self._file).st_size // PAGE_BYTES)

    def __getitem__(self, number: int) -> bytes:
        """Raises KeyError: it is not there, or cannot be read."""
        if not 0 < number <= self.page_count or number in self.unreadable_pages:
            raise KeyError(number)
        page, unread = read_with_filler(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        if unread:
            self.unreadable_pages.add(number)
            raise KeyError(number)
        return page.ljust(PAGE_BYTES, b"\0")


class PageView:
    """The pages of a file, some of them as a log has them."""

    def __init__(self, file: _PagedFile, overlay: Mapping[int, bytes]) -> None:
        self._file = file
        self._overlay = overlay

    @property
    def page_numbers(self) -> list[int]:
        return sorted({*range(1, self._file.page_count + 1), *self._overlay})

    def __getitem__(self, number: int) -> bytes:
        return self._overlay[number] if number in self._overlay else self._file[number]

    @property
    def without_log(self) -> PageView:
        """As the file itself has them."""
        return PageView(self._file, {})

    def overlaid_with(self, overlay: Mapping[int, bytes]) -> PageView:
        return PageView(self._file, {**self._overlay, **overlay})


def _read_log(path: Path) -> bytes:
    try:
        return read_file_with_filler(Path(f"{path}-wal"))
    except FileNotFoundError:
        return b""


def _iter_leaf_records(pages: PageView, number: int) -> Iterator[tuple[int, list[Any]]]:
    """The rows on a leaf: rowid and columns. What is harmed is passed over."""
    try:
        page = pages[number]
    except KeyError:
        return
    start = _FILE_HEADER_BYTES if number == 1 else 0
    if page[start] != TABLE_LEAF:
        return
    (count,) = struct.unpack_from(">H", page, start + 3)
    for cell in range(min(count, PAGE_BYTES // 4)):
        try:
            (at,) = struct.unpack_from(">H", page, start + 8 + 2 * cell)
            yield _parse_cell(pages, page, at)
        except (IndexError, KeyError, ValueError, struct.error):
            continue  # this row is the damage


def _parse_cell(pages: PageView, page: bytes, offset: int) -> tuple[int, list[Any]]:
    length, offset = _parse_varint(page, offset)
    rowid, offset = _parse_varint(page, offset)
    if not 0 < length <= _PAYLOAD_MAX:
        raise ValueError(f"a row of {length} bytes")
    local = _local_bytes(length)
    payload = page[offset : offset + local]
    if local < length:
        (overflow,) = struct.unpack_from(">I", page, offset + local)
        payload += _read_overflow(pages, overflow, length - local)
    return rowid, _parse_columns(payload)


def _local_bytes(length: int) -> int:
    """How many bytes of a row stand on the leaf itself."""
    if length <= PAGE_BYTES - 35:
        return length
    least = (PAGE_BYTES - 12) * 32 // 255 - 23
    fitting = least + (length - least) % (PAGE_BYTES - 4)
    return fitting if fitting <= PAGE_BYTES - 35 else least


def _read_overflow(pages: PageView, number: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        page = pages[number]
        (number,) = struct.unpack_from(">I", page)
        found += page[4 : 4 + length - len(found)]
    return found


def _parse_columns(payload: bytes) -> list[Any]:
    """The values of a record. Raises ValueError for what is none."""
    size, at = _parse_varint(payload, 0)
    types = []
    while at < size:
        type, at = _parse_varint(payload, at)
        types.append(type)
    columns = []
    for type in types:
        value, at = _parse_value(payload, at, type)
        columns.append(value)
    if at != len(payload):
        raise ValueError("the columns do not fill the row")
    return columns


def _parse_value(payload: bytes, offset: int, type: int) -> tuple[Any, int]:
    if type == 0:
        return None, offset
    if type in (8, 9):
        return type - 8, offset
    if type in _INTEGERS:
        end = offset + _INTEGERS[type]
        return int.from_bytes(payload[offset:end], "big", signed=True), end
    if type >= 12:
        end = offset + (type - 12) // 2
        raw = payload[offset:end]
        return (raw.decode() if type % 2 else raw), end
    raise ValueError(f"no column of ours has serial type {type}")


def _parse_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = data[offset + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + place + 1
    return value << 8 | data[offset + 8], offset + 9
