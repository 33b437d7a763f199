"""What did the station do to its files, in which order?

A `Recording` is the list of its writes, truncations, syncs and names, with what it said meanwhile
(`Said`) between them. Files are told apart by a number of their own, because a name may come to
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

from tests.powercut.session import LIVES, NO_POWERSAFE_OVERWRITE
from tests.powercut.syscalls import Call, Process

SAID: Final = "said"  # the file, beside the data directory, into which the session speaks
DIRECTORY: Final = 0  # the number of the data directory itself; files count from 1
SESSION: Final = "tests.powercut.session"

_AT_FDCWD: Final = -100
_PATHS: Final = {  # which arguments are a directory's descriptor, if any, and a path
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
_DESCRIPTORS: Final = {  # which argument is the descriptor that is written to
    "writev": 0,
    "pwritev": 0,
    "pwritev2": 0,
    "fallocate": 0,
    "sendfile": 0,
    "splice": 2,
    "copy_file_range": 2,
}


class Wrote(NamedTuple):
    """Bytes went into a file; they are anywhere between cache and disk until it is synced."""

    file: int
    offset: int
    data: bytes


class Sized(NamedTuple):
    """A file was given a size, in bytes."""

    file: int
    size: int


class Named(NamedTuple):
    """A name of the directory came to mean a file; with `instead_of` it replaces that name."""

    name: str
    file: int
    instead_of: str | None = None


class Unnamed(NamedTuple):
    """A name of the directory was removed."""

    name: str


class Synced(NamedTuple):
    """fsync or fdatasync of a file, or of the directory, returned."""

    file: int


class Said(NamedTuple):
    """What the session said: `Began`, `Acknowledged` and so on, see `session`."""

    what: dict[str, Any]


Op = Wrote | Sized | Named | Unnamed | Synced | Said
Stop = Callable[[Call, list[Op]], bool]  # from a call and what this life has done so far


class Recording(NamedTuple):
    """All that happened to one data directory, from its beginning."""

    ops: tuple[Op, ...]
    powersafe_overwrite: bool

    def names(self) -> dict[int, str]:
        """Which file has, or had, which name; the last it was given."""
        return {op.file: op.name for op in self.ops if isinstance(op, Named)}


class Recorder:
    """Watches runs of the session on one data directory."""

    def __init__(self, data: Path) -> None:
        self.ops: list[Op] = []
        self._data = data.resolve()
        self._names: dict[str, int] = {}
        self._by_inode: dict[int, int] = {os.stat(self._data).st_ino: DIRECTORY}
        self._count = 0

    def run(self, arguments: list[str], kill_before: Stop = lambda call, ops: False) -> None:
        """Run the session to its end, or kill it before the first call that `kill_before` names.

        Raises:
            CannotTraceError: this machine does not allow it.
            RuntimeError: the session failed, or made a call of which we do not know what a power
                cut makes of it.
        """
        begin = len(self.ops)
        command = [sys.executable, "-m", SESSION, str(self._data), *arguments]
        process = Process(command, os.environ)
        try:
            for call in process.calls():
                if call.result is None:
                    self._before(process, call)
                    if kill_before(call, self.ops[begin:]):
                        process.kill()
                elif call.result >= 0:
                    self._after(process, call, call.result)
        except BaseException:
            os.kill(process.pid, signal.SIGKILL)
            raise

    # --- Calls -----------------------------------------------------------------------------------

    def _before(self, process: Process, call: Call) -> None:
        """Names are read before the call is made: afterwards they may mean something else."""
        self._paths = [
            process.path(_AT_FDCWD if at is None else call.arguments[at], call.arguments[name])
            for at, name in _PATHS.get(call.name, ())
        ]

    def _after(self, process: Process, call: Call, result: int) -> None:
        match call.name:
            case "open" | "openat":
                self._opened(process, result, call.arguments[1 if call.name == "open" else 2])
            case "unlink" | "unlinkat":
                [path] = self._paths
                if self._recorded(path):
                    del self._names[path.name]
                    self.ops.append(Unnamed(path.name))
            case "rename" | "renameat" | "renameat2":
                self._renamed(*self._paths)
            case "mmap":
                self._mapped(process, call)
            case "write" | "pwrite64" | "ftruncate" | "fsync" | "fdatasync":
                self._changed(process, call, result)
            case _:
                self._refuse(process, call)

    def _recorded(self, path: Path) -> bool:
        """Whether a power cut leaves anything of it: the log's index is made anew."""
        return path.parent == self._data and not path.name.endswith("-shm")

    def _opened(self, process: Process, descriptor: int, flags: int) -> None:
        path, inode, _ = process.open_file(descriptor)
        if not self._recorded(path):
            return
        if path.name not in self._names:
            self._count += 1
            self._names[path.name] = self._by_inode[inode] = self._count
            self.ops.append(Named(path.name, self._count))
        elif flags & os.O_TRUNC:
            self.ops.append(Sized(self._names[path.name], 0))

    def _renamed(self, old: Path, new: Path) -> None:
        if self._recorded(old) or self._recorded(new):
            assert old.parent == new.parent, f"{old} to {new}: beyond this model"
            self._names[new.name] = self._names.pop(old.name)
            self.ops.append(Named(new.name, self._names[new.name], old.name))

    def _changed(self, process: Process, call: Call, result: int) -> None:
        name, arguments = call.name, call.arguments
        path, inode, position = process.open_file(arguments[0])
        if path == self._data.parent / SAID:
            text = process.memory(arguments[1], result)
            self.ops += [Said(json.loads(line)) for line in text.splitlines()]
        if path != self._data and not self._recorded(path):
            return
        file = self._by_inode[inode]
        if name == "ftruncate":
            self.ops.append(Sized(file, arguments[1]))
        elif name in ("fsync", "fdatasync"):
            self.ops.append(Synced(file))
        else:
            offset = arguments[3] if name == "pwrite64" else position - result
            self.ops.append(Wrote(file, offset, process.memory(arguments[1], result)))

    def _mapped(self, process: Process, call: Call) -> None:
        """Memory that is a file changes without a call."""
        _, _, protection, flags, descriptor, _ = call.arguments
        if flags & mmap.MAP_SHARED and protection & mmap.PROT_WRITE and not flags & mmap.MAP_ANON:
            path, _, _ = process.open_file(descriptor)
            assert not self._recorded(path), f"{path} is mapped for writing: not seen from here"

    def _refuse(self, process: Process, call: Call) -> None:
        """What this model knows nothing of must not happen where it counts."""
        place = _DESCRIPTORS.get(call.name)
        paths = self._paths if place is None else [process.open_file(call.arguments[place])[0]]
        known = paths and not any(map(self._recorded, paths))
        assert known, f"{call.name} of {paths}: what does a power cut make of that?"


def record(
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
        recorder = Recorder(data)
        for life in lives:
            recorder.run([life, *options], _dies)
        return Recording(tuple(recorder.ops), NO_POWERSAFE_OVERWRITE not in options), {
            path.name: path.read_bytes()
            for path in data.iterdir()
            if not path.name.endswith("-shm")
        }


def _dies(call: Call, ops: list[Op]) -> bool:
    """Before the sync of the commit in which the session says that it dies."""
    if call.name not in ("fsync", "fdatasync"):
        return False
    said = [op.what for op in ops if isinstance(op, Said)]
    return {"dies": True} in said and "began" in said[-1]
