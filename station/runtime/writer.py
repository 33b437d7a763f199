"""How does the loop go on while a commit waits for the disk?

A thread of its own takes rows and says through a pipe when they are on the disk. trio's own
threads would do the same, at three times the processor time: and that is paid by every answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Self

import trio

from journal.chain import Row

Write = Callable[[Sequence[Row]], None]


class Writer:
    """Calls `write` in its thread, for one task at a time. A context manager."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._given: SimpleQueue[Sequence[Row] | None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._ended, self._ends = os.pipe()
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def give(self, rows: Sequence[Row]) -> None:
        """Begin to write. `written` must follow before more is given."""
        self._given.put(rows)

    async def written(self) -> None:
        """Return once what was given is on the disk. Cancelled, it returns no sooner.

        Raises:
            whatever the writing does.
        """
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(self._ended)
        os.read(self._ended, 1)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def write(self, rows: Sequence[Row]) -> None:
        """Both."""
        self.give(rows)
        await self.written()

    def _run(self) -> None:
        while (rows := self._given.get()) is not None:
            try:
                self._write(rows)
            except BaseException as failure:  # it is raised in the loop
                self._failure = failure
            os.write(self._ends, b"\0")

    def close(self) -> None:
        """End the thread; whatever was given to it is written first."""
        self._given.put(None)
        self._thread.join()
        os.close(self._ended)
        os.close(self._ends)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
