"""Damaged journals, set aside in `journal.damaged-N` beside the new one.

They are kept for analysis; `journal.maintenance.erase_quarantined` erases personal values in them,
and retention removes them when they are old.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

from journal.format.sectors import iter_file_with_filler
from journal.storage.atomic_file import sync_directory
from journal.storage.errors import translate_errors
from journal.storage.lock import WriterLock


def copy_log_to_quarantine(path: Path) -> None:
    """Keep a copy of a damaged log, which the store is going to overwrite."""
    directory = _make_quarantine_directory(path)
    with (directory / f"{path.name}-wal").open("xb") as copy:
        copy.writelines(iter_file_with_filler(Path(f"{path}-wal")))


def _make_quarantine_directory(path: Path) -> Path:
    number = next(n for n in count(1) if not path.with_suffix(f".damaged-{n}").exists())
    directory = path.with_suffix(f".damaged-{number}")
    directory.mkdir()
    return directory


def quarantine_journal(path: Path) -> Path:
    """Move a journal that cannot be opened into a quarantine directory, whole.

    `Reader.iter_entries(on_damage=...)` still reads what can be read of it. A power cut meanwhile
    leaves it in one place or in both.

    Returns:
        Its new path.

    Raises:
        JournalFailed: it is in use, or the directory cannot be written.
    """
    lock = WriterLock(path)
    try:
        with translate_errors(path):
            directory = _make_quarantine_directory(path)
            names = [f"{path.name}{suffix}" for suffix in ("", "-shm", "-wal")]
            existing = [name for name in names if (path.parent / name).exists()]
            for name in existing:
                (directory / name).hardlink_to(path.parent / name)
            sync_directory(directory)
            for name in existing:
                (path.parent / name).unlink()
            sync_directory(path.parent)
            lock.record_log_size(0)
    finally:
        lock.close()
    return directory / path.name


def remove_half_made(path: Path) -> None:
    """Remove an unfinished rebuild, left by a power cut: it contains personal values."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path.with_suffix('.rebuilding')}{suffix}").unlink(missing_ok=True)


def is_rebuild_unfinished(path: Path) -> bool:
    """Whether a power cut interrupted a rebuild before its last step; it is done again."""
    return path.with_suffix(".rebuilt").exists()


def find_quarantines(journal: Path) -> list[Path]:
    """The directories with damaged journals, the oldest first.

    Raises:
        OSError: the directory cannot be read.
    """
    directories = journal.parent.glob(f"{journal.stem}.damaged-*")
    return sorted(directories, key=lambda directory: directory.stat().st_mtime_ns)
