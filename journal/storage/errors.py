"""TODO."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What reading damaged pages raises. The last: SQLite quotes them, and Python reads the quotation.
READ_ERRORS = (sqlite3.Error, MemoryError, OverflowError, UnicodeDecodeError)


class JournalFailed(Exception):
    """The journal cannot be read or written. One line: which file, what happened, what to do."""


class JournalDamaged(JournalFailed):
    """The file is not what SQLite or the station wrote. `journal.maintenance.salvage` knows what to do."""


class JournalInUse(JournalFailed):
    """Another process writes it."""


class DiskFull(JournalFailed):
    """There is no room. Nothing was written; with more room the same may be tried again."""


DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


# A sector that cannot be read is one of these, or SQLITE_CORRUPT, as the moment has it.
_BAD_SECTOR_CODES = (
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
    sqlite3.SQLITE_IOERR_READ,
)


# SQLITE_ERROR: what we say is the same every time, so the tables are not ours any more.
_DAMAGE_CODES = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
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
    sqlite3.SQLITE_IOERR: "Check the disk; what was acknowledged before this is kept",
    sqlite3.SQLITE_CORRUPT: "Run `station verify` on it",
    sqlite3.SQLITE_NOTADB: "It is not a journal, or its first page is damaged",
    sqlite3.SQLITE_BUSY: "Close the other program that holds it",
    sqlite3.SQLITE_LOCKED: "Close the other program that holds it",
}


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into JournalFailed."""
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
    """Which failure an error of SQLite's is."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return DiskFull
    return (
        JournalDamaged if code & 0xFF in _DAMAGE_CODES or code in _DAMAGE_CODES else JournalFailed
    )
