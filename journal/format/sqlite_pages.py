"""Reading rows from the pages of an SQLite file without SQLite, also from a damaged file.

Source: SQLite, "Database File Format", sections 1.5 to 2.1 (pages, cells, records).
"""

from __future__ import annotations

import os
import struct
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from journal.format.sectors import open_regular_file, read_with_filler

PAGE_BYTES = 4096  # page size of the store
TABLE_LEAF = 0x0D  # page type: leaf of a table
ROW_BYTES_MAX = 16 << 20  # more is a damaged length
_PAYLOAD_MAX = ROW_BYTES_MAX - PAGE_BYTES  # so that what is read here can be inserted again
_FILE_HEADER_BYTES = 100  # on the first page, before its tree
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type to length


class PagedFile:
    """The pages of a file, numbered from 1.

    Not memory-mapped: there a page that cannot be read ends the program.
    """

    def __init__(self, path: Path, files: ExitStack) -> None:
        self.page_count = 0
        self.unreadable_pages: set[int] = set()  # not tried again: the disk is slow on each
        if path.exists():
            self._file = open_regular_file(path)
            files.callback(os.close, self._file)
            self.page_count = -(-os.fstat(self._file).st_size // PAGE_BYTES)

    def __getitem__(self, number: int) -> bytes:
        """Raises KeyError if the page does not exist or cannot be read."""
        if not 0 < number <= self.page_count or number in self.unreadable_pages:
            raise KeyError(number)
        page, unread = read_with_filler(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        if unread:
            self.unreadable_pages.add(number)
            raise KeyError(number)
        return page.ljust(PAGE_BYTES, b"\0")


class PageView:
    """The pages of a file, some of them replaced by those of a log."""

    def __init__(self, file: PagedFile, overlay: Mapping[int, bytes]) -> None:
        self._file = file
        self._overlay = overlay

    @property
    def page_numbers(self) -> Iterable[int]:
        count = self._file.page_count
        added = sorted(number for number in self._overlay if number > count)
        return chain(range(1, count + 1), added)

    def __getitem__(self, number: int) -> bytes:
        return self._overlay[number] if number in self._overlay else self._file[number]

    @property
    def without_log(self) -> PageView:
        """The pages of the file alone."""
        return PageView(self._file, {})

    def overlaid_with(self, overlay: Mapping[int, bytes]) -> PageView:
        return PageView(self._file, ChainMap[int, bytes](overlay, self._overlay))  # type: ignore[arg-type]


def iter_leaf_records(pages: PageView, number: int) -> Iterator[tuple[int, list[Any]]]:
    """The rows on a leaf: rowid and columns. Damaged rows are skipped."""
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
            continue  # a damaged row


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
    """The number of bytes of a row that are on the leaf itself."""
    if length <= PAGE_BYTES - 35:
        return length
    least = (PAGE_BYTES - 12) * 32 // 255 - 23
    fitting = least + (length - least) % (PAGE_BYTES - 4)
    return fitting if fitting <= PAGE_BYTES - 35 else least


def _read_overflow(pages: PageView, number: int, length: int) -> bytes:
    pieces = list[bytes]()
    while length > 0:
        page = pages[number]
        (number,) = struct.unpack_from(">I", page)
        pieces.append(page[4 : 4 + length])
        length -= len(pieces[-1])
    return b"".join(pieces)


def _parse_columns(payload: bytes) -> list[Any]:
    """The values of a record. Raises ValueError if it is no record."""
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
    raise ValueError(f"no column has serial type {type}")


def _parse_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = data[offset + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + place + 1
    return value << 8 | data[offset + 8], offset + 9
