"""What did the station do to its files, in which order?

A `Recording` is the list of its writes, truncations, syncs and names, with what it said meanwhile
(`SessionReport`) between them. Files are told apart by a number of their own, because a name may come to
mean another file.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from tests.durability.powercut.session import LIVES, NO_POWERSAFE_OVERWRITE
from tests.durability.powercut.syscalls import SystemCall, TracedProcess

SESSION_LOG: Final = "said"  # the file, beside the data directory, into which the session speaks
DIRECTORY: Final = 0  # the number of the data directory itself; files count from 1
SESSION_MODULE: Final = "tests.durability.powercut.session"

_AT_FDCWD: Final = -100
_PATH_ARGUMENTS: Final = {  # which arguments are a directory's descriptor, if any, and a path
    "unlink": ((None, 0),),
    "unlinkat": ((0, 1),),
    "rename": ((None, 0), (None, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "truncate": ((None, 0),),
    "creat": ((None, 0),),
    "mkdir": ((None, 0),),
    "mkdirat": ((0, 1),),
    "rmdir": ((None, 0),),
    "link": ((None, 0), (None, 1)),
    "linkat": ((0, 1), (2, 3)),
    "symlink": ((None, 1),),
    "symlinkat": ((1, 2),),
    "openat2": ((0, 1),),
}
_DESCRIPTOR_ARGUMENTS: Final = {  # which argument is the descriptor that is written to
    "writev": 0,
    "pwritev": 0,
    "pwritev2": 0,
    "fallocate": 0,
    "sendfile": 0,
    "splice": 2,
    "copy_file_range": 2,
}


class FileWritten(NamedTuple):
    """Bytes went into a file; they are anywhere between cache and disk until it is synced."""

    file: int
    offset: int
    data: bytes


class FileResized(NamedTuple):
    """A file was given a size, in bytes."""

    file: int
    size: int


class NameSet(NamedTuple):
    """A name of the directory came to mean a file; with `replaces` it replaces that name."""

    name: str
    file: int
    replaces: str | None = None


class NameRemoved(NamedTuple):
    """A name of the directory was removed."""

    name: str


class FileSynced(NamedTuple):
    """fsync or fdatasync of a file, or of the directory, returned."""

    file: int


class SessionReport(NamedTuple):
    """What the session said: `Began`, `Acknowledged` and so on, see `session`."""

    body: dict[str, Any]


Op = FileWritten | FileResized | NameSet | NameRemoved | FileSynced | SessionReport
StopPredicate = Callable[
    [SystemCall, list[Op]], bool
]  # from a call and what this life has done so far


class Recording(NamedTuple):
    """All that happened to one data directory, from its beginning."""

    ops: tuple[Op, ...]
    powersafe_overwrite: bool

    def names_by_file(self) -> dict[int, str]:
        """Which file has, or had, which name; the last it was given."""
        return {op.file: op.name for op in self.ops if isinstance(op, NameSet)}


class SyscallRecorder:
    """Watches runs of the session on one data directory."""

    def __init__(self, data: Path) -> None:
        self.ops: list[Op] = []
        self._data = data.resolve()
        self._names: dict[str, int] = {}
        self._by_inode: dict[int, int] = {os.stat(self._data).st_ino: DIRECTORY}
        self._count = 0

    def run(
        self, arguments: list[str], kill_before: StopPredicate = lambda call, ops: False
    ) -> None:
        """Run the session to its end, or kill it before the first call that `kill_before` names.

        Raises:
            CannotTraceError: this machine does not allow it.
            RuntimeError: the session failed, or made a call of which we do not know what a power
                cut makes of it.
        """
        begin = len(self.ops)
        command = [sys.executable, "-m", SESSION_MODULE, str(self._data), *arguments]
        process = TracedProcess(command, os.environ)
        try:
            for call in process.traced_calls():
                if call.result is None:
                    self._before_call(process, call)
                    if kill_before(call, self.ops[begin:]):
                        process.kill_at_next_call()
                elif call.result >= 0:
                    self._after_call(process, call, call.result)
        except BaseException:
            os.kill(process.pid, signal.SIGKILL)
            raise

    # --- Calls -----------------------------------------------------------------------------------

    def _before_call(self, process: TracedProcess, call: SystemCall) -> None:
        """Names are read before the call is made: afterwards they may mean something else."""
        self._paths = [
            process.read_path(_AT_FDCWD if at is None else call.arguments[at], call.arguments[name])
            for at, name in _PATH_ARGUMENTS.get(call.name, ())
        ]

    def _after_call(self, process: TracedProcess, call: SystemCall, result: int) -> None:
        match call.name:
            case "open" | "openat":
                self._on_open(process, result, call.arguments[1 if call.name == "open" else 2])
            case "unlink" | "unlinkat":
                [path] = self._paths
                if self._is_recorded(path):
                    del self._names[path.name]
                    self.ops.append(NameRemoved(path.name))
            case "rename" | "renameat" | "renameat2":
                self._on_rename(*self._paths)
            case "mmap":
                self._on_mmap(process, call)
            case "write" | "pwrite64" | "ftruncate" | "fsync" | "fdatasync":
                self._on_change(process, call, result)
            case _:
                self._reject_call(process, call)

    def _is_recorded(self, path: Path) -> bool:
        """Whether a power cut leaves anything of it: the log's index is made anew."""
        return path.parent == self._data and not path.name.endswith("-shm")

    def _on_open(self, process: TracedProcess, descriptor: int, flags: int) -> None:
        path, inode, _ = process.open_file_info(descriptor)
        if not self._is_recorded(path):
            return
        if path.name not in self._names:
            self._count += 1
            self._names[path.name] = self._by_inode[inode] = self._count
            self.ops.append(NameSet(path.name, self._count))
        elif flags & os.O_TRUNC:
            self.ops.append(FileResized(self._names[path.name], 0))

    def _on_rename(self, old: Path, new: Path) -> None:
        if self._is_recorded(old) or self._is_recorded(new):
            assert old.parent == new.parent, f"{old} to {new}: beyond this model"
            self._names[new.name] = self._names.pop(old.name)
            self.ops.append(NameSet(new.name, self._names[new.name], old.name))

    def _on_change(self, process: TracedProcess, call: SystemCall, result: int) -> None:
        name, arguments = call.name, call.arguments
        path, inode, position = process.open_file_info(arguments[0])
        if path == self._data.parent / SESSION_LOG:
            text = process.read_memory(arguments[1], result)
            self.ops += [SessionReport(json.loads(line)) for line in text.splitlines()]
        if path != self._data and not self._is_recorded(path):
            return
        file = self._by_inode[inode]
        if name == "ftruncate":
            self.ops.append(FileResized(file, arguments[1]))
        elif name in ("fsync", "fdatasync"):
            self.ops.append(FileSynced(file))
        else:
            offset = arguments[3] if name == "pwrite64" else position - result
            self.ops.append(FileWritten(file, offset, process.read_memory(arguments[1], result)))

    def _on_mmap(self, process: TracedProcess, call: SystemCall) -> None:
        """Memory that is a file changes without a call."""
        _, _, protection, flags, descriptor, _ = call.arguments
        if flags & mmap.MAP_SHARED and protection & mmap.PROT_WRITE and not flags & mmap.MAP_ANON:
            path, _, _ = process.open_file_info(descriptor)
            assert not self._is_recorded(path), f"{path} is mapped for writing: not seen from here"

    def _reject_call(self, process: TracedProcess, call: SystemCall) -> None:
        """What this model knows nothing of must not happen where it counts."""
        place = _DESCRIPTOR_ARGUMENTS.get(call.name)
        paths = self._paths if place is None else [process.open_file_info(call.arguments[place])[0]]
        known = paths and not any(map(self._is_recorded, paths))
        assert known, f"{call.name} of {paths}: what does a power cut make of that?"


def record_session(
    options: tuple[str, ...] = (), lives: Iterable[str] = tuple(LIVES)
) -> tuple[Recording, dict[str, bytes]]:
    """Lives of the session, one after the other, on one data directory.

    The first is killed in a commit, so that the second finds in the system's cache what is not
    on the disk.

    Returns:
        What was done, and the files as the last life left them.

    Raises:
        CannotTraceError: this machine does not allow it.
    """
    with TemporaryDirectory() as place:
        data = Path(place).resolve() / "data"
        data.mkdir()
        recorder = SyscallRecorder(data)
        for life in lives:
            recorder.run([life, *options], _is_fatal_sync)
        return Recording(tuple(recorder.ops), NO_POWERSAFE_OVERWRITE not in options), {
            path.name: path.read_bytes()
            for path in data.iterdir()
            if not path.name.endswith("-shm")
        }


def _is_fatal_sync(call: SystemCall, ops: list[Op]) -> bool:
    """Before the sync of the commit in which the session says that it dies."""
    if call.name not in ("fsync", "fdatasync"):
        return False
    said = [op.body for op in ops if isinstance(op, SessionReport)]
    return {"dies": True} in said and "began" in said[-1]
