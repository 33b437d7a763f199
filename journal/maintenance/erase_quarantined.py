"""What becomes of a journal that was set aside because it was damaged?

It is kept for a while, for whoever looks at the damage; a person can be forgotten in it all the
same. Such a file may be beyond SQLite, and a value may stand where nothing leads to: on a page that
was given up, in a frame of the log that is written over next. So rows are found by their shape, and
written over in place: reference and type stay, the rest becomes zeros. Everything else is left as
the damage left it.

Source: SQLite, "Database File Format", section 2.1 (records).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from journal.format.id_tokens import SALT_BYTES, TokenRow, fold_case
from journal.format.sectors import SECTOR_BYTES, read_file_with_filler, read_with_filler
from journal.format.wal import recompute_checksums
from journal.storage.quarantine import find_quarantines

_WINDOW_BYTES: Final = 1 << 20
_ROW_BYTES_MAX: Final = 8 << 10  # of a personal value's row: on one page, unless its text is long

# A record begins with its own length, then says what its columns are. A text of n bytes is
# 13 + 2n, in one byte or two; a reference of 17 is 47; a salt, a blob of 16, is 44.
_TEXT = rb"([\x81-\xff]?[\x00-\x7f])"
_ROW = re.compile(rb"[\x06-\x09]\x2f" + 3 * _TEXT + rb"\x2c(#[0-9a-f]{16})", re.DOTALL)
_ROWID = rb"[\x01-\x06\x08\x09]"


class UnerasedFile(NamedTuple):
    """A file that may hold a value still."""

    file: Path
    reason: str


class _FoundRow(NamedTuple):
    """Where a row's value begins in a file; both its spellings and the salt follow at once."""

    offset: int
    token: TokenRow


def erase_in_quarantines(
    journal: Path, refs: Collection[str], values: Collection[str] = ()
) -> tuple[int, list[UnerasedFile]]:
    """Erase personal values from the journals that were set aside beside this one. Blocks.

    Whoever is meant is meant under every other reference too: a journal that lost somebody has
    known them by a new one since.

    Args:
        journal: the one in use; it is not touched.
        refs: what entries have in their place.
        values: as they are shown, of any type.

    Returns:
        How many rows were overwritten, and the files that could not be read or written, be it in
        part, or hold a value that was not in a whole row.
    """
    files = [file for aside in find_quarantines(journal) for file in sorted(aside.iterdir())]
    left: dict[Path, str] = {}
    found: dict[Path, list[_FoundRow]] = {}
    for file in files:
        try:
            found[file] = list(_find_rows(file))
        except OSError as error:
            left[file] = f"cannot be read: {error.strerror}"
    people = {
        (token.type, token.folded)
        for rows in found.values()
        for _, token in rows
        if token.ref in refs or any(token.folded == fold_case(token.type, each) for each in values)
    }
    texts = {*values, *(text for _, text in people)}
    count = 0
    for file, rows in found.items():
        meant = [row for row in rows if (row.token.type, row.token.folded) in people]
        try:
            _overwrite_spans(file, {*_row_spans(meant), *_index_spans(file, people)})
            count += len(meant)
            why = _unerased_reason(file, texts)
        except OSError as error:
            why = f"cannot be written: {error.strerror}"
        if why:
            left[file] = why
    return count, [UnerasedFile(file, why) for file, why in left.items()]


def _unerased_reason(file: Path, texts: Collection[str]) -> str:
    """Why a value may be there still; empty: it is not."""
    try:
        return (
            "still holds the value, in a row that is damaged"
            if contains_any_text(file, texts)
            else ""
        )
    except OSError as error:
        return f"cannot be read as a whole: {error.strerror}"


def contains_any_text(file: Path, texts: Collection[str]) -> bool:
    """Whether one of these texts stands in a file, however it is spelled.

    Raises:
        OSError: it cannot be read; or not all of it can, and they are not in the rest.
    """
    needles = [text.casefold().encode() for text in texts if text]
    bad = 0
    for _, window, unread in _iter_windows(file):
        small = window.lower()
        if any(needle in small for needle in needles):
            return True
        bad += unread
    if bad:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return False


def _find_rows(file: Path) -> Iterator[_FoundRow]:
    """Every row of a personal value that stands whole anywhere in a file."""
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
        type, value, spelled = (window[one:end].decode() for one, end in pairwise(ends))
    except UnicodeDecodeError:
        return None
    return TokenRow(ref.decode(), type, value, spelled, salt)


def _row_spans(rows: list[_FoundRow]) -> Iterator[tuple[int, int]]:
    """Where their values stand, and for how many bytes."""
    for at, token in rows:
        yield at, len(token.value.encode()) + len(token.folded.encode()) + SALT_BYTES


def _index_spans(
    file: Path, folded_tokens: Collection[tuple[str, str]]
) -> Iterator[tuple[int, int]]:
    """The same of the index over type and folded value."""
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
            begin, end = match.span(match.lastindex or 0)
            yield start + begin, end - begin


def _overwrite_spans(file: Path, spans: Collection[tuple[int, int]]) -> None:
    """Zeros in place, on the disk when this returns. A log is given the checksums of its new text.

    Raises:
        OSError: the disk refuses.
    """
    if not spans:
        return
    with file.open("r+b") as out:
        if file.name.endswith("-wal"):
            before = read_file_with_filler(file)
            after = bytearray(before)
            for at, length in spans:
                after[at : at + length] = bytes(length)
            sealed = recompute_checksums(before, bytes(after))
            for at in range(0, len(sealed), SECTOR_BYTES):  # but none that cannot be read
                if sealed[at : at + SECTOR_BYTES] != before[at : at + SECTOR_BYTES]:
                    os.pwrite(out.fileno(), sealed[at : at + SECTOR_BYTES], at)
        else:
            for at, length in spans:
                os.pwrite(out.fileno(), bytes(length), at)
        os.fsync(out.fileno())


def _iter_windows(file: Path) -> Iterator[tuple[int, bytes, int]]:
    """The file by pieces: where each begins, its bytes, how many of them cannot be read.

    Each has the begin of the next, for what spans.
    """
    with file.open("rb") as content:
        for start in range(0, os.fstat(content.fileno()).st_size, _WINDOW_BYTES):
            size = _WINDOW_BYTES + _ROW_BYTES_MAX
            yield start, *read_with_filler(content.fileno(), size, start)


def _text_length(serial: bytes) -> int:
    number = serial[-1] + (((serial[0] & 0x7F) << 7) if len(serial) > 1 else 0)
    return (number - 13) // 2 if number % 2 else 0


def _serial_type(text: str) -> bytes:
    number = 13 + 2 * len(text.encode())
    return bytes([number]) if number < 0x80 else bytes([0x80 | number >> 7, number & 0x7F])
