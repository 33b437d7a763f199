"""Model of a disk: which writes survive a power cut.

`Disk` replays the operations of a recording and separates what is certainly on the disk from what
is pending. The rules:

* A write or resize is pending until its file is synced. A pending one may be on the disk, missing
  or there in part, each sector independently and in any order.
* A sector that is being written at the cut may contain noise (random bytes, zeros, erased flash).
  With powersafe overwrite, noise is limited to the bytes written; without, it may replace the
  whole sector, including neighboring bytes that were synced before.
* Names (create, rename, remove) are pending until the directory is synced. Each is atomic, and may
  survive without the others. A name may therefore refer to an empty file.
* Everything else that was synced stays.

A `Fate` turns a disk at a moment into one image that these rules allow:

    dropped     nothing that is pending                                    one image per moment
    kept        all that is pending, as after a kill of the process only   one image per moment
    prefix      the first writes of each file, the last of them torn       random
    reordered   any sectors of any writes                                  random
    noisy       as reordered, with noise in some sectors                   random

Not modeled: bit rot of synced data (tests/durability/damage), disks that acknowledge a sync they
have not performed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tests.durability.powercut.recording import (
    DIRECTORY,
    FileResized,
    FileSynced,
    FileWritten,
    NameRemoved,
    NameSet,
    Op,
    SessionReport,
)

Image = dict[str, bytes]  # the files of the directory after the power cut, by name
SECTOR_SIZES: Final = (512, 4096)  # bytes written atomically: by the standard, and by most eMMC


class SectorPiece(NamedTuple):
    """The part of a write that falls into one sector."""

    offset: int
    data: bytes
    sector: int  # offset of the sector


class Disk:
    """The content certainly on the disk, and the pending operations."""

    def __init__(self, *, powersafe_overwrite: bool) -> None:
        self.powersafe_overwrite = powersafe_overwrite
        self.content: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        self.pending: dict[int, list[FileWritten | FileResized]] = {}
        self.pending_names: list[NameSet | NameRemoved] = []

    def apply_op(self, op: Op) -> None:
        """Perform the next operation of the station."""
        match op:
            case FileWritten() | FileResized():
                self.pending.setdefault(op.file, []).append(op)
            case NameSet() | NameRemoved():
                self.pending_names.append(op)
            case FileSynced(file=file) if file == DIRECTORY:
                self.names = _apply_names(self.names, self.pending_names)
                self.pending_names = []
            case FileSynced(file=file):
                self.content[file] = self.content_after(file, self.pending.pop(file, []))
            case SessionReport():
                pass

    @property
    def is_idle(self) -> bool:
        """Whether nothing is pending: every power cut leaves the same image."""
        return not self.pending_names and not any(self.pending.values())

    def content_after(self, file: int, ops: list[FileWritten | FileResized]) -> bytes:
        """The content of a file after these of its pending operations, in order."""
        content = bytearray(self.content.get(file, b""))
        for op in ops:
            match op:
                case FileResized(size=size):
                    _resize(content, size)
                case FileWritten(offset=offset, data=data):
                    _write_bytes(content, offset, data)
        return bytes(content)

    def make_image(self, names: dict[str, int], content: dict[int, bytes]) -> Image:
        return {name: content.get(file, b"") for name, file in names.items()}


def _write_bytes(content: bytearray, offset: int, data: bytes) -> None:
    _resize(content, max(len(content), offset + len(data)))
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _apply_names(names: dict[str, int], ops: list[NameSet | NameRemoved]) -> dict[str, int]:
    """The names after these operations, each of which is atomic and independent."""
    names = dict(names)
    for op in ops:
        match op:
            case NameSet(name=name, file=file, replaces=old):
                if old is not None:
                    names.pop(old, None)
                names[name] = file
            case NameRemoved(name=name):
                names.pop(name, None)
    return names


def split_by_sector(op: FileWritten, sector: int) -> Iterator[SectorPiece]:
    """Split a write at the sector boundaries."""
    offset, end = op.offset, op.offset + len(op.data)
    while offset < end:
        begin = offset // sector * sector
        until = min(end, begin + sector)
        yield SectorPiece(offset, op.data[offset - op.offset : until - op.offset], begin)
        offset = until


# --- Fates: images of a disk after a cut ---------------------------------------------------------

Fate = Callable[[Disk, random.Random], Image]


def drop_unsynced(disk: Disk, dice: random.Random) -> Image:
    """Drop everything pending."""
    return disk.make_image(disk.names, disk.content)


def keep_unsynced(disk: Disk, dice: random.Random) -> Image:
    """Keep everything pending, as after a kill of the process only."""
    content = {
        file: disk.content_after(file, disk.pending.get(file, []))
        for file in disk.content.keys() | disk.pending.keys()
    }
    return disk.make_image(_apply_names(disk.names, disk.pending_names), content)


def keep_prefix(disk: Disk, dice: random.Random) -> Image:
    """Keep the first operations of each file, and the first names; the last write may be torn."""
    content = dict(disk.content)
    for file, ops in disk.pending.items():
        count = dice.randint(0, len(ops))
        survivors = ops[:count]
        if count < len(ops) and isinstance(torn := ops[count], FileWritten):
            parts = list(split_by_sector(torn, dice.choice(SECTOR_SIZES)))
            survivors += [
                FileWritten(file, at, data) for at, data, _ in parts[: dice.randrange(len(parts))]
            ]
        content[file] = disk.content_after(file, survivors)
    names = disk.pending_names[: dice.randint(0, len(disk.pending_names))]
    return disk.make_image(_apply_names(disk.names, names), content)


def reorder_writes(disk: Disk, dice: random.Random) -> Image:
    """Keep any sectors of any writes."""
    return _scatter_writes(disk, dice, noise=0)


def corrupt_writes(disk: Disk, dice: random.Random) -> Image:
    """Keep any sectors of any writes, with noise in some of the sectors being written."""
    return _scatter_writes(disk, dice, noise=dice.choice((0.02, 0.2, 0.6)))


FATES: Final[dict[str, Fate]] = {
    "dropped": drop_unsynced,
    "kept": keep_unsynced,
    "prefix": keep_prefix,
    "reordered": reorder_writes,
    "noisy": corrupt_writes,
}
DETERMINISTIC_FATES: Final = ("dropped", "kept")  # do not depend on the dice


def _scatter_writes(disk: Disk, dice: random.Random, noise: float) -> Image:
    sector = dice.choice(SECTOR_SIZES)
    survival = dice.choice((0.1, 0.5, 0.9))  # probability that a piece survives
    content = dict(disk.content)
    for file, ops in disk.pending.items():
        survivors = bytearray(disk.content.get(file, b""))
        for op in ops:
            if isinstance(op, FileResized):
                if dice.random() < survival:
                    _resize(survivors, op.size)
                continue
            for piece in split_by_sector(op, sector):
                if dice.random() < noise:
                    _write_noise(
                        survivors, piece, sector, dice, piece_only=disk.powersafe_overwrite
                    )
                elif dice.random() < survival:
                    _write_bytes(survivors, piece.offset, piece.data)
                elif dice.random() < survival:  # the file has the size, but not the data
                    _resize(survivors, max(len(survivors), piece.offset + len(piece.data)))
        content[file] = bytes(survivors)
    names = [op for op in disk.pending_names if dice.random() < survival]
    return disk.make_image(_apply_names(disk.names, names), content)


def _write_noise(
    content: bytearray, piece: SectorPiece, sector: int, dice: random.Random, *, piece_only: bool
) -> None:
    """Write noise over a piece (`piece_only`) or over its whole sector."""
    begin, size = (piece.offset, len(piece.data)) if piece_only else (piece.sector, sector)
    noise = dice.choice((dice.randbytes, bytes, _erased_flash))(size)
    end = max(len(content), piece.offset + len(piece.data))
    _write_bytes(content, begin, noise[: end - begin])


def _erased_flash(size: int) -> bytes:
    """The content of erased flash memory."""
    return b"\xff" * size
