"""Failures of the journal: what SQLite and the file system raise, as one line for people."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Raised by reading damaged pages. The last: Python decodes SQLite's message, which quotes them.
READ_ERRORS = (sqlite3.Error, MemoryError, OverflowError, UnicodeDecodeError)


class JournalFailed(Exception):
    """The journal cannot be read or written. One line: which file, what happened, what to do."""


class JournalDamaged(JournalFailed):
    """The file differs from what was written. `journal.maintenance.rebuild` saves what is whole."""


class JournalInUse(JournalFailed):
    """Another process writes this journal."""


class DiskFull(JournalFailed):
    """The disk is full. Nothing was written; the same commit may be tried again later."""


DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


# For a sector that cannot be read SQLite reports one of these, or SQLITE_CORRUPT.
_BAD_SECTOR_CODES = (
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
    sqlite3.SQLITE_IOERR_READ,
)


# SQLITE_ERROR is among them: our statements are always the same, so the tables were changed.
_DAMAGE_CODES = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        *_BAD_SECTOR_CODES,
    }
)


_REMEDIES = {
    **dict.fromkeys(
        _BAD_SECTOR_CODES, "A part of it cannot be read. The station's next start saves the rest"
    ),
    sqlite3.SQLITE_FULL: "Free space on its disk",
    sqlite3.SQLITE_READONLY: "Make the file and its directory writable",
    sqlite3.SQLITE_PERM: "Make the file and its directory writable",
    sqlite3.SQLITE_CANTOPEN: "Check that the directory exists and can be written",
    sqlite3.SQLITE_IOERR: "Check the disk; everything acknowledged before is kept",
    sqlite3.SQLITE_CORRUPT: "Run `station verify` on it",
    sqlite3.SQLITE_NOTADB: "It is not a journal, or its first page is damaged",
    sqlite3.SQLITE_BUSY: "Close the other program that uses it",
    sqlite3.SQLITE_LOCKED: "Close the other program that uses it",
}


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and of the file system as JournalFailed."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        remedy = _REMEDIES.get(code) or _REMEDIES.get(code & 0xFF, "Run `station verify` on it")
        raise _error_class(error)(f"{path}: {error}. {remedy}.") from error
    except (MemoryError, OverflowError, UnicodeDecodeError) as error:
        raise JournalDamaged(f"{path}: damaged. Run `station verify` on it.") from error
    except OSError as error:
        kind = DiskFull if error.errno in DISK_FULL_ERRNOS else JournalFailed
        raise kind(f"{path}: {error.strerror}. Check its disk and directory.") from error


def _error_class(error: sqlite3.Error) -> type[JournalFailed]:
    """The class of failure of an SQLite error."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return DiskFull
    return (
        JournalDamaged if code & 0xFF in _DAMAGE_CODES or code in _DAMAGE_CODES else JournalFailed
    )
