"""Reasons why a serial port cannot be opened, in words that say what to do."""

from __future__ import annotations

import errno
import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

LOCKS_FILE = Path("/proc/locks")


def explain_open_failure(path: str, error_number: int | None, text: str) -> str:
    """One line with the port, the reason and the remedy.

    Args:
        path: of the port.
        error_number: errno, if the failure has one.
        text: what the library says, for a reason without words here.
    """
    match error_number:
        case errno.ENOENT:
            return f"{path}: does not exist. Is the adapter plugged in?"
        case errno.EACCES | errno.EPERM:
            return f"{path}: no permission. {_permission_remedy(path)}"
        case errno.EBUSY | errno.EAGAIN:
            return f"{path}: in use by {_describe_holder(path)}. A port serves one program."
        case errno.ENXIO | errno.EIO | errno.ENODEV:
            return f"{path}: there is no device behind it. Is the adapter plugged in?"
        case errno.ENOTTY | errno.EINVAL | errno.EISDIR:
            return f"{path}: is not a serial port"
        case _:
            return f"{path}: cannot open: {text}"


def _permission_remedy(path: str) -> str:
    """The group that may open the port; a udev rule where none may."""
    try:
        status = os.stat(path)
    except OSError:
        return "This user may not open the directory it is in."
    group_access = stat.S_IRGRP | stat.S_IWGRP
    if status.st_mode & group_access != group_access:
        return "Only its owner may open it; give it a group with a udev rule."
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = f"{status.st_gid}"
    return f"Add the user of the station to the group {group} and start it again."


def _describe_holder(path: str) -> str:
    pids = list(find_lock_holders(path)) or list(_open_in_processes(path))
    if not pids:
        return "another process"
    return " and ".join(f"process {pid}{_process_name(pid)}" for pid in pids)


def _process_name(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return ""


def find_lock_holders(path: str) -> Iterator[int]:
    """Processes that hold a lock on a file or port; any user can read them.

    A line of /proc/locks: `1: FLOCK  ADVISORY  WRITE 1234 00:16:5 0 EOF`; proc(5).
    """
    try:
        status = os.stat(path)
        lines = LOCKS_FILE.read_text().splitlines()
    except OSError:
        return
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        fields = line.split()
        if len(fields) == 8 and fields[5] == device and int(fields[4]) > 0:
            yield int(fields[4])


def _open_in_processes(path: str) -> Iterator[int]:
    """Processes that have the port open without a lock, as far as this user can see."""
    real_path = os.path.realpath(path)
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) == real_path:
                yield int(descriptor.parts[2])
        except OSError:  # ended in the meantime, or of another user
            continue
