"""Reading files of which the disk cannot read some sectors, or that are not what they should be.

A sector that cannot be read (EIO) is damage in that place only. Any other failure to read (no
permission, no file) raises OSError. So does a FIFO, a device or a directory in the place of a file:
opening or reading it might never end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

SECTOR_BYTES: Final = 4096  # the least that the system reads, and so loses with a bad sector
PIECE_BYTES: Final = 1 << 20  # read at once of a file that may be large
FILLER: Final = b"\xff"  # in place of unreadable bytes; occurs in no text and no frame of a log


def read_with_filler(file: int, size: int, offset: int) -> tuple[bytes, int]:
    """Read `size` bytes at an offset of a descriptor; fewer where the file ends.

    Returns:
        The bytes, and the number of them that are FILLER because they cannot be read.

    Raises:
        OSError: for another cause than a bad sector.
    """
    pieces, unread, end = list[bytes](), 0, offset + size
    while offset < end:
        sector = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        piece = _read_or_none(file, end - offset, offset)
        if piece is None:  # the bad sector may be further on
            piece = _read_or_none(file, sector - offset, offset)
        if piece is None:
            piece = FILLER * (sector - offset)
            unread += len(piece)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces), unread


def read_file_with_filler(path: Path, bytes_max: int | None = None) -> bytes:
    """The file, FILLER where it cannot be read; no more than its first `bytes_max` bytes.

    A hole at the end is not read: a broken file may have one of any size.

    Raises:
        OSError: there is no such file, or for another cause than a bad sector.
    """
    file = open_regular_file(path)
    try:
        size = _size_without_last_hole(file)
        return read_with_filler(file, size if bytes_max is None else min(size, bytes_max), 0)[0]
    finally:
        os.close(file)


def iter_file_with_filler(path: Path) -> Iterator[bytes]:
    """As `read_file_with_filler`, in pieces of at most PIECE_BYTES.

    Raises:
        OSError: there is no such file, or for another cause than a bad sector.
    """
    with ExitStack() as files:
        content = FileContent(path, files)
        for start in range(0, len(content), PIECE_BYTES):
            yield content[start : start + PIECE_BYTES]


class FileContent:
    """The content of a file, read where it is needed; FILLER where it cannot be read.

    Slices as `bytes` would, of any size. Only one piece of PIECE_BYTES is kept.
    """

    def __init__(self, path: Path, files: ExitStack) -> None:
        """Open a file until `files` is closed.

        Raises:
            OSError: there is no such file, or it is no regular file.
        """
        self._file = open_regular_file(path)
        files.callback(os.close, self._file)
        self._size = _size_without_last_hole(self._file)
        self._piece_start, self._piece = 0, b""

    def __len__(self) -> int:
        """The number of bytes without a hole at the end."""
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        start, stop, _ = span.indices(self._size)
        pieces = list[bytes]()
        while start < stop:
            at = start - self._piece_start
            if not 0 <= at < len(self._piece):
                self._read_piece(start)
                at = start - self._piece_start
            piece = self._piece[at : at + stop - start]
            if not piece:
                break  # the file has become shorter
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def _read_piece(self, offset: int) -> None:
        self._piece_start = offset - offset % PIECE_BYTES
        size = min(PIECE_BYTES, self._size - self._piece_start)
        self._piece, _ = read_with_filler(self._file, size, self._piece_start)


def open_regular_file(path: Path) -> int:
    """A descriptor of the file, open for reading.

    Raises:
        OSError: there is no such file, it cannot be opened, or it is no regular file.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    reason = os.strerror(code) if stat.S_ISDIR(mode) else "Not a regular file"
    raise OSError(code, reason, str(path))


def read_regular_file(path: Path, bytes_max: int) -> bytes:
    """The content of a file; memory is taken only for the bytes that it has.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than `bytes_max` bytes.
    """
    with open(open_regular_file(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > bytes_max:
            raise OSError(errno.EFBIG, f"more than {bytes_max} bytes", str(path))
        return file.read(size)


def _size_without_last_hole(file: int) -> int:
    """The number of bytes up to the last that was written; only zeros are after it."""
    size, end = os.fstat(file).st_size, 0
    while end < size:
        try:
            end = os.lseek(file, os.lseek(file, end, os.SEEK_DATA), os.SEEK_HOLE)
        except OSError as error:
            return end if error.errno == errno.ENXIO else size  # no data after `end`
    return size


def _read_or_none(file: int, size: int, offset: int) -> bytes | None:
    """The bytes; None if one of their sectors is bad."""
    try:
        return os.pread(file, size, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
