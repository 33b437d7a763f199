"""Serial ports: open, read and write a tty in trio.

pyserial opens and configures the tty, trio waits on its file descriptor. A pty opens in the same
way as `/dev/ttyUSB0`, so emulated devices are reached by the code that runs in the field.
"""

from __future__ import annotations

import os
import termios
from types import TracebackType
from typing import Protocol, Self

import serial
import trio

from drivers.ports import PortLost
from drivers.wire.port_failure import explain_open_failure


class Port(Protocol):
    """An open port: bytes in and out, in order, in pieces of any size.

    One task at a time may wait in `receive`. Several tasks may call `send`, which never mixes
    their bytes. All raise PortLost when the other end is lost.
    """

    async def receive(self, max_bytes: int = 4096) -> bytes:
        """Wait for at least one byte."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all of `data`. If cancelled, a part may have been sent."""
        ...

    def receive_waiting(self, max_bytes: int = 4096) -> bytes:
        """Return what has arrived, without waiting; b"" for nothing."""
        ...

    def drain_input(self) -> None:
        """Discard what has arrived and was not received."""
        ...

    def close(self) -> None:
        """Close the port; may be called again. Waiting tasks get trio.ClosedResourceError."""
        ...


class OpenPort(Protocol):
    """How a driver opens its port; tests pass a port in memory."""

    def __call__(self, path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
        """Open for this process only. Raises PortLost if it does not exist or is in use."""
        ...


def _open_tty(path: str, baud: int, parity: str, stop_bits: int) -> serial.Serial:
    return serial.Serial(
        path,
        baud,
        parity=parity,
        stopbits=stop_bits,
        exclusive=True,
        # VMIN 1: an empty read then raises EAGAIN, and b"" only means the end.
        inter_byte_timeout=0,
    )


def _find_errno(error: BaseException) -> int | None:
    """The errno of a failure; pyserial keeps it in the exception, or in the one it came from."""
    if isinstance(error, termios.error):
        return int(error.args[0])
    number: int | None = getattr(error, "errno", None)
    if number is None and error.__context__ is not None:
        return _find_errno(error.__context__)
    return number


class SerialPort:
    """An open tty: 8 data bits, no flow control, for this process only."""

    def __init__(self, tty: serial.Serial) -> None:
        self._tty = tty
        self._fd: int = tty.fileno()
        self._path: str = tty.port
        self._send_lock = trio.Lock()

    @classmethod
    def open(cls, path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> SerialPort:
        """Open and configure a tty.

        Args:
            path: a device or a symlink to one.
            baud: bits per second.
            parity: "N", "E" or "O".
            stop_bits: 1 or 2.

        Raises:
            PortLost: no such tty, no permission, another process has it, or the tty does not
                support a setting.
        """
        try:
            try:
                tty = _open_tty(path, baud, parity, stop_bits)
            except termios.error:
                # A pty has no parity, and refuses it (EINVAL) when nothing else changes either.
                tty = _open_tty(path, baud, "N", stop_bits)
        except (serial.SerialException, termios.error) as error:
            raise PortLost(explain_open_failure(path, _find_errno(error), str(error))) from error
        except (ValueError, OverflowError) as error:
            raise PortLost(f"{path}: does not support {baud} baud: {error}") from error
        os.set_blocking(tty.fileno(), False)
        return cls(tty)

    async def receive(self, max_bytes: int = 4096) -> bytes:
        """Wait for bytes. Raises PortLost on EOF or EIO."""
        while True:
            await trio.lowlevel.wait_readable(self._require_fd())
            data = self.receive_waiting(max_bytes)
            if data:
                return data

    async def send(self, data: bytes) -> None:
        """Write all bytes, waiting while the kernel's buffer is full. Raises PortLost.

        Usually all fits: then the lock is not taken, and no other task runs in between.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(data)
        if not self._send_lock.locked():
            rest = rest[self._write(rest) :]
        if not rest:
            return
        async with self._send_lock:
            while rest := rest[self._write(rest) :]:
                await trio.lowlevel.wait_writable(self._require_fd())

    def _write(self, data: memoryview) -> int:
        """Write without waiting; the number of bytes written. Raises PortLost."""
        try:
            return os.write(self._require_fd(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PortLost(f"{self._path}: write: {error.strerror}") from error

    def drain_input(self) -> None:
        """Discard what the kernel has received. Raises PortLost on EOF or EIO."""
        while self.receive_waiting():
            pass

    def close(self) -> None:
        """Close the tty and wake a task that waits on it. Inside trio only."""
        if self._tty.is_open:
            trio.lowlevel.notify_closing(self._fd)
            self._fd = -1  # the kernel uses the number for the next open file
            self._tty.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_fd(self) -> int:
        if self._fd < 0:
            raise trio.ClosedResourceError(f"{self._path} is closed")
        return self._fd

    def receive_waiting(self, max_bytes: int = 4096) -> bytes:
        """Read without waiting; b"" when nothing has arrived. Raises PortLost on EOF or EIO."""
        try:
            data = os.read(self._require_fd(), max_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PortLost(f"{self._path}: read: {error.strerror}") from error
        if not data:
            raise PortLost(f"{self._path}: the other end closed")
        return data
