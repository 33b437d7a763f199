"""The lock that admits one writer, and its record of the log's length.

The file is `journal.lock` beside the journal. The lock belongs to the process, not to the file: it
ends with the process, however that ends. The record in the file allows the next writer to notice
that a log is missing or was cut.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from journal.format.sectors import read_with_filler
from journal.storage.errors import JournalInUse, translate_errors

_SIZE_RECORD: Final = "log at least {:>12}\n"  # at the beginning; the writer's pid follows
_SIZE_RECORD_BYTES: Final = len(_SIZE_RECORD.format(0))


class WriterLock:
    """The right to write a journal, from `WriterLock(journal)` to `close`."""

    def __init__(self, journal: Path) -> None:
        """Become the only writer.

        Raises:
            JournalInUse: another process is the writer.
            JournalFailed: the directory cannot be written.
        """
        self._journal = journal
        name = journal.with_suffix(".lock")
        with translate_errors(name):
            self._file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                self.close()
                raise OSError(errno.EINVAL, "Not a regular file")
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
        """The least number of bytes of the log, as recorded last."""
        return self._read_log_size() or 0

    def record_log_size(self, log_bytes: int) -> None:
        """Record the least number of bytes of the log; 0 before the log may shrink or be removed.

        Only 0 must be synced before the next step: losing it would report damage where none is.
        Losing another number only leaves damage undetected.
        """
        os.pwrite(self._file, _SIZE_RECORD.format(log_bytes).encode(), 0)
        if not log_bytes:
            os.fdatasync(self._file)

    def find_missing_log(self) -> str | None:
        """Describe the loss if the log is missing or shorter than recorded; else None."""
        log, recorded = Path(f"{self._journal}-wal"), self.log_bytes_min
        present = log.stat().st_size if log.exists() else 0
        if present >= recorded:
            return None
        return f"the log has {present} bytes of {recorded}: commits in it are lost"

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)

    def _write_pid(self) -> None:
        if self._read_log_size() is None:
            os.ftruncate(self._file, 0)  # a bad sector cannot be written in part either
            self.record_log_size(0)
        os.ftruncate(self._file, _SIZE_RECORD_BYTES)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), _SIZE_RECORD_BYTES)

    def _read_log_size(self) -> int | None:
        """The recorded length; None if there is none, or it cannot be read."""
        record = read_with_filler(self._file, _SIZE_RECORD_BYTES, 0)[0].decode("ascii", "replace")
        number = record.removeprefix("log at least ").strip()
        if not number.isdecimal() or record != _SIZE_RECORD.format(int(number)):
            return None
        return int(number)
