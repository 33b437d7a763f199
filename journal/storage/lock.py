"""Who is the only writer of a journal, and how long a log did the writer before leave?

Both stand in `journal.storage.lock`. The lock itself is the process's, not the file's: it is gone
when the process is, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from journal.format.sectors import read_with_filler
from journal.storage.errors import JournalInUse, translate_errors

_SIZE_RECORD: Final = (
    "log at least {:>12}\n"  # at the begin of the file; the pid of the writer follows
)
_SIZE_RECORD_BYTES: Final = len(_SIZE_RECORD.format(0))


class WriterLock:
    """Held from `WriterLock(journal)` to `close`."""

    def __init__(self, journal: Path) -> None:
        """Become the only writer.

        Raises:
            JournalInUse: another process is.
            JournalFailed: the directory cannot be written.
        """
        self._journal = journal
        name = journal.with_suffix(".lock")
        with translate_errors(name):
            self._file = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 20, _SIZE_RECORD_BYTES).decode("ascii", "replace").strip()
            self.close()
            raise JournalInUse(
                f"{journal}: another process (pid {holder or 'unknown'}) writes this journal. "
                "Stop it, or give this station a data directory of its own."
            ) from None
        try:
            with translate_errors(name):
                self._write_pid()
        except BaseException:
            self.close()
            raise

    @property
    def log_bytes_min(self) -> int:
        """Bytes that the log is never shorter than, as last noted."""
        return self._read_log_size() or 0

    def record_log_size(self, log_bytes: int) -> None:
        """Note what the log is never shorter than, until it is closed: 0.

        Only 0 must be on the disk before what follows; any other that is not hides damage at
        worst.
        """
        os.pwrite(self._file, _SIZE_RECORD.format(log_bytes).encode(), 0)
        if not log_bytes:
            os.fdatasync(self._file)

    def find_missing_log(self) -> str | None:
        """Say so where the last writer left a log, and it is not here, or not all of it."""
        log, left = Path(f"{self._journal}-wal"), self.log_bytes_min
        there = log.stat().st_size if log.exists() else 0
        if there >= left:
            return None
        return f"the log has {there} bytes, {left} were left: commits it held are lost"

    def close(self) -> None:
        """Let another process write."""
        os.close(self._file)

    def _write_pid(self) -> None:
        if self._read_log_size() is None:
            os.ftruncate(self._file, 0)  # a bad sector is not written in part either
            self.record_log_size(0)
        os.ftruncate(self._file, _SIZE_RECORD_BYTES)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), _SIZE_RECORD_BYTES)

    def _read_log_size(self) -> int | None:
        """What stands there; None before the first, or where it cannot be read."""
        found = read_with_filler(self._file, _SIZE_RECORD_BYTES, 0)[0].decode("ascii", "replace")
        number = found.removeprefix("log at least ").strip()
        return (
            int(number)
            if number.isdecimal() and found == _SIZE_RECORD.format(int(number))
            else None
        )
