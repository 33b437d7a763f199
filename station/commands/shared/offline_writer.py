"""Write into a journal that no running station has open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click

from journal.events import Entry, Observation
from journal.state import State, apply_entries, apply_entry
from journal.storage.reader import Reader
from journal.storage.store import Store
from station.commands.shared.journal_argument import open_journal
from station.config.data_directory import restrict_new_files
from station.runtime.clock import HostClock
from station.runtime.loop.startup import event_registry


class OfflineWriter:
    """The only writer of the journal at `path`."""

    def __init__(self, path: Path, store: Store) -> None:
        self.store = store
        self._path = path
        self._clock = HostClock()

    @property
    def reader(self) -> Reader:
        return self.store.reader

    def replay_state(self) -> State:
        """The state that the next start of the station has: from all readable entries."""
        entries = self.reader.iter_entries(on_damage=lambda _: None)
        return apply_entries(State(self.store.journal_id), entries)

    def append_observation(self, state: State, observation: Observation) -> State:
        """Append an operator's request.

        Returns:
            The state after it.

        Raises:
            click.UsageError: a transaction is open; a new entry would hide how long it was
                interrupted.
            JournalFailed: the disk refuses the write.
        """
        for transaction in state.transactions.open:
            raise click.UsageError(
                f"{self._path}: transaction {transaction.transaction_id} is open. Whether it "
                "resumes depends on the time of the last entry. Start the station first."
            )
        at = self.station_time(state)
        entry = Entry(self.store.head.seq + 1, at, self._clock.uptime_ms(), observation)
        self.store.append([entry])
        return apply_entry(state, entry)

    def station_time(self, state: State) -> datetime:
        """The station's wall clock, by its last known offset; whole milliseconds."""
        host = self._clock.utc()
        try:
            at = host + timedelta(milliseconds=state.clock.applied_offset_ms)
        except OverflowError:
            at = host  # as the station does when the offset leads out of the calendar
        return at.replace(microsecond=at.microsecond // 1000 * 1000)


@contextmanager
def open_offline_writer(path: Path) -> Iterator[OfflineWriter]:
    """Open the journal as its only writer. It must exist and be undamaged at its end.

    Raises:
        JournalInUse: another process writes it.
        JournalFailed: it is damaged, or the disk fails.
    """
    with open_journal(path) as reader:
        journal_id = reader.journal_id
    restrict_new_files()
    with Store.open(path, event_registry(), journal_id_if_new=journal_id, strict=True) as store:
        yield OfflineWriter(path, store)
