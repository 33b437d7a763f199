"""Start-up: open the journal, restore the state, and repair a journal that is damaged.

The usual start reads the snapshot and applies the entries after it; with a snapshot of another
release, projections whose code has changed are replayed (`state_snapshot.py`). The snapshot is
disposable: if it is of another journal, of other code or damaged, it is ignored and all entries are
applied.

What may be wrong, and what follows:

    the file cannot be used, or the   it is set aside whole and rebuilt from all entries that can
    previous run found it damaged     be read; the gaps are reported.
    a rebuild was interrupted         it is done again.
    entries cannot be read            they are skipped and reported.
    archive segments are missing      reported.
    head before the snapshot's entry  entries at the end are missing: reported, with a new namespace
                                      for ids, so that no id is used twice.

Reported means: a log line now, and a JournalDamageFound after StationStarted, so the CSMS receives
it as a security event. Damage that the state already lists is not reported again.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from journal.codec import Registry, build_registry
from journal.events import Decision, Observation
from journal.observations import JournalDamageFound
from journal.state import State, apply_entries
from journal.storage.connection import StoreSettings
from journal.storage.errors import JournalDamaged
from journal.storage.quarantine import is_rebuild_unfinished
from journal.storage.reader import EntryDamage, Head, Reader
from journal.storage.snapshots import SnapshotFile, SnapshotIgnored
from journal.storage.store import Store
from station.runtime.loop.state_snapshot import load_snapshot, open_snapshots

log = logging.getLogger("station.startup")


def event_registry() -> Registry:
    """Every kind of event of this release."""
    return build_registry(Observation, Decision)


class Startup:
    """The journal of a data directory, open for writing, and the state at its head.

    Attributes:
        store: the journal.
        state: at its head.
        damage_found: to be observed after StationStarted.
    """

    def __init__(
        self,
        data: Path,
        settings: StoreSettings,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
        damage_reason: str = "",
    ) -> None:
        """Open or create the journal and restore the state.

        Args:
            data: the data directory; created if missing.
            settings: of the file.
            entropy: random bytes, for the salts of personal values.
            damage_reason: damage that the previous run found; empty: none.

        Raises:
            JournalFailed: another process has the journal open, or the disk fails.
        """
        data.mkdir(parents=True, exist_ok=True)
        self.damage_found: list[JournalDamageFound] = []
        self._is_damage_recorded = False
        self._path = data / "journal.db"
        self._settings, self._entropy = settings, entropy
        self._snapshots = open_snapshots(data)
        if damage_reason or is_rebuild_unfinished(self._path):
            self._rebuild_journal(damage_reason or "its last rebuild was interrupted")
        try:
            self.store, self.state = self._open_store()
        except JournalDamaged as failure:
            if self.damage_found:
                raise
            self._rebuild_journal(str(failure))
            self.store, self.state = self._open_store()

    def _open_store(self) -> tuple[Store, State]:
        store = Store.open(
            self._path,
            event_registry(),
            journal_id_if_new=str(uuid.uuid4()),
            settings=self._settings,
            entropy=self._entropy,
            strict=True,
        )
        try:
            state = restore_state(store.reader, store.head.seq, self._snapshots, self.damage_found)
        except BaseException:
            store.close()
            raise
        return store, state

    def _rebuild_journal(self, reason: str) -> None:
        """Set the file aside and rebuild the journal from all entries that can be read."""
        from journal.maintenance.rebuild import rebuild  # seldom used

        log.error("journal: %s It is rebuilt from all entries that can be read.", reason)
        rebuilt = rebuild(self._path, str(uuid.uuid4()))
        quarantine = rebuilt.quarantine.name
        summary = (
            f"{_shorten_reason(reason)}; rebuilt up to entry {rebuilt.last_seq}, "
            f"kept in {quarantine}"
        )
        self.damage_found.append(
            JournalDamageFound(
                summary, quarantine_directory=quarantine, id_namespace=str(uuid.uuid4())
            )
        )
        for first, last in rebuilt.missing_ranges:
            self.damage_found.append(_report_lost_entries(first, last, "missing"))
        log.error("journal: %s", summary)

    def save_snapshot(self, head: Head, state: State) -> None:
        """Save the state at `head`. If that fails, only the next start takes longer.

        A state without the damage that was found is not saved: a start from it would not find the
        damage again, and it would never be reported.
        """
        if not self._is_damage_in(state):
            return
        try:
            self._snapshots.save(head.seq, head.digest, state)
        except OSError as error:
            log.warning(
                "snapshot at entry %d not saved: %s. The next start takes longer.",
                head.seq,
                error.strerror,
            )

    def _is_damage_in(self, state: State) -> bool:
        if self.damage_found and not self._is_damage_recorded:
            self._is_damage_recorded = self.damage_found[-1] in state.health.journal_damages
        return self._is_damage_recorded or not self.damage_found

    def close(self) -> None:
        self.store.close()


def restore_state(
    reader: Reader,
    head_seq: int,
    snapshots: SnapshotFile[State],
    damage_found: list[JournalDamageFound],
) -> State:
    """The state at the head of a journal.

    Args:
        reader: of the journal.
        head_seq: number of its last entry; 0: none.
        snapshots: of its data directory.
        damage_found: damage that the state does not list is added, and an error in the log.

    Raises:
        JournalFailed: the journal cannot be read.
    """
    snapshot = load_snapshot(reader, snapshots)
    if isinstance(snapshot, SnapshotIgnored):
        if head_seq:
            log.info("snapshot not used: %s; replaying %d entries", snapshot.reason, head_seq)
        if snapshot.seen_seq > head_seq and not damage_found:
            damage_found.append(_report_missing_tail(head_seq, snapshot.seen_seq))
        first, state = 1, State(reader.journal_id)
    else:
        first, state = snapshot.seq + 1, snapshot.state
    last_missing, _ = reader.position_before_first()
    if first <= last_missing and not state.health.has_damage_at(first):
        reason = "archived, but the archive's segments are missing"
        damage_found.append(_report_lost_entries(first, last_missing, reason))
    unreadable: list[EntryDamage] = []
    state = apply_entries(state, reader.iter_entries(first, on_damage=unreadable.append))
    for first, last, reason in _merge_adjacent(unreadable):
        if not state.health.has_damage_at(first):
            damage_found.append(_report_lost_entries(first, last, reason))
    return state


def _report_missing_tail(head_seq: int, snapshot_seq: int) -> JournalDamageFound:
    reason = f"entries after {head_seq} are missing: a snapshot was made at {snapshot_seq}"
    log.error("journal: %s. Run `station verify`.", reason)
    return JournalDamageFound(reason, head_seq + 1, snapshot_seq, id_namespace=str(uuid.uuid4()))


def _report_lost_entries(first_seq: int, last_seq: int, reason: str) -> JournalDamageFound:
    entries = (
        f"entry {first_seq}" if first_seq == last_seq else f"entries {first_seq} to {last_seq}"
    )
    log.error("journal: %s: %s. Run `station verify`.", entries, reason)
    return JournalDamageFound(f"{entries}: {reason}", first_seq, last_seq)


def _merge_adjacent(damaged_entries: Iterable[EntryDamage]) -> Iterator[tuple[int, int, str]]:
    """Adjacent damaged entries as one range: first, last, and why the first cannot be read."""
    damaged_range: tuple[int, int, str] | None = None
    for damage in damaged_entries:
        if damaged_range is not None and damage.seq == damaged_range[1] + 1:
            damaged_range = (damaged_range[0], damage.seq, damaged_range[2])
            continue
        if damaged_range is not None:
            yield damaged_range
        damaged_range = (damage.seq, damage.seq, damage.reason)
    if damaged_range is not None:
        yield damaged_range


def _shorten_reason(reason: str) -> str:
    """The reason for the CSMS: without the path and without the advice to a person."""
    return reason.rpartition("journal.db: ")[2].rstrip(".").partition(". ")[0]
