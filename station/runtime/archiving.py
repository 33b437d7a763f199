"""When do settled entries leave the journal's file for the archive?

Seldom, a little at a time, and when nobody charges: a segment is compressed and synced in a thread,
and what waits for a commit meanwhile waits for one of many small ones. `journal.retention` says
how nothing is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import trio

from journal.retention import Limits, Moved, archive, without_older
from journal.state import State
from journal.store import Head, JournalDamaged, JournalFailed, Store

log = logging.getLogger("station.archive")

LOOK_S: Final = 3_600.0  # between two looks whether there is anything to move
STEP_S: Final = 60.0  # between two segments, while there is more
PATIENCE_S: Final = 86_400.0  # with a station that always charges somebody


class Present(NamedTuple):
    """What the station knows right now, and what time it takes it to be."""

    head: Head
    state: State
    at: datetime


class Archiving:
    """Moves what is older than the legal period, for as long as the station runs."""

    def __init__(
        self,
        store: Store,
        journal: Path,
        retention: timedelta,
        *,
        present: Callable[[], Present],
        snapshot: Callable[[Head, State], None],
    ) -> None:
        """`snapshot` is called in a thread before entries leave, so that no start needs them."""
        self._store = store
        self._journal = journal
        self._retention = retention
        self._present = present
        self._snapshot = snapshot

    async def run(self) -> None:
        """Look, move, rest. A disk that refuses is tried again: the entries are still there.

        Raises:
            JournalDamaged: what should move cannot be read, and nobody charges: a good moment to
                make the file anew.
        """
        while True:
            await self._quiet()
            try:
                moved = await trio.to_thread.run_sync(self._step, self._present())
            except JournalFailed as failure:
                if (
                    isinstance(failure, JournalDamaged)
                    and not self._present().state.transactions.open
                ):
                    raise
                log.warning("%s Nothing is archived for now.", failure)
                moved = None
            await trio.sleep(LOOK_S if moved is None else STEP_S)

    async def _quiet(self) -> None:
        """Wait for a moment without a transaction, but not for ever."""
        with trio.move_on_after(PATIENCE_S):
            while self._present().state.transactions.open:
                await trio.sleep(STEP_S)

    def _step(self, present: Present) -> Moved | None:
        """In a thread."""
        self._clear()
        moved = archive(
            self._store,
            self._journal,
            Limits.of(present.state, present.head.seq, present.at - self._retention),
            worth=True,
            before=lambda: self._snapshot(present.head, present.state),
        )
        if moved is not None:
            log.info("archive: %d entries up to %d", moved.entries, moved.segment.last)
        return moved

    def _clear(self) -> None:
        """Damaged journals that were set aside are kept as long as entries stay in the file."""
        try:
            for aside in without_older(self._journal, datetime.now(UTC) - self._retention):
                log.info("%s: removed, it was set aside %s ago", aside.name, self._retention)
        except OSError as error:
            log.warning("a journal that was set aside cannot be removed: %s", error)
