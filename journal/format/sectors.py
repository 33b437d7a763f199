"""What can be read of a file when the disk cannot read all of it?

A sector that cannot be read is damage in that one place. What cannot be read of any other cause
(no right to, no file) is none, and raises OSError as ever.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

SECTOR_BYTES: Final = 4096  # what the system reads at least, and so loses with a bad sector in it
FILLER: Final = b"\xff"  # in place of what cannot be read: no text has it, no frame of a log


def read_with_filler(file: int, size: int, offset: int) -> tuple[bytes, int]:
    """Read a descriptor's bytes from `at` on; fewer than `size` where the file ends.

    Returns:
        The bytes, and how many of them are FILLER because they cannot be read.

    Raises:
        OSError: for another cause than a bad sector.
    """
    pieces, unread, end = list[bytes](), 0, offset + size
    while offset < end:
        sector = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        piece = _read_or_none(file, end - offset, offset)
        if piece is None:  # the bad one may lie further on
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
    """A file as a whole, FILLER where it cannot be read.

    Raises:
        OSError: it is not there, or cannot be read for another cause than a bad sector.
    """
    with path.open("rb") as file:
        return read_with_filler(file.fileno(), os.fstat(file.fileno()).st_size, 0)[0]


def _read_or_none(file: int, size: int, offset: int) -> bytes | None:
    """None: a sector of it is bad."""
    try:
        return os.pread(file, size, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
