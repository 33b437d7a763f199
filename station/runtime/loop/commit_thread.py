"""The thread that writes commits, so that the loop continues while the disk is busy.

It takes rows from a queue and writes one byte to a pipe when they are on disk. trio's worker
threads would do the same at three times the processor time, a cost to every reply to the CSMS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Self

import trio

from journal.format.hash_chain import EntryRow

WriteRows = Callable[[Sequence[EntryRow]], None]


class CommitThread:
    """Calls `write_rows` in a thread, for one task at a time. A context manager."""

    def __init__(self, write_rows: WriteRows) -> None:
        self._write_rows = write_rows
        self._queue: SimpleQueue[Sequence[EntryRow] | None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._done_read_fd, self._done_write_fd = os.pipe()
        self._thread = Thread(target=self._write_until_closed, name="journal", daemon=True)
        self._thread.start()

    def start_write(self, rows: Sequence[EntryRow]) -> None:
        """Start a write. `wait_written` must return before the next one is started."""
        self._queue.put(rows)

    async def wait_written(self) -> None:
        """Return once the rows are on disk; a cancellation is delivered only after that.

        Raises:
            what `write_rows` raised.
        """
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(self._done_read_fd)
        os.read(self._done_read_fd, 1)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def write_and_wait(self, rows: Sequence[EntryRow]) -> None:
        """Write rows and return once they are on disk."""
        self.start_write(rows)
        await self.wait_written()

    def _write_until_closed(self) -> None:
        while (rows := self._queue.get()) is not None:
            try:
                self._write_rows(rows)
            except BaseException as failure:  # raised again by `wait_written`
                self._failure = failure
            os.write(self._done_write_fd, b"\0")

    def close(self) -> None:
        """End the thread, after all rows given to it are written."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._done_read_fd)
        os.close(self._done_write_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
