"""What does a power cut leave of what was written?

A disk owes nothing until it is told to sync. What was written since may be there, not there, or
half there, each sector on its own and in any order; a sector that is just being written may hold
noise. Names follow the same rule with the sync of their directory. What was synced stays, with
one exception: a disk without powersafe overwrite may harm all of the sector it writes to.
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

Image = dict[str, bytes]  # a directory as it is found when the power is back
SECTOR_SIZES: Final = (
    512,
    4096,
)  # bytes a disk writes at a time: what it is, and what eMMC really does


class SectorPiece(NamedTuple):
    """The part of a write that falls into one sector."""

    offset: int
    data: bytes
    sector: int  # where the sector begins


class Disk:
    """What is on the disk for sure, and what is on its way."""

    def __init__(self, *, powersafe_overwrite: bool) -> None:
        self.powersafe_overwrite = powersafe_overwrite
        self.content: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        self.pending: dict[int, list[FileWritten | FileResized]] = {}
        self.pending_names: list[NameSet | NameRemoved] = []

    def apply_op(self, op: Op) -> None:
        """What the station does next."""
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
        """Whether nothing is on its way: every power cut leaves the same."""
        return not self.pending_names and not any(self.pending.values())

    def content_after(self, file: int, ops: list[FileWritten | FileResized]) -> bytes:
        """A file with these of its changes, in order."""
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
    """Names after these changes. Each is whole or not at all, and may come without the others."""
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
    """A write, sector by sector."""
    offset, end = op.offset, op.offset + len(op.data)
    while offset < end:
        begin = offset // sector * sector
        until = min(end, begin + sector)
        yield SectorPiece(offset, op.data[offset - op.offset : until - op.offset], begin)
        offset = until


# --- Fates: what a cut makes of a disk -----------------------------------------------------------

Fate = Callable[[Disk, random.Random], Image]


def drop_unsynced(disk: Disk, dice: random.Random) -> Image:
    """Nothing that was not synced."""
    return disk.make_image(disk.names, disk.content)


def keep_unsynced(disk: Disk, dice: random.Random) -> Image:
    """All of it, as after a kill of the process alone."""
    content = {
        file: disk.content_after(file, disk.pending.get(file, []))
        for file in disk.content.keys() | disk.pending.keys()
    }
    return disk.make_image(_apply_names(disk.names, disk.pending_names), content)


def keep_prefix(disk: Disk, dice: random.Random) -> Image:
    """Of each file, and of the names, whatever came first; the last write perhaps in part."""
    content = dict(disk.content)
    for file, ops in disk.pending.items():
        count = dice.randint(0, len(ops))
        some = ops[:count]
        if count < len(ops) and isinstance(torn := ops[count], FileWritten):
            parts = list(split_by_sector(torn, dice.choice(SECTOR_SIZES)))
            some += [
                FileWritten(file, at, data) for at, data, _ in parts[: dice.randrange(len(parts))]
            ]
        content[file] = disk.content_after(file, some)
    names = disk.pending_names[: dice.randint(0, len(disk.pending_names))]
    return disk.make_image(_apply_names(disk.names, names), content)


def reorder_writes(disk: Disk, dice: random.Random) -> Image:
    """Any of it, sector by sector, in any order."""
    return _scatter_writes(disk, dice, noise=0)


def corrupt_writes(disk: Disk, dice: random.Random) -> Image:
    """Any of it, and noise where it was being written."""
    return _scatter_writes(disk, dice, noise=dice.choice((0.02, 0.2, 0.6)))


FATES: Final[dict[str, Fate]] = {
    "dropped": drop_unsynced,
    "kept": keep_unsynced,
    "prefix": keep_prefix,
    "reordered": reorder_writes,
    "noisy": corrupt_writes,
}
DETERMINISTIC_FATES: Final = ("dropped", "kept")  # the same for every throw of the dice


def _scatter_writes(disk: Disk, dice: random.Random, noise: float) -> Image:
    sector = dice.choice(SECTOR_SIZES)
    here = dice.choice((0.1, 0.5, 0.9))  # how probably a piece is there
    content = dict(disk.content)
    for file, ops in disk.pending.items():
        some = bytearray(disk.content.get(file, b""))
        for op in ops:
            if isinstance(op, FileResized):
                if dice.random() < here:
                    _resize(some, op.size)
                continue
            for piece in split_by_sector(op, sector):
                if dice.random() < noise:
                    _write_noise(some, piece, sector, dice, piece_only=disk.powersafe_overwrite)
                elif dice.random() < here:
                    _write_bytes(some, piece.offset, piece.data)
                elif dice.random() < here:  # the room is there, the data are not
                    _resize(some, max(len(some), piece.offset + len(piece.data)))
        content[file] = bytes(some)
    names = [op for op in disk.pending_names if dice.random() < here]
    return disk.make_image(_apply_names(disk.names, names), content)


def _write_noise(
    content: bytearray, piece: SectorPiece, sector: int, dice: random.Random, *, piece_only: bool
) -> None:
    """Noise in place of a piece; unless it is harmed `alone`, in place of its whole sector."""
    begin, size = (piece.offset, len(piece.data)) if piece_only else (piece.sector, sector)
    noise = dice.choice((dice.randbytes, bytes, _erased_flash))(size)
    end = max(len(content), piece.offset + len(piece.data))
    _write_bytes(content, begin, noise[: end - begin])


def _erased_flash(size: int) -> bytes:
    """As flash is after it was erased."""
    return b"\xff" * size
