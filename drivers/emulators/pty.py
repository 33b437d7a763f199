"""Pseudo terminal of an emulated device, in raw mode.

A symlink to its slave is put where the station expects the device. The emulator keeps the slave
open too: otherwise it would read EIO each time the station closes it.
"""

from __future__ import annotations

import os
import tty
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import trio


class Pty:
    """The device end of a pseudo terminal; a `drivers.wire.serial_port.Port`.

    Attributes:
        link: path where the station opens the device; None: no link is made.
        path: the path to open: the link if there is one, else the slave's own name.
    """

    def __init__(self, link: Path | None = None) -> None:
        """Make the pty and its link.

        Raises:
            FileExistsError: `link` exists and is not a symlink.
        """
        self.link = link
        self._master = self._slave = -1
        self._slave_path = ""
        self._plugged = trio.Event()
        self._send_lock = trio.Lock()
        self.plug_in()

    @property
    def path(self) -> str:
        return str(self.link) if self.link is not None else self._slave_path

    @property
    def is_plugged_in(self) -> bool:
        return self._master >= 0

    def plug_in(self) -> None:
        """Make a new pty and point the link to it. A stale link is replaced."""
        if self.is_plugged_in:
            return
        if self.link is not None and self.link.exists() and not self.link.is_symlink():
            raise FileExistsError(f"{self.link} is not a symlink; not replaced by a pty")
        self._master, self._slave = os.openpty()
        for fd in (self._master, self._slave):
            tty.setraw(fd)
        os.set_blocking(self._master, False)
        self._slave_path = os.ttyname(self._slave)
        try:
            if self.link is not None:
                _replace_link(self.link, self._slave_path)
        except OSError:
            self.unplug()
            raise
        self._plugged.set()

    def unplug(self) -> None:
        """Act as a pulled USB adapter: the station reads EOF or EIO, and the link is removed."""
        if not self.is_plugged_in:
            return
        if self.link is not None and self._owns_link():
            self.link.unlink()
        self._plugged = trio.Event()
        master, slave, self._master, self._slave = self._master, self._slave, -1, -1
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(master)
        os.close(master)
        os.close(slave)

    close = unplug

    async def receive(self, max_bytes: int = 4096) -> bytes:
        """Wait for bytes from the station; continues to wait while unplugged."""
        while True:
            await self._plugged.wait()
            master = self._master
            if master < 0:
                continue  # unplugged before this task continued
            with suppress(trio.ClosedResourceError, BlockingIOError):
                await trio.lowlevel.wait_readable(master)
                if master == self._master:  # not unplugged since
                    return os.read(master, max_bytes)

    async def send(self, data: bytes) -> None:
        """Send to the station. Bytes are lost while unplugged, as on a real line."""
        async with self._send_lock:
            unsent, master = memoryview(data), self._master
            while unsent and self.is_plugged_in and master == self._master:
                with suppress(trio.ClosedResourceError, BlockingIOError):
                    await trio.lowlevel.wait_writable(master)
                    if master == self._master:  # not unplugged since
                        unsent = unsent[os.write(master, unsent) :]

    def receive_waiting(self, max_bytes: int = 4096) -> bytes:
        """Bytes from the station that were not received yet; b"" for none, and while unplugged."""
        with suppress(BlockingIOError):
            if self.is_plugged_in:
                return os.read(self._master, max_bytes)
        return b""

    def drain_input(self) -> None:
        """Discard bytes from the station that were not received yet."""
        while self.receive_waiting():
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _owns_link(self) -> bool:
        assert self.link is not None
        return self.link.is_symlink() and os.readlink(self.link) == self._slave_path


def _replace_link(link: Path, target: str) -> None:
    """Point `link` to `target` in one step, so that the device's path always exists."""
    new_link = link.with_name(f".{link.name}.{os.getpid()}")
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(target)
    new_link.replace(link)
