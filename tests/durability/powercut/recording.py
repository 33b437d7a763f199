"""Recording of all file operations of the session, in order.

A `Recording` is the list of writes, resizes, syncs and names of one data directory, with the
session's reports (`SessionReport`) between them, from its first boot to its last. It has all
that the model of the disk needs, so that images of any moment can be computed afterwards.

* A file is identified by a number, because a name may later refer to another file.
* Only successful calls are recorded, with the data read from the memory of the traced process.
* The session writes its reports to a file beside the data directory. The order of that write
  among the others is what counts: a report follows exactly what it reports.
* `journal.db-shm` is not recorded: SQLite rebuilds it at every open.
* A call that the model does not have (a link, a writable mapping, `fallocate`, ...) on a
  recorded file is an error, so that no image is computed from an incomplete recording.
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

from tests.durability.powercut.session import NO_POWERSAFE_OVERWRITE, RUNS
from tests.durability.powercut.syscalls import SystemCall, TracedProcess

SESSION_LOG: Final = (
    "reports.jsonl"  # beside the data directory; the session writes its reports there
)
DIRECTORY: Final = 0  # the number of the data directory itself; files count from 1
SESSION_MODULE: Final = "tests.durability.powercut.session"

_AT_FDCWD: Final = -100
_PATH_ARGUMENTS: Final = {  # positions of: the directory's descriptor, if any; the path
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
_DESCRIPTOR_ARGUMENTS: Final = {  # position of the argument: the descriptor that is written to
    "writev": 0,
    "pwritev": 0,
    "pwritev2": 0,
    "fallocate": 0,
    "sendfile": 0,
    "splice": 2,
    "copy_file_range": 2,
}


class FileWritten(NamedTuple):
    """Bytes were written to a file."""

    file: int
    offset: int
    data: bytes


class FileResized(NamedTuple):
    """The size of a file was set, in bytes."""

    file: int
    size: int


class NameSet(NamedTuple):
    """A name was created for a file, or renamed from `replaces`."""

    name: str
    file: int
    replaces: str | None = None


class NameRemoved(NamedTuple):
    """A name was removed from the directory."""

    name: str


class FileSynced(NamedTuple):
    """fsync or fdatasync of a file, or of the directory, returned."""

    file: int


class SessionReport(NamedTuple):
    """A report of the session; see `ExpectedJournal.apply_report` for the keys."""

    body: dict[str, Any]


Op = FileWritten | FileResized | NameSet | NameRemoved | FileSynced | SessionReport
StopPredicate = Callable[[SystemCall, list[Op]], bool]  # a call, and the operations of this run


class Recording(NamedTuple):
    """All operations on one data directory, from its creation on."""

    ops: tuple[Op, ...]
    powersafe_overwrite: bool

    def names_by_file(self) -> dict[int, str]:
        """The last name of each file."""
        return {op.file: op.name for op in self.ops if isinstance(op, NameSet)}


class SyscallRecorder:
    """Records runs of the session on one data directory."""

    def __init__(self, data: Path) -> None:
        self.ops: list[Op] = []
        self._data = data.resolve()
        self._names: dict[str, int] = {}
        self._by_inode: dict[int, int] = {os.stat(self._data).st_ino: DIRECTORY}
        self._count = 0

    def run(
        self, arguments: list[str], kill_before: StopPredicate = lambda call, ops: False
    ) -> None:
        """Run the session to its end, or kill it before the first call that `kill_before` matches.

        Raises:
            CannotTraceError: this machine does not allow tracing.
            RuntimeError: the session failed.
            AssertionError: it made a call on a recorded file that the model does not have.
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
        """Read the paths before the call is made: afterwards they may refer to other files."""
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
        """Whether the path is recorded: all of the data directory but `-shm`, which is rebuilt."""
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
            assert old.parent == new.parent, f"{old} to {new}: the model has one directory only"
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
        """A recorded file must not be mapped for writing: it would change without a call."""
        _, _, protection, flags, descriptor, _ = call.arguments
        if flags & mmap.MAP_SHARED and protection & mmap.PROT_WRITE and not flags & mmap.MAP_ANON:
            path, _, _ = process.open_file_info(descriptor)
            assert not self._is_recorded(path), (
                f"{path} is mapped for writing, which cannot be recorded"
            )

    def _reject_call(self, process: TracedProcess, call: SystemCall) -> None:
        """Assert that a call the model does not have is not made on a recorded file."""
        argument = _DESCRIPTOR_ARGUMENTS.get(call.name)
        paths = (
            self._paths
            if argument is None
            else [process.open_file_info(call.arguments[argument])[0]]
        )
        is_unrecorded = paths and not any(map(self._is_recorded, paths))
        assert is_unrecorded, f"{call.name} of {paths}: not in the model of the disk"


def record_session(
    options: tuple[str, ...] = (), runs: Iterable[str] = tuple(RUNS)
) -> tuple[Recording, dict[str, bytes]]:
    """Record the runs of the session, one after the other, on one data directory.

    The first run is killed in a commit, so that the second reads from the system's cache what is
    not yet on the disk.

    Returns:
        The recording, and the files as the last run left them.

    Raises:
        CannotTraceError: this machine does not allow tracing.
    """
    with TemporaryDirectory() as directory:
        data = Path(directory).resolve() / "data"
        data.mkdir()
        recorder = SyscallRecorder(data)
        for name in runs:
            recorder.run([name, *options], _is_fatal_sync)
        return Recording(tuple(recorder.ops), NO_POWERSAFE_OVERWRITE not in options), {
            path.name: path.read_bytes()
            for path in data.iterdir()
            if not path.name.endswith("-shm")
        }


def _is_fatal_sync(call: SystemCall, ops: list[Op]) -> bool:
    """Whether this is the sync of the commit in which the session is to be killed."""
    if call.name not in ("fsync", "fdatasync"):
        return False
    reports = [op.body for op in ops if isinstance(op, SessionReport)]
    return {"dies_in_commit": True} in reports and "commit_begun" in reports[-1]
