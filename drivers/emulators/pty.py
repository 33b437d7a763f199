"""How does an emulated device get a tty of its own?

A pseudo terminal in raw mode, with a symlink to its slave where the station expects the device.
The emulator keeps the slave open too: otherwise it reads EIO whenever the station closes it.
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
        link: where the station finds the device; None: only at `path`.
        path: what to open: the link if there is one, else the slave's own name.
    """

    def __init__(self, link: Path | None = None) -> None:
        """Make the pty and its link.

        Raises:
            FileExistsError: something other than a symlink lies at `link`.
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
        """Be there (again): a new pty, and the link points to it. A stale link is replaced."""
        if self.is_plugged_in:
            return
        if self.link is not None and self.link.exists() and not self.link.is_symlink():
            raise FileExistsError(f"{self.link} is not a symlink; not replaced by a pty")
        self._master, self._slave = os.openpty()
        for fd in (self._master, self._slave):
            tty.setraw(fd)
        os.set_blocking(self._master, False)
        self._slave_path = os.ttyname(self._slave)
        if self.link is not None:
            _replace_link(self.link, self._slave_path)
        self._plugged.set()

    def unplug(self) -> None:
        """Vanish as a pulled USB adapter does: the station reads EOF or EIO, the link is gone."""
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
        """Wait for bytes of the station, through unplugging and plugging."""
        while True:
            await self._plugged.wait()
            with suppress(trio.ClosedResourceError, BlockingIOError):
                await trio.lowlevel.wait_readable(self._master)
                return os.read(self._master, max_bytes)

    async def send(self, data: bytes) -> None:
        """Send to the station. Lost while unplugged, as on a real line."""
        async with self._send_lock:
            rest = memoryview(data)
            while rest and self.is_plugged_in:
                with suppress(trio.ClosedResourceError, BlockingIOError):
                    await trio.lowlevel.wait_writable(self._master)
                    rest = rest[os.write(self._master, rest) :]

    def drain_input(self) -> None:
        """Forget what the station sent and nobody received."""
        with suppress(BlockingIOError):
            while self.is_plugged_in and os.read(self._master, 4096):
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
    """Make `link` point to `target` in one step, so that no moment is without a device."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
