"""The file to upload, and how much of it earlier attempts have sent."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from station.runtime.transfers.results import TransferFailed


class UploadSource:
    """A file that is complete and does not change while it is sent.

    Attributes:
        name: of the file on the server, unless the URL has one.
        size_bytes: of the file.
        sent_bytes: that earlier attempts sent. Bytes on the server beyond them are not ours, or
            not in order.
    """

    def __init__(self, path: Path, sent_bytes: int) -> None:
        """Open the file to learn its size. Blocks.

        Raises:
            TransferFailed: permanent; it cannot be opened.
        """
        self.name = path.name
        self.sent_bytes = sent_bytes
        self._path = path
        with self.open() as file:
            self.size_bytes = file.seek(0, 2)

    def open(self) -> BinaryIO:
        """Open the file at its start. Blocks.

        Raises:
            TransferFailed: permanent; it cannot be opened.
        """
        try:
            return self._path.open("rb")
        except OSError as error:
            raise TransferFailed(f"{self._path}: {error.strerror}", permanent=True) from error
