"""When do settled entries leave the journal's file for the archive?

Seldom, a little at a time, and when nobody charges: a segment is compressed and synced in a thread,
and what waits for a commit meanwhile waits for one of many small ones. `journal.maintenance.retention` says
how nothing is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import trio

from journal.maintenance.retention import (
    ArchiveResult,
    RetentionLimits,
    archive_oldest_entries,
    remove_older_quarantines,
)
from journal.state import State
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.reader import Head
from journal.storage.store import Store

log = logging.getLogger("station.archive")

CHECK_INTERVAL_S: Final = 3_600.0  # between two looks whether there is anything to move
SEGMENT_INTERVAL_S: Final = 60.0  # between two segments, while there is more
IDLE_TIMEOUT_S: Final = 86_400.0  # with a station that always charges somebody


class CurrentState(NamedTuple):
    """What the station knows right now, and what time it takes it to be."""

    head: Head
    state: State
    at: datetime


class Archiver:
    """Moves what is older than the legal period, for as long as the station runs."""

    def __init__(
        self,
        store: Store,
        journal: Path,
        retention: timedelta,
        *,
        read_current: Callable[[], CurrentState],
        write_snapshot: Callable[[Head, State], None],
    ) -> None:
        """`snapshot` is called in a thread before entries leave, so that no start needs them."""
        self._store = store
        self._journal = journal
        self._retention = retention
        self._read_current = read_current
        self._write_snapshot = write_snapshot

    async def run(self) -> None:
        """Look, move, rest. A disk that refuses is tried again: the entries are still there.

        Raises:
            JournalDamaged: what should move cannot be read, and nobody charges: a good moment to
                make the file anew.
        """
        while True:
            await self._wait_until_idle()
            try:
                moved = await trio.to_thread.run_sync(self._archive_segment, self._read_current())
            except JournalFailed as failure:
                if (
                    isinstance(failure, JournalDamaged)
                    and not self._read_current().state.transactions.open
                ):
                    raise
                log.warning("%s Nothing is archived for now.", failure)
                moved = None
            await trio.sleep(CHECK_INTERVAL_S if moved is None else SEGMENT_INTERVAL_S)

    async def _wait_until_idle(self) -> None:
        """Wait for a moment without a transaction, but not for ever."""
        with trio.move_on_after(IDLE_TIMEOUT_S):
            while self._read_current().state.transactions.open:
                await trio.sleep(SEGMENT_INTERVAL_S)

    def _archive_segment(self, current: CurrentState) -> ArchiveResult | None:
        """In a thread."""
        self._remove_old_quarantined()
        moved = archive_oldest_entries(
            self._store,
            self._journal,
            RetentionLimits.from_state(
                current.state, current.head.seq, current.at - self._retention
            ),
            only_if_worthwhile=True,
            before_removal=lambda: self._write_snapshot(current.head, current.state),
        )
        if moved is not None:
            log.info("archive: %d entries up to %d", moved.entry_count, moved.segment.last_seq)
        return moved

    def _remove_old_quarantined(self) -> None:
        """Damaged journals that were set aside are kept as long as entries stay in the file."""
        try:
            for aside in remove_older_quarantines(
                self._journal, datetime.now(UTC) - self._retention
            ):
                log.info("%s: removed, it was set aside %s ago", aside.name, self._retention)
        except OSError as error:
            log.warning("a journal that was set aside cannot be removed: %s", error)
