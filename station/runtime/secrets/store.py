"""Where do passwords lie, if never in the journal?

Each in a file of its own that only the station may read, named by a reference. The journal
knows the reference; the file is written and synced before the entry that speaks of it.
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


class SecretStore:
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
        file = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as whole:
            whole.write(secret.encode())
            whole.flush()
            os.fsync(file)
        sync_directory(self._directory)
        return f"<secret {name}>"

    def read_secret(self, reference: str) -> str | None:
        """The secret behind a reference; None where there is none (any more), or none to be read.

        A rotten file is no reason to stop: what needs the secret says that it lacks it. P8.
        """
        found = _REFERENCE_PATTERN.fullmatch(reference)
        if found is None:
            return None
        try:
            return (self._directory / found[1]).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            log.error("secret %s… cannot be read: %s", found[1][:8], type(error).__name__)
            return None

    def delete_unreferenced(self, references: set[str]) -> None:
        """Delete every secret that no reference names any more, and nothing else."""
        wanted = {found[1] for one in references if (found := _REFERENCE_PATTERN.fullmatch(one))}
        if not self._directory.is_dir():
            return
        for file in self._directory.iterdir():
            if _FILE_NAME_PATTERN.fullmatch(file.name) and file.name not in wanted:
                file.unlink()
