"""Secret store: passwords and private keys in files, so that they never enter the journal.

Each secret is a file `<data>/secrets/<32 hex digits>`, mode 0600. The journal holds the reference
`<secret …>` with these digits. The file is synced before the entry with its reference is committed;
at each start and end of the station, files without a reference in use are deleted.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from pathlib import Path

from journal.storage.atomic_file import sync_directory

log = logging.getLogger("station.secrets")

_REFERENCE_PATTERN = re.compile(r"<secret ([0-9a-f]{32})>")
_FILE_NAME_PATTERN = re.compile(r"[0-9a-f]{32}")


def is_reference(text: str) -> bool:
    """Whether a text is the reference of a secret."""
    return _REFERENCE_PATTERN.fullmatch(text) is not None


class SecretStore:
    """The secrets of a data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def store_secret(self, secret: str) -> str:
        """Store a secret durably.

        Returns:
            Its reference, `<secret …>`.

        Raises:
            OSError: it cannot be written.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        handle = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secret.encode())
            file.flush()
            os.fsync(handle)
        sync_directory(self._directory)
        return f"<secret {name}>"

    def read_secret(self, reference: str) -> str | None:
        """The secret of a reference; None if the text is no reference or the file is gone.

        An unreadable file counts as gone, with an error in the log: the function that needs the
        secret reports that it is missing (P8).
        """
        match = _REFERENCE_PATTERN.fullmatch(reference)
        if match is None:
            return None
        try:
            return (self._directory / match[1]).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            log.error(
                "secret %s… cannot be read: %s. It counts as lost; set it again.",
                match[1][:8],
                type(error).__name__,
            )
            return None

    def delete_secret(self, reference: str) -> None:
        """Delete a secret that no entry in effect refers to; one that is gone already is no error.

        Raises:
            OSError: it cannot be deleted.
        """
        match = _REFERENCE_PATTERN.fullmatch(reference)
        if match is not None:
            (self._directory / match[1]).unlink(missing_ok=True)

    def delete_unreferenced(self, references: set[str]) -> None:
        """Delete the secrets that none of the references names. Other files are kept."""
        matches = (_REFERENCE_PATTERN.fullmatch(reference) for reference in references)
        in_use = {match[1] for match in matches if match}
        if not self._directory.is_dir():
            return
        for file in self._directory.iterdir():
            if _FILE_NAME_PATTERN.fullmatch(file.name) and file.name not in in_use:
                file.unlink()
