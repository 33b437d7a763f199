"""The data directory: made and checked at the start, with its files for the service alone.

The journal holds the cards of EV drivers, `secrets/` holds keys, so no other user of the host may
read a file here. `restrict_new_files` sets the process's umask: new files have mode 0600, new
directories 0700. `prepare_data_directory` also takes the permissions of other users away from files
of an earlier release. The mode of a data directory that exists stays: `data = "."` may name a
directory that others need, and without the files its names are no secret.

Only files that the station makes are changed or checked, and links are not followed.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger("station")

OTHER_USERS: Final = stat.S_IRWXG | stat.S_IRWXO
OWN_FILES: Final = ("journal.db*", "journal.lock", "journal.*.gz", "snapshot", "reserve", "*.log")
OWN_DIRECTORIES: Final = (
    "secrets",
    "certificates",
    "keys",
    "downloads",
    "uploads",
    "traces",
    "emulated",
    "journal.damaged-*",
)


class DataDirectoryError(Exception):
    """The data directory cannot be used. One line: path, reason, what to do."""


def restrict_new_files() -> None:
    """Files and directories that this process makes from now on are for its user only."""
    os.umask(OTHER_USERS)


def prepare_data_directory(directory: Path) -> None:
    """Make the directory, or check an existing one and protect its files.

    Raises:
        DataDirectoryError: it is not a directory, or this user cannot write it or a file in it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise _is_a_file(directory) from None
    except OSError as error:
        raise _cannot_be_made(directory, error.strerror or str(error)) from None
    _require_access(directory, directory, os.R_OK | os.W_OK | os.X_OK)
    _require_directories(directory)
    exposed = sum(_protect_file(directory, path) for path in _own_paths(directory))
    if exposed:
        log.warning(
            "data directory %s: other users could read %d files; now only this user can",
            directory,
            exposed,
        )


def check_data_directory(directory: Path) -> None:
    """Check what `prepare_data_directory` needs, without a change.

    Raises:
        DataDirectoryError: as `prepare_data_directory`.
    """
    if directory.is_dir():
        _require_access(directory, directory, os.R_OK | os.W_OK | os.X_OK)
        _require_directories(directory)
        for path in _own_paths(directory):
            _require_access(directory, path, os.R_OK | os.W_OK)
        return
    if directory.exists():
        raise _is_a_file(directory)
    parent = next(path for path in directory.absolute().parents if path.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK, effective_ids=True)):
        raise _cannot_be_made(directory, f"{parent} cannot be written")


def count_exposed_files(directory: Path) -> int:
    """How many files of the station other users of the host can read or write."""
    modes = (path.lstat().st_mode for path in _own_paths(directory))
    return sum(stat.S_ISREG(mode) and bool(mode & OTHER_USERS) for mode in modes)


def _is_a_file(directory: Path) -> DataDirectoryError:
    return DataDirectoryError(
        f"data directory {directory} is a file. Move it, or give another directory."
    )


def _cannot_be_made(directory: Path, reason: str) -> DataDirectoryError:
    return DataDirectoryError(
        f"data directory {directory} cannot be made: {reason}."
        " Make it for the user of the station, or give another directory."
    )


def _require_directories(directory: Path) -> None:
    for pattern in OWN_DIRECTORIES:
        for path in directory.glob(pattern):
            if not path.is_dir():
                raise DataDirectoryError(
                    f"data directory {directory}: {path.name} is not a directory. Move it away."
                )


def _own_paths(directory: Path) -> Iterator[Path]:
    """The files and directories that the station makes, without links and sockets."""
    paths = [path for pattern in OWN_FILES for path in directory.glob(pattern)]
    for pattern in OWN_DIRECTORIES:
        for folder in directory.glob(pattern):
            _require_access(directory, folder, os.R_OK | os.W_OK | os.X_OK)
            paths += [folder, *folder.rglob("*")]
    for path in paths:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            yield path


def _protect_file(directory: Path, path: Path) -> bool:
    """Take all permissions of other users away; returns whether there were any."""
    needed = os.X_OK if path.is_dir() else 0
    _require_access(directory, path, os.R_OK | os.W_OK | needed)
    mode = stat.S_IMODE(path.lstat().st_mode)
    if not mode & OTHER_USERS:
        return False
    try:
        path.chmod(mode & ~OTHER_USERS)
    except PermissionError:  # of another user, who let this one write it
        log.warning("%s: other users can read it, and its owner alone can change that", path)
        return False
    return path.is_file()


def _require_access(directory: Path, path: Path, access: int) -> None:
    if os.access(path, access, effective_ids=True):
        return
    name = "" if path == directory else f": {path.relative_to(directory)}"
    status = path.lstat()
    if status.st_uid == os.geteuid():
        raise DataDirectoryError(
            f"data directory {directory}{name} cannot be written (mode"
            f" {stat.S_IMODE(status.st_mode):04o}). Check its mode and whether the disk is"
            " mounted read-only."
        )
    user = _user_name(os.geteuid())
    raise DataDirectoryError(
        f"data directory {directory}{name} belongs to {_user_name(status.st_uid)}, and {user},"
        f" who runs the station, cannot write it. Run `chown -R {user} {directory}`."
    )


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
