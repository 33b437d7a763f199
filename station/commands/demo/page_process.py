"""The page that the demo serves beside its station, as a separate process."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import trio

from station.page import TOKEN_FILE

ADDRESS: Final = "127.0.0.1"
PORT: Final = 8180  # the default of `station page`; any free one if it is in use
READY_TIMEOUT_S: Final = 30.0  # imports on a loaded machine included
STOP_TIMEOUT_S: Final = 5.0
LINE_BYTES_MAX: Final = 4096


class DemoPage:
    """`station page` for a data directory; a page that fails does not end the demo."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "page.log"
        self._process: trio.Process | None = None
        self.address = ""  # with the token; empty: no page is served
        self.failure = ""  # why

    async def start(self) -> None:
        """Start it, and wait until it prints its address."""
        if find_spec("starlette") is None:
            self.failure = "the extra ocpp-station[page] is not installed"
            return
        for port in (PORT, 0):
            line = await self._start_on(port)
            if line.startswith("http"):
                token = (self._directory / TOKEN_FILE).read_text(encoding="ascii").strip()
                self.address = f"{line.split()[0]}#token={token}"
                return
        self.failure = f"the page does not start. See {self._log}"

    async def _start_on(self, port: int) -> str:
        """Start it on a port; returns the first line that it prints."""
        with self._log.open("ab") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "station", "page", "--data", str(self._directory),
                 "--listen", f"{ADDRESS}:{port}", "--until-stdin-closes"],
                stdin=subprocess.PIPE,  # closes when the demo ends, even when it is killed
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._process = process
        assert process.stdout is not None
        line = b""
        with trio.move_on_after(READY_TIMEOUT_S):
            while b"\n" not in line and len(line) < LINE_BYTES_MAX:
                chunk = await process.stdout.receive_some()
                if not chunk:
                    break
                line += chunk
        if not line:
            await self.stop()
        return line.decode("utf-8", "replace")

    async def stop(self) -> None:
        """Send SIGTERM, then SIGKILL after a timeout."""
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.terminate()
            with trio.move_on_after(STOP_TIMEOUT_S):
                await process.wait()
            if process.poll() is None:
                process.kill()
                await process.wait()
