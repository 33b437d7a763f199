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

from journal.storage.atomic_file import sync_directory, write_atomically
from station.runtime.transfers.results import TransferFailed, TransferLimits
from station.runtime.transfers.url import TransferUrl

SYNC_INTERVAL_BYTES: Final = 4 * 1024 * 1024  # at most this much is fetched again after a power cut


class DownloadState(msgspec.Struct, frozen=True):
    """What is known of the bytes in `<file>.part`."""

    source: str  # SHA-256 of the URL without credentials
    validator: str  # what tells one version of the file at that URL from another
    size: int  # bytes that are synced
    total: int | None


class PartialDownload:
    """The bytes of one download so far.

    Attributes:
        size: bytes received.
        total: bytes in all, if the other end said.
        validator: the version of the file, "" if the other end has no way to tell.
    """

    def __init__(
        self, destination: Path, url: TransferUrl, limits: TransferLimits, *, resume: bool
    ) -> None:
        """Open what an earlier run left of the same URL, or start empty.

        Raises:
            TransferFailed: permanent; the disk refuses.
        """
        self._destination = destination
        self._part_file, self._state_file, _ = _partial_paths(destination)
        self._url_digest = hashlib.sha256(url.without_credentials.encode()).hexdigest()
        self._limits = limits
        self._may_resume = resume
        self.received_bytes = 0
        self.total_bytes: int | None = None
        self.validator = ""
        self._synced_bytes = 0
        with self._translate_errors():
            known = self._read_state() if resume else None
            self._file = self._part_file.open("r+b" if known else "wb", buffering=0)
        if known:
            self._restore_state(known)

    @property
    def is_resumable(self) -> bool:
        """Whether the rest may be asked for, and then be trusted to be of the same file."""
        whole = self.total_bytes is not None and self.received_bytes >= self.total_bytes
        return self._may_resume and self.received_bytes > 0 and bool(self.validator) and not whole

    def start_from_zero(self, total: int | None, validator: str) -> None:
        """Start at byte 0 with what the other end says of the file.

        Raises:
            TransferFailed: permanent; there is no room, or the disk refuses.
        """
        self.received_bytes, self.total_bytes, self.validator = 0, total, validator
        with self._translate_errors():
            self._file.seek(0)
            self._file.truncate(0)
            self._synced_bytes = 0
            self._state_file.unlink(missing_ok=True)
            self._require_space(total or 0)

    def append(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            TransferFailed: permanent; the disk is full or refuses.
        """
        with self._translate_errors():
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
            self.received_bytes += len(chunk)
            if self.received_bytes - self._synced_bytes >= SYNC_INTERVAL_BYTES:
                self._sync_file()
                self._require_space(0)

    def move_into_place(self) -> None:
        """Give the complete file its name, durably.

        Raises:
            TransferFailed: permanent; the disk refuses.
        """
        with self._translate_errors():
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part_file, self._destination)
            self._state_file.unlink(missing_ok=True)
            sync_directory(self._destination.parent)

    def close(self) -> None:
        """Keep what a later attempt can go on from, and nothing else.

        Raises:
            TransferFailed: permanent; the disk refuses.
        """
        if self._file.closed:
            return
        with self._translate_errors():
            if self.is_resumable:
                self._sync_file()
                self._file.close()
            else:
                self._file.close()
                discard_partial(self._destination)

    def _read_state(self) -> DownloadState | None:
        """The receipt of what is there, if it is of this URL and can be true."""
        try:
            receipt = msgspec.json.decode(self._state_file.read_bytes(), type=DownloadState)
            size = self._part_file.stat().st_size
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        matches = receipt.source == self._url_digest and receipt.validator != ""
        return receipt if matches and 0 < receipt.size <= size else None

    def _restore_state(self, state: DownloadState) -> None:
        try:
            with self._translate_errors():
                self._file.truncate(state.size)
                self._file.seek(state.size)
        except TransferFailed:
            self._file.close()
            raise
        self.received_bytes = self._synced_bytes = state.size
        self.total_bytes = state.total
        self.validator = state.validator

    def _sync_file(self) -> None:
        os.fsync(self._file.fileno())
        self._synced_bytes = self.received_bytes
        if self.is_resumable:
            receipt = DownloadState(
                self._url_digest, self.validator, self.received_bytes, self.total_bytes
            )
            write_atomically(self._state_file, msgspec.json.encode(receipt))

    def _require_space(self, size: int) -> None:
        """Refuse to take what the journal may need."""
        free = shutil.disk_usage(self._part_file.parent).free
        if free < size + self._limits.free_bytes_min:
            self._may_resume = False
            raise TransferFailed(
                f"{self._destination}: no room for {size} bytes more: {free} free, of which"
                f" {self._limits.free_bytes_min} are kept for the journal",
                permanent=True,
            )

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Put the disk's refusal in words. Nothing is kept then: the journal needs the space."""
        try:
            yield
        except OSError as error:
            self._may_resume = False
            raise TransferFailed(
                f"{self._destination}: {error.strerror}", permanent=True
            ) from error


def discard_partial(destination: Path) -> None:
    """Remove what an unfinished download of `into` left. Blocks.

    Raises:
        OSError: it cannot be removed.
    """
    for name in _partial_paths(destination):
        name.unlink(missing_ok=True)


def _partial_paths(destination: Path) -> tuple[Path, Path, Path]:
    """The bytes, the receipt, and the receipt while it is written."""
    part, receipt, draft = (
        destination.with_name(destination.name + suffix)
        for suffix in (".part", ".part.json", ".part.json.new")
    )
    return part, receipt, draft
