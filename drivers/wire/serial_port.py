"""How does a byte get to a serial device and back?

pyserial opens and configures the tty, trio waits on its file descriptor. A pty opens exactly as
`/dev/ttyUSB0` does, so the emulated devices are reached by the code that runs in the field.
"""

from __future__ import annotations

import os
import termios
from types import TracebackType
from typing import Protocol, Self

import serial
import trio

from drivers.ports import PortLost


class Port(Protocol):
    """Bytes in, bytes out, in order; pieces of any size.

    `receive` has one waiter at a time; `send` may be called by several tasks and never mixes
    their bytes. Both raise PortLost when the other end is lost.
    """

    async def receive(self, max_bytes: int = 4096) -> bytes:
        """Wait for at least one byte."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand over all of `data`. If cancelled, a part may have left."""
        ...

    def drain_input(self) -> None:
        """Forget what has arrived and was not received."""
        ...

    def close(self) -> None:
        """Give the port back; may be called again. Whoever waits gets trio.ClosedResourceError."""
        ...


class OpenPort(Protocol):
    """How a driver opens its port; tests give it one in memory."""

    def __call__(self, path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
        """Open for this process alone. Raises PortLost if there is none or it is in use."""
        ...


def _open_tty(path: str, baud: int, parity: str, stop_bits: int) -> serial.Serial:
    return serial.Serial(
        path,
        baud,
        parity=parity,
        stopbits=stop_bits,
        exclusive=True,
        # VMIN 1: an empty read then says EAGAIN, and b"" means one thing, the end.
        inter_byte_timeout=0,
    )


class SerialPort:
    """An open tty: 8 data bits, no flow control, no other process on it."""

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
            PortLost: no such tty, no permission, or another process has it.
            ValueError: a setting that no tty has.
        """
        try:
            try:
                tty = _open_tty(path, baud, parity, stop_bits)
            except termios.error:
                # A pty carries no parity, and says so (EINVAL) when nothing else changes either.
                tty = _open_tty(path, baud, "N", stop_bits)
        except (serial.SerialException, termios.error) as error:
            raise PortLost(f"{path}: cannot open: {error}") from error
        os.set_blocking(tty.fileno(), False)
        return cls(tty)

    async def receive(self, max_bytes: int = 4096) -> bytes:
        """Wait for bytes. Raises PortLost on EOF or EIO."""
        while True:
            await trio.lowlevel.wait_readable(self._require_fd())
            arrived = self._read_available(max_bytes)
            if arrived:
                return arrived

    async def send(self, data: bytes) -> None:
        """Hand all bytes to the kernel, waiting while its buffer is full. Raises PortLost."""
        async with self._send_lock:
            rest = memoryview(data)
            while rest:
                await trio.lowlevel.wait_writable(self._require_fd())
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise PortLost(f"{self._path}: write: {error.strerror}") from error

    def drain_input(self) -> None:
        """Forget what the kernel holds. Raises PortLost on EOF or EIO."""
        while self._read_available(4096):
            pass

    def close(self) -> None:
        """Close the tty and wake a task that waits on it. Inside trio only."""
        if self._tty.is_open:
            trio.lowlevel.notify_closing(self._fd)
            self._fd = -1  # the kernel gives the number to the next open file
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

    def _read_available(self, max_bytes: int) -> bytes:
        """Read without waiting; b"" when nothing is there."""
        try:
            arrived = os.read(self._require_fd(), max_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PortLost(f"{self._path}: read: {error.strerror}") from error
        if not arrived:
            raise PortLost(f"{self._path}: the other end closed")
        return arrived
