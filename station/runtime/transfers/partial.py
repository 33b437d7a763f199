"""What is on the disk of a download that is not complete?

`<file>.part` holds the bytes, `<file>.part.json` what is needed to go on after a restart: of which
URL and which version of the file they are, and how many of them are surely on the disk. The name
asked for appears at the end, whole. All methods block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from station.runtime.transfers.target import Target
from station.runtime.transfers.terms import Limits, TransferFailed

SYNC_BYTES: Final = 4 * 1024 * 1024  # at most this much is fetched again after a power cut


class Receipt(msgspec.Struct, frozen=True):
    """What is known of the bytes in `<file>.part`."""

    source: str  # SHA-256 of the URL without credentials
    validator: str  # what tells one version of the file at that URL from another
    size: int  # bytes that are synced
    total: int | None


class Partial:
    """The bytes of one download so far.

    Attributes:
        size: bytes received.
        total: bytes in all, if the other end said.
        validator: the version of the file, "" if the other end has no way to tell.
    """

    def __init__(self, into: Path, target: Target, limits: Limits, *, resume: bool) -> None:
        """Open what an earlier run left of the same URL, or start empty.

        Raises:
            TransferFailed: permanent; the disk refuses.
        """
        self._into = into
        self._part, self._receipt, self._draft = _names(into)
        self._source = hashlib.sha256(target.location.encode()).hexdigest()
        self._limits = limits
        self._resume = resume
        self.size = 0
        self.total: int | None = None
        self.validator = ""
        self._synced = 0
        with self._disk():
            known = self._known() if resume else None
            self._file = self._part.open("r+b" if known else "wb", buffering=0)
        if known:
            self._restore(known)

    @property
    def resumable(self) -> bool:
        """Whether the rest may be asked for, and then be trusted to be of the same file."""
        whole = self.total is not None and self.size >= self.total
        return self._resume and self.size > 0 and bool(self.validator) and not whole

    def begin(self, total: int | None, validator: str) -> None:
        """Start at byte 0 with what the other end says of the file.

        Raises:
            TransferFailed: permanent; there is no room, or the disk refuses.
        """
        self.size, self.total, self.validator = 0, total, validator
        with self._disk():
            self._file.seek(0)
            self._file.truncate(0)
            self._synced = 0
            self._receipt.unlink(missing_ok=True)
            self._need(total or 0)

    def append(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            TransferFailed: permanent; the disk is full or refuses.
        """
        with self._disk():
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
            self.size += len(chunk)
            if self.size - self._synced >= SYNC_BYTES:
                self._sync()
                self._need(0)

    def install(self) -> None:
        """Give the complete file its name, durably.

        Raises:
            TransferFailed: permanent; the disk refuses.
        """
        with self._disk():
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._into)
            self._receipt.unlink(missing_ok=True)
            _sync_directory(self._into.parent)

    def close(self) -> None:
        """Keep what a later attempt can go on from, and nothing else.

        Raises:
            TransferFailed: permanent; the disk refuses.
        """
        if self._file.closed:
            return
        with self._disk():
            if self.resumable:
                self._sync()
                self._file.close()
            else:
                self._file.close()
                discard(self._into)

    def _known(self) -> Receipt | None:
        """The receipt of what is there, if it is of this URL and can be true."""
        try:
            receipt = msgspec.json.decode(self._receipt.read_bytes(), type=Receipt)
            size = self._part.stat().st_size
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        matches = receipt.source == self._source and receipt.validator != ""
        return receipt if matches and 0 < receipt.size <= size else None

    def _restore(self, known: Receipt) -> None:
        try:
            with self._disk():
                self._file.truncate(known.size)
                self._file.seek(known.size)
        except TransferFailed:
            self._file.close()
            raise
        self.size = self._synced = known.size
        self.total = known.total
        self.validator = known.validator

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = self.size
        if self.resumable:
            receipt = Receipt(self._source, self.validator, self.size, self.total)
            self._draft.write_bytes(msgspec.json.encode(receipt))
            os.replace(self._draft, self._receipt)

    def _need(self, size: int) -> None:
        """Refuse to take what the journal may need."""
        free = shutil.disk_usage(self._part.parent).free
        if free < size + self._limits.spare_bytes:
            self._resume = False
            raise TransferFailed(
                f"{self._into}: no room for {size} bytes more: {free} free, of which"
                f" {self._limits.spare_bytes} are kept for the journal",
                permanent=True,
            )

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Put the disk's refusal in words. Nothing is kept then: the journal needs the space."""
        try:
            yield
        except OSError as error:
            self._resume = False
            raise TransferFailed(f"{self._into}: {error.strerror}", permanent=True) from error


def discard(into: Path) -> None:
    """Remove what an unfinished download of `into` left. Blocks.

    Raises:
        OSError: it cannot be removed.
    """
    for name in _names(into):
        name.unlink(missing_ok=True)


def _names(into: Path) -> tuple[Path, Path, Path]:
    """The bytes, the receipt, and the receipt while it is written."""
    part, receipt, draft = (
        into.with_name(into.name + suffix) for suffix in (".part", ".part.json", ".part.new")
    )
    return part, receipt, draft


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
