"""Work of the analyst's verbs for the page, each in a process of its own.

`why`, `report` and `verify` read a whole journal. In a process of their own, at the lowest
priority, their memory is limited and given back, and a hostile browser can start only
`RUNNING_MAX` of them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import trio

RUNNING_MAX: Final = 2
TIMEOUT_S: Final = 300.0
OUTPUT_BYTES_MAX: Final = 64 << 20  # a report of ten years has a few MB
MEMORY_MAX_KIB: Final = 1 << 20  # address space of one
# Limits the memory of the shell, then replaces it by the program.
LIMITED: Final = ("/bin/sh", "-c", 'ulimit -v "$0" && exec "$@"', str(MEMORY_MAX_KIB))
TARGET: Final = re.compile(r"[0-9]{1,19}|[0-9a-f-]{8,36}", re.ASCII)  # entry, or transactionId
TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{5,12}(Z|[+-][0-9:]{5})?)?", re.ASCII)


class Busy(Exception):
    """`RUNNING_MAX` of these are running."""


class Result(NamedTuple):
    """What a verb printed.

    Attributes:
        code: its exit code; None: it took longer than `TIMEOUT_S`.
    """

    code: int | None
    stdout: bytes
    stderr: str


class Tools:
    """Runs verbs on a journal."""

    def __init__(self, data_directory: Path) -> None:
        self._journal = data_directory / "journal.db"
        self._running = 0

    async def explain(self, target: str) -> Result:
        """`station why`, for an entry number or a transactionId."""
        return await self._run("why", str(self._journal), target)

    async def report(self, since: str, until: str) -> Result:
        """`station report` of a range; an empty end is open."""
        span = [*(("--from", since) if since else ()), *(("--to", until) if until else ())]
        return await self._run("report", str(self._journal), *span)

    async def verify(self) -> Result:
        """`station verify`."""
        return await self._run("verify", str(self._journal))

    async def _run(self, *arguments: str) -> Result:
        """Run a verb; it is killed when this is cancelled."""
        if self._running >= RUNNING_MAX:
            raise Busy
        self._running += 1
        nice = shutil.which("nice")
        prefix = (*LIMITED, *((nice, "-n", "19") if nice else ()))
        try:
            with trio.move_on_after(TIMEOUT_S):
                done = await trio.run_process(
                    [*prefix, sys.executable, "-m", "station", *arguments],
                    stdin=b"",
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
                assert isinstance(done, subprocess.CompletedProcess)
                stderr = done.stderr.decode("utf-8", "replace")
                if "MemoryError" in stderr:
                    stderr = f"{arguments[0]} of this journal needs more memory than a page may use"
                return Result(done.returncode, done.stdout[:OUTPUT_BYTES_MAX], stderr)
            return Result(None, b"", f"no result within {TIMEOUT_S:.0f} s")
        finally:
            self._running -= 1
