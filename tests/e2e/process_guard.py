"""Kills processes of tests that outlive the process that started them.

A test run that is killed cannot end its stations itself. `guard_group` gives the id of a process
group to a small process that reads a pipe from this one. The pipe closes when this process ends,
for whatever reason; then the guard kills every group that was not released, and ends.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable

_lock = threading.Lock()
_guard: subprocess.Popen[bytes] | None = None


def guard_group(process_group: int) -> None:
    """Have a process group killed when this process ends."""
    _send(f"+{process_group}\n")


def release_group(process_group: int) -> None:
    """The group has ended: its id may be another process's by the time this one ends."""
    _send(f"-{process_group}\n")


def _send(line: str) -> None:
    global _guard
    with _lock:
        if _guard is None:
            _guard = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # what kills the group of this process does not kill it
            )
            atexit.register(_end_guard, _guard)
        assert _guard.stdin is not None
        _guard.stdin.write(line.encode())


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait()


def kill_groups_at_end(lines: Iterable[str]) -> None:
    """Read `+ID` and `-ID` until the other end closes; kill the groups that remain."""
    groups: set[int] = set()
    for line in lines:
        process_group = int(line[1:])
        if line.startswith("+"):
            groups.add(process_group)
        else:
            groups.discard(process_group)
    for process_group in groups:
        try:
            os.killpg(process_group, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended by itself


if __name__ == "__main__":
    kill_groups_at_end(sys.stdin)
