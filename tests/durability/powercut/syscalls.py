"""System calls of a child process, traced with ptrace(2) through ctypes.

Every call of the real program with the real libraries is traced, in order, with its arguments and
its result; nothing of the program is replaced. Needs Linux 5.3 or later
(PTRACE_GET_SYSCALL_INFO) on x86-64 or arm64.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

TRACEME, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
TRACE_SYSGOOD, DIE_WITH_TRACER = 0x01, 0x100000
ENTRY, EXIT = 1, 2  # of ptrace_syscall_info.op
_INFO_BYTES: Final = 88
_AT_FDCWD: Final = -100

_NAMES: Final[Mapping[str, Mapping[int, str]]] = {
    "x86_64": {
        1: "write",
        2: "open",
        9: "mmap",
        18: "pwrite64",
        20: "writev",
        40: "sendfile",
        74: "fsync",
        75: "fdatasync",
        76: "truncate",
        77: "ftruncate",
        82: "rename",
        83: "mkdir",
        84: "rmdir",
        85: "creat",
        86: "link",
        87: "unlink",
        88: "symlink",
        257: "openat",
        258: "mkdirat",
        263: "unlinkat",
        264: "renameat",
        265: "linkat",
        266: "symlinkat",
        275: "splice",
        285: "fallocate",
        296: "pwritev",
        316: "renameat2",
        326: "copy_file_range",
        328: "pwritev2",
        425: "io_uring_setup",
        437: "openat2",
    },
    "aarch64": {
        34: "mkdirat",
        35: "unlinkat",
        36: "symlinkat",
        37: "linkat",
        38: "renameat",
        45: "truncate",
        46: "ftruncate",
        47: "fallocate",
        56: "openat",
        64: "write",
        66: "writev",
        68: "pwrite64",
        70: "pwritev",
        71: "sendfile",
        76: "splice",
        82: "fsync",
        83: "fdatasync",
        222: "mmap",
        276: "renameat2",
        285: "copy_file_range",
        287: "pwritev2",
        425: "io_uring_setup",
        437: "openat2",
    },
}


class CannotTraceError(Exception):
    """This machine does not allow one process to trace another; the message has the reason."""


class SystemCall(NamedTuple):
    """A call that may change a file: once before it is made (`result` None), once after."""

    name: str
    arguments: tuple[int, ...]
    result: int | None


class TracedProcess:
    """A child process that stops at every system call.

    Only the thread that started it may use it.

    Raises:
        CannotTraceError: the kernel refuses, or there is no table of its calls.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        names = _NAMES.get(platform.machine())
        if sys.platform != "linux" or names is None:
            raise CannotTraceError(f"{sys.platform} on {platform.machine()}: no table of its calls")
        self._names = names
        self._info = ctypes.create_string_buffer(_INFO_BYTES)
        self.killed = False
        self.pid = os.posix_spawn(arguments[0], list(arguments), dict(environment))
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status):
            raise CannotTraceError(f"the child ended with {os.waitstatus_to_exitcode(status)}")
        _call_ptrace(SETOPTIONS, self.pid, 0, TRACE_SYSGOOD | DIE_WITH_TRACER)

    def traced_calls(self) -> Iterator[SystemCall]:
        """Every call of interest, twice: before it is made and after, until the child ends.

        Raises:
            RuntimeError: the child ended with an error.
        """
        arguments: tuple[int, ...] = ()
        pending = 0
        while True:
            if self.killed:
                os.kill(self.pid, signal.SIGKILL)
            else:
                _call_ptrace(SYSCALL, self.pid, 0, pending)
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                self._check_exit(status)
                return
            pending = os.WSTOPSIG(status)
            if pending != signal.SIGTRAP | 0x80:
                continue
            pending = 0
            _call_ptrace(GET_SYSCALL_INFO, self.pid, _INFO_BYTES, ctypes.addressof(self._info))
            op = self._info.raw[0]
            if op == ENTRY:
                number, *rest = struct.unpack_from("<7Q", self._info.raw, 24)
                name, arguments = self._names.get(number), tuple(rest)
                result = None
            elif op == EXIT:
                (result,) = struct.unpack_from("<q", self._info.raw, 24)
            if name is not None:
                yield SystemCall(name, arguments, result)

    def _check_exit(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        if code not in ((-signal.SIGKILL,) if self.killed else (0,)):
            raise RuntimeError(f"the recorded program ended with {code}")

    def kill_at_next_call(self) -> None:
        """Kill the child at the call it has stopped before; that call is not made."""
        self.killed = True

    def read_memory(self, address: int, size: int) -> bytes:
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), size, address)

    def read_string(self, address: int) -> str:
        """A path, up to its zero byte."""
        data = b""
        while b"\0" not in data:  # page by page: the next page may not be readable
            size = 4096 - (address + len(data)) % 4096
            data += self.read_memory(address + len(data), size)
        return os.fsdecode(data[: data.index(b"\0")])

    def read_path(self, directory: int, address: int) -> Path:
        """A path argument of the child, resolved against a directory descriptor."""
        at = ctypes.c_int(directory & 0xFFFFFFFF).value
        base = "cwd" if at == _AT_FDCWD else f"fd/{at}"
        return Path(os.readlink(f"/proc/{self.pid}/{base}")) / self.read_string(address)

    def open_file_info(self, descriptor: int) -> tuple[Path, int, int]:
        """Path, inode number and position of one of its descriptors."""
        name = f"/proc/{self.pid}/fd/{descriptor}"
        info = Path(f"/proc/{self.pid}/fdinfo/{descriptor}").read_text(encoding="ascii")
        return Path(os.readlink(name)), os.stat(name).st_ino, int(info.split()[1])


def trace_me() -> None:
    """Called by the child: allow the parent to trace it, and wait until the parent is ready.

    Raises:
        CannotTraceError: the kernel refuses.
    """
    _call_ptrace(TRACEME, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def _call_ptrace(request: int, pid: int, address: int, data: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    library.ptrace.restype = ctypes.c_long
    if library.ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        raise CannotTraceError(f"ptrace {request:#x}: {os.strerror(number)}")
