"""An incomplete download on disk, which a later attempt or run can continue.

`<file>.part` holds the bytes. `<file>.part.json` holds what is needed to continue after a restart:
URL, version of the file, and how many bytes are synced; it is written after each sync. The file
gets its name when it is complete. All methods block.
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

SYNC_INTERVAL_BYTES: Final = 4 * 1024 * 1024  # downloaded again after a power cut, at most


class DownloadState(msgspec.Struct, frozen=True):
    """Content of `<file>.part.json`, about the bytes in `<file>.part`."""

    source: str  # SHA-256 of the URL without credentials
    validator: str  # identifies the version of the file at that URL
    size: int  # bytes that are synced
    total: int | None


class PartialDownload:
    """The bytes of one download so far.

    Attributes:
        received_bytes: so far.
        total_bytes: of the complete file; None: unknown.
        validator: version of the file; empty: the server has no way to identify it.
    """

    def __init__(self, destination: Path, url: TransferUrl, limits: TransferLimits) -> None:
        """Open what an earlier run has downloaded of the same URL, or start empty.

        Raises:
            TransferFailed: permanent; the disk fails.
        """
        self._destination = destination
        self._part_file, self._state_file, _ = _partial_paths(destination)
        self._url_digest = hashlib.sha256(url.without_credentials.encode()).hexdigest()
        self._limits = limits
        self._may_resume = True
        self.received_bytes = 0
        self.total_bytes: int | None = None
        self.validator = ""
        self._synced_bytes = 0
        with self._translate_errors():
            stored = self._read_state()
            self._file = self._part_file.open("r+b" if stored else "wb", buffering=0)
        if stored:
            self._restore_state(stored)

    @property
    def is_resumable(self) -> bool:
        """Whether the rest alone may be requested: it can be checked to be of the same file."""
        whole = self.total_bytes is not None and self.received_bytes >= self.total_bytes
        return self._may_resume and self.received_bytes > 0 and bool(self.validator) and not whole

    def start_from_zero(self, total: int | None, validator: str) -> None:
        """Start at byte 0.

        Raises:
            TransferFailed: permanent; not enough disk space, or the disk fails.
        """
        self.received_bytes, self.total_bytes, self.validator = 0, total, validator
        with self._translate_errors():
            self._file.seek(0)
            self._file.truncate(0)
            self._synced_bytes = 0
            self._state_file.unlink(missing_ok=True)
            self._require_space(total or 0)

    def append(self, chunk: bytes) -> None:
        """Append the next bytes.

        Raises:
            TransferFailed: permanent; not enough disk space, or the disk fails.
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
            TransferFailed: permanent; the disk fails.
        """
        with self._translate_errors():
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part_file, self._destination)
            self._state_file.unlink(missing_ok=True)
            sync_directory(self._destination.parent)

    def close(self) -> None:
        """Keep the bytes if a later download can continue them; otherwise delete them.

        Raises:
            TransferFailed: permanent; the disk fails.
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
        """The stored state, if it is of this URL and the bytes it promises exist."""
        try:
            state = msgspec.json.decode(self._state_file.read_bytes(), type=DownloadState)
            size = self._part_file.stat().st_size
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        matches = state.source == self._url_digest and state.validator != ""
        return state if matches and 0 < state.size <= size else None

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
            state = DownloadState(
                self._url_digest, self.validator, self.received_bytes, self.total_bytes
            )
            write_atomically(self._state_file, msgspec.json.encode(state))

    def _require_space(self, size: int) -> None:
        """Raise TransferFailed if `size` bytes more would use space kept for the journal."""
        free = shutil.disk_usage(self._part_file.parent).free
        if free < size + self._limits.free_bytes_min:
            self._may_resume = False
            raise TransferFailed(
                f"{self._destination}: not enough disk space for {size} bytes more: {free} free, of"
                f" which {self._limits.free_bytes_min} are kept for the journal",
                permanent=True,
            )

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn OSError into TransferFailed. Nothing is kept then: the journal needs the space."""
        try:
            yield
        except OSError as error:
            self._may_resume = False
            raise TransferFailed(
                f"{self._destination}: {error.strerror}", permanent=True
            ) from error


def discard_partial(destination: Path) -> None:
    """Delete the files of an unfinished download. Blocks.

    Raises:
        OSError: one cannot be deleted.
    """
    for path in _partial_paths(destination):
        path.unlink(missing_ok=True)


def _partial_paths(destination: Path) -> tuple[Path, Path, Path]:
    """Paths of the bytes, the state, and the state while it is written."""
    part, state, draft = (
        destination.with_name(destination.name + suffix)
        for suffix in (".part", ".part.json", ".part.json.new")
    )
    return part, state, draft
