"""Erasing personal values in damaged journals that were set aside.

Such a journal is kept for a while, for analysis of the damage; persons must be erased in it all the
same. The file may be unusable for SQLite, and a value may be where nothing leads to: on a page that
was given up, or in a frame of the log that is overwritten next. So rows are found by their shape
and overwritten in place: reference and type stay, the rest becomes zeros. Everything else stays as
it is.

Source: SQLite, "Database File Format", section 2.1 (records).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from journal.format.id_tokens import SALT_BYTES, TokenRow, fold_case
from journal.format.sectors import FileContent, open_regular_file, read_with_filler
from journal.format.wal import iter_changed_checksums
from journal.storage.quarantine import find_quarantines

_WINDOW_BYTES: Final = 1 << 20
_ROW_BYTES_MAX: Final = 8 << 10  # of a personal value: on one page, unless its text is long

# A record begins with the length of its header, then the serial types of its columns. A text of n
# bytes is 13 + 2n, in one byte or two; a reference of 17 is 47; a salt, a blob of 16, is 44.
_TEXT = rb"([\x81-\xff]?[\x00-\x7f])"
_ROW = re.compile(rb"[\x06-\x09]\x2f" + 3 * _TEXT + rb"\x2c(#[0-9a-f]{16})", re.DOTALL)
_ROWID = rb"[\x01-\x06\x08\x09]"


class UnerasedFile(NamedTuple):
    """A file that may still contain a value."""

    file: Path
    reason: str


class _FoundRow(NamedTuple):
    """A row of a personal value in a file."""

    offset: int  # of the value; its folded form and the salt follow immediately
    token: TokenRow


def erase_in_quarantines(
    journal: Path, refs: Collection[str], values: Collection[str] = ()
) -> tuple[int, list[UnerasedFile]]:
    """Erase personal values from the journals that were set aside beside this one. Blocks.

    Every reference of a value is covered: a journal that lost the row of a value has given it a new
    reference since.

    Args:
        journal: the one in use; it is not changed.
        refs: references of the values.
        values: the values themselves, of any type.

    Returns:
        The number of rows overwritten, and the files that could not be read or written, also in
        part, or contain a value that was not in a whole row.
    """
    directories = find_quarantines(journal)
    files = [file for directory in directories for file in sorted(directory.iterdir())]
    unerased: dict[Path, str] = {}
    rows_by_file: dict[Path, list[_FoundRow]] = {}
    for file in files:
        try:
            rows_by_file[file] = list(_find_rows(file))
        except OSError as error:
            unerased[file] = f"cannot be read: {error.strerror}"
    folded_tokens = {
        (token.type, token.folded)
        for rows in rows_by_file.values()
        for _, token in rows
        if token.ref in refs or any(token.folded == fold_case(token.type, each) for each in values)
    }
    texts = {*values, *(text for _, text in folded_tokens)}
    count = 0
    for file, rows in rows_by_file.items():
        chosen = [row for row in rows if (row.token.type, row.token.folded) in folded_tokens]
        try:
            _overwrite_spans(file, {*_row_spans(chosen), *_index_spans(file, folded_tokens)})
            count += len(chosen)
            reason = _unerased_reason(file, texts)
        except OSError as error:
            reason = f"cannot be written: {error.strerror}"
        if reason:
            unerased[file] = reason
    return count, [UnerasedFile(file, reason) for file, reason in unerased.items()]


def _unerased_reason(file: Path, texts: Collection[str]) -> str:
    """Why a file may still contain a value; empty: it does not."""
    try:
        return (
            "contains the value, in a row that is damaged" if contains_any_text(file, texts) else ""
        )
    except OSError as error:
        return f"cannot be read as a whole: {error.strerror}"


def contains_any_text(file: Path, texts: Collection[str]) -> bool:
    """Whether a file contains one of these texts, in upper or lower case.

    Raises:
        OSError: it cannot be read, or only in part and that part contains none.
    """
    needles = [text.casefold().encode() for text in texts if text]
    unread_bytes = 0
    for _, window, unread in _iter_windows(file):
        lower = window.lower()
        if any(needle in lower for needle in needles):
            return True
        unread_bytes += unread
    if unread_bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return False


def _find_rows(file: Path) -> Iterator[_FoundRow]:
    """Every whole row of a personal value anywhere in a file."""
    for start, window, _ in _iter_windows(file):
        for match in _ROW.finditer(window):
            lengths = [_text_length(each) for each in match.groups()[:3]]
            token = _parse_token(window, match.end(), match[4], lengths)
            if token is not None and token.value.strip("\0"):
                yield _FoundRow(start + match.end() + lengths[0], token)


def _parse_token(window: bytes, offset: int, ref: bytes, lengths: list[int]) -> TokenRow | None:
    ends = [offset + sum(lengths[:count]) for count in range(4)]
    salt = window[ends[-1] : ends[-1] + SALT_BYTES]
    if min(lengths) < 1 or len(salt) < SALT_BYTES:
        return None
    try:
        type, value, folded = (window[start:end].decode() for start, end in pairwise(ends))
    except UnicodeDecodeError:
        return None
    return TokenRow(ref.decode(), type, value, folded, salt)


def _row_spans(rows: list[_FoundRow]) -> Iterator[tuple[int, int]]:
    """Offset and length of the values of rows."""
    for at, token in rows:
        yield at, len(token.value.encode()) + len(token.folded.encode()) + SALT_BYTES


def _index_spans(
    file: Path, folded_tokens: Collection[tuple[str, str]]
) -> Iterator[tuple[int, int]]:
    """Offset and length of the values in the index over type and folded value."""
    cells = [
        rb"[\x04-\x06]"
        + re.escape(_serial_type(type) + _serial_type(text))
        + _ROWID
        + re.escape(type.encode())
        + b"("
        + re.escape(text.encode())
        + b")"
        for type, text in sorted(folded_tokens)
    ]
    if not cells:
        return
    pattern = re.compile(b"|".join(cells), re.DOTALL)
    for start, window, _ in _iter_windows(file):
        for match in pattern.finditer(window):
            first, end = match.span(match.lastindex or 0)
            yield start + first, end - first


def _overwrite_spans(file: Path, spans: Collection[tuple[int, int]]) -> None:
    """Overwrite with zeros, synced. The frames of a log get checksums of their new content.

    Raises:
        OSError: the disk refuses.
    """
    if not spans:
        return
    with file.open("r+b") as out:
        if file.name.endswith("-wal"):
            with ExitStack() as files:
                for at, checksum in iter_changed_checksums(FileContent(file, files), spans):
                    os.pwrite(out.fileno(), checksum, at)
        for at, length in spans:
            os.pwrite(out.fileno(), bytes(length), at)
        os.fsync(out.fileno())


def _iter_windows(file: Path) -> Iterator[tuple[int, bytes, int]]:
    """The file in windows: offset, bytes, and the number of bytes that cannot be read.

    Each contains the beginning of the next, for rows that span two.
    """
    with open(open_regular_file(file), "rb") as content:
        for start in range(0, os.fstat(content.fileno()).st_size, _WINDOW_BYTES):
            size = _WINDOW_BYTES + _ROW_BYTES_MAX
            yield start, *read_with_filler(content.fileno(), size, start)


def _text_length(serial: bytes) -> int:
    number = serial[-1] + (((serial[0] & 0x7F) << 7) if len(serial) > 1 else 0)
    return (number - 13) // 2 if number % 2 else 0


def _serial_type(text: str) -> bytes:
    number = 13 + 2 * len(text.encode())
    return bytes([number]) if number < 0x80 else bytes([0x80 | number >> 7, number & 0x7F])
