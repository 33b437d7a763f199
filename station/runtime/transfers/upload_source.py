"""Which file is sent?"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from station.runtime.transfers.results import TransferFailed


class UploadSource:
    """A file that is complete and does not change while it is sent.

    Attributes:
        name: what it is called at the other end, unless the URL says.
        size: in bytes.
        sent: bytes that earlier attempts handed over. What is at the other end beyond them is not
            ours, or not in order.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file. Blocks.

        Raises:
            TransferFailed: permanent; there is none that can be read.
        """
        self.name = path.name
        self.sent_bytes = 0
        self._path = path
        with self.open() as file:
            self.size_bytes = file.seek(0, 2)

    def open(self) -> BinaryIO:
        """The file, to read from its start. Blocks.

        Raises:
            TransferFailed: permanent; it cannot be opened.
        """
        try:
            return self._path.open("rb")
        except OSError as error:
            raise TransferFailed(f"{self._path}: {error.strerror}", permanent=True) from error
