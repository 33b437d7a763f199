"""Replacing a file in one step: a power cut leaves the old content or the new, never a part.

The order of the steps is what makes it safe. The content goes to `<name>.new` beside the file and
is synced before the rename, because a file system may store a rename before the bytes it leads to.
The directory is synced after the rename, because only then is the new name on the disk. Every file
that the station replaces as a whole is written by `write_atomically`, except the registers of the
emulated meters (drivers import nothing of ours) and the links of `station.firmware.swap`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# A link in place of the draft, left by another user, is not followed, and a FIFO does not block:
# the write fails and removes it.
DRAFT_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o666) -> None:
    """Replace the content of `path` durably.

    Args:
        path: the file; its directory must exist.
        data: the content, in one piece or in several that are written one after the other.
        mode: permissions of a new file, before the process's umask applies.

    Raises:
        OSError: it cannot be written. The file is as it was, and `<name>.new` is removed.
    """
    draft = path.with_name(f"{path.name}.new")
    pieces = [data] if isinstance(data, bytes) else data
    try:
        with open(os.open(draft, DRAFT_FLAGS, mode), "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a new or renamed file is lost with a power cut before.

    Raises:
        OSError: it cannot be synced.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
