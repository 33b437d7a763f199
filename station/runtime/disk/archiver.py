"""Archiving of old, settled entries: from the journal's file to compressed segments.

Every hour the task looks for entries older than `[journal] retention`. It moves one segment per
minute, in a thread, and only while no transaction is open (or after a day without such a moment).
Entries are removed from the file in many small commits, so the recorder never waits long. A
snapshot is saved before entries are removed, so no start needs them. The order of steps that loses
nothing in a power cut is in `journal.maintenance.retention`.

Damaged journals that were set aside are deleted after the same retention.
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

CHECK_INTERVAL_S: Final = 3_600.0  # while there is nothing to move
SEGMENT_INTERVAL_S: Final = 60.0  # between two segments
IDLE_TIMEOUT_S: Final = 86_400.0  # then archive although a transaction is open


class CurrentState(NamedTuple):
    """Head, state and station time of one moment."""

    head: Head
    state: State
    at: datetime


class Archiver:
    """The task that archives; at most one segment per minute."""

    def __init__(
        self,
        store: Store,
        journal: Path,
        retention: timedelta,
        *,
        read_current: Callable[[], CurrentState],
        write_snapshot: Callable[[Head, State], None],
    ) -> None:
        """Prepare; `run` archives.

        Args:
            store: the journal, open for writing.
            journal: its path.
            retention: how long entries stay in the file.
            read_current: head, state and time now; called in the loop.
            write_snapshot: saves a snapshot; called in a thread before entries are removed.
        """
        self._store = store
        self._journal = journal
        self._retention = retention
        self._read_current = read_current
        self._write_snapshot = write_snapshot

    async def run(self) -> None:
        """Archive until cancelled. After a failure the entries are still there; it tries again.

        Raises:
            JournalDamaged: entries to move cannot be read, and no transaction is open: a good
                moment to end this run and rebuild the file.
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
                log.warning("%s Nothing is archived; next try in an hour.", failure)
                moved = None
            await trio.sleep(CHECK_INTERVAL_S if moved is None else SEGMENT_INTERVAL_S)

    async def _wait_until_idle(self) -> None:
        """Return when no transaction is open, but after a day at the latest."""
        with trio.move_on_after(IDLE_TIMEOUT_S):
            while self._read_current().state.transactions.open:
                await trio.sleep(SEGMENT_INTERVAL_S)

    def _archive_segment(self, current: CurrentState) -> ArchiveResult | None:
        """Move one segment; None: nothing to move. Blocks: runs in a thread."""
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
            log.info(
                "archive: %d entries moved, up to entry %d",
                moved.entry_count,
                moved.segment.last_seq,
            )
        return moved

    def _remove_old_quarantined(self) -> None:
        """Delete damaged journals that were set aside longer ago than the retention."""
        try:
            for directory in remove_older_quarantines(
                self._journal, datetime.now(UTC) - self._retention
            ):
                log.info(
                    "%s: deleted; it was set aside more than %d days ago",
                    directory.name,
                    self._retention.days,
                )
        except OSError as error:
            log.warning("a damaged journal that was set aside cannot be deleted: %s", error)
