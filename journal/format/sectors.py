"""Reading files of which the disk cannot read some sectors.

A sector that cannot be read (EIO) is damage in that place only. Any other failure to read (no
permission, no file) raises OSError.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

SECTOR_BYTES: Final = 4096  # the least that the system reads, and so loses with a bad sector
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


def read_file_with_filler(path: Path) -> bytes:
    """The whole file, FILLER where it cannot be read.

    Raises:
        OSError: there is no such file, or for another cause than a bad sector.
    """
    with path.open("rb") as file:
        return read_with_filler(file.fileno(), os.fstat(file.fileno()).st_size, 0)[0]


def _read_or_none(file: int, size: int, offset: int) -> bytes | None:
    """The bytes; None if one of their sectors is bad."""
    try:
        return os.pread(file, size, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
