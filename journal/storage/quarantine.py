"""TODO."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from journal.format.sectors import read_file_with_filler
from journal.storage.atomic_file import sync_directory
from journal.storage.errors import translate_errors
from journal.storage.lock import WriterLock


def copy_log_to_quarantine(path: Path) -> None:
    aside = _make_quarantine_directory(path)
    (aside / f"{path.name}-wal").write_bytes(read_file_with_filler(Path(f"{path}-wal")))


def _make_quarantine_directory(path: Path) -> Path:
    number = next(n for n in count(1) if not path.with_suffix(f".damaged-{n}").exists())
    aside = path.with_suffix(f".damaged-{number}")
    aside.mkdir()
    return aside


def quarantine_journal(path: Path) -> Path:
    """Put a journal that cannot be opened out of the way, whole, and say where it is now.

    What can be read of it `BodyDecoder.iter_entries(damaged=...)` still gives. A power cut meanwhile leaves
    it in one place or in both.

    Raises:
        JournalFailed: it is in use, or the directory cannot be written.
    """
    lock = WriterLock(path)
    try:
        with translate_errors(path):
            aside = _make_quarantine_directory(path)
            names = [f"{path.name}{ending}" for ending in ("", "-shm", "-wal")]
            there = [name for name in names if (path.parent / name).exists()]
            for name in there:
                (aside / name).hardlink_to(path.parent / name)
            sync_directory(aside)
            for name in there:
                (path.parent / name).unlink()
            sync_directory(path.parent)
            lock.record_log_size(0)
    finally:
        lock.close()
    return aside / path.name


def remove_half_made(path: Path) -> None:
    """Take away what a power cut left of a journal that was being made anew: it holds people."""
    for ending in ("", "-wal", "-shm"):
        Path(f"{path.with_suffix('.rebuilding')}{ending}").unlink(missing_ok=True)


def find_quarantines(journal: Path) -> list[Path]:
    """The directories with damaged journals, by the time they were set aside.

    Raises:
        OSError: the directory cannot be read.
    """
    found = journal.parent.glob(f"{journal.stem}.damaged-*")
    return sorted(found, key=lambda one: one.stat().st_mtime_ns)
