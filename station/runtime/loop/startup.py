"""How does a run begin with everything the runs before it knew?"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from journal.codec import Registry, build_registry
from journal.events import Decision, Observation
from journal.maintenance.rebuild import is_rebuild_unfinished, rebuild
from journal.observations import JournalDamageFound
from journal.state import State, apply_entries, decode_state, encode_state
from journal.storage.connection import StoreSettings
from journal.storage.errors import JournalDamaged
from journal.storage.reader import EntryDamage, Head
from journal.storage.snapshots import SnapshotFile, SnapshotIgnored, code_fingerprint
from journal.storage.store import Store

log = logging.getLogger("station.memory")

# Modules that decide which memory follows from entries: all that `journal.state` and the codec
# import. A release that leaves them as they were goes on from the snapshot of the one before.
STATE_MODULES: Final = (
    "journal.codec",
    "journal.observations",
    "journal.immutable",
    "journal.projections",
    "journal.state",
    "journal.events",
    "journal.upcasters",
)


def event_registry() -> Registry:
    """Every kind of event of this release."""
    return build_registry(Observation, Decision)


def open_snapshots(data: Path) -> SnapshotFile[State]:
    """The snapshot of a data directory, good for whoever makes the same memory of an entry."""
    return SnapshotFile(
        data / "snapshot", code_fingerprint(STATE_MODULES), encode_state, decode_state
    )


class Startup:
    """The journal of a data directory, open for writing, and the state at its head.

    Attributes:
        found: damage to be told, once somebody takes it down.
        complaints: what else could not be used.
    """

    def __init__(
        self,
        data: Path,
        settings: StoreSettings,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
        damage_reason: str = "",
    ) -> None:
        """Open or create the journal and fold what the snapshot does not hold.

        A journal that cannot be used is set aside, and made anew from all that stands whole in it.

        Args:
            data: the data directory.
            settings: of the file.
            entropy: gives the salts of personal values: as many bytes as asked for.
            damage: what the run before has found out about the file; empty: nothing.

        Raises:
            JournalFailed: another process has it, or the disk is at fault.
        """
        data.mkdir(parents=True, exist_ok=True)
        self.damage_found: list[JournalDamageFound] = []
        self._path = data / "journal.db"
        self._settings, self._entropy = settings, entropy
        self._snapshots = open_snapshots(data)
        if damage_reason or is_rebuild_unfinished(self._path):
            self._rebuild_journal(damage_reason or "the power went while it was rebuilt")
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
            return store, self._restore_state(store)
        except BaseException:
            store.close()
            raise

    def _rebuild_journal(self, reason: str) -> None:
        """Save what can be saved, and know what could not."""
        log.error("journal: %s It is made anew from what can be read.", reason)
        rebuilt = rebuild(self._path, str(uuid.uuid4()))
        aside = rebuilt.quarantine.name
        told = f"{_shorten_reason(reason)}; rebuilt up to entry {rebuilt.last_seq}, kept in {aside}"
        self.damage_found.append(
            JournalDamageFound(told, quarantine_directory=aside, id_namespace=str(uuid.uuid4()))
        )
        for first, last in rebuilt.missing_ranges:
            self._report_lost_entries(first, last, "missing")
        log.error("journal: %s", told)

    def _report_missing_tail(self, head_seq: int, snapshot_seq: int) -> None:
        why = f"entries behind {head_seq} are gone: a snapshot was made at {snapshot_seq}"
        log.error("journal: %s. Run `station verify`.", why)
        self.damage_found.append(
            JournalDamageFound(why, head_seq + 1, snapshot_seq, id_namespace=str(uuid.uuid4()))
        )

    def _report_lost_entries(self, first_seq: int, last_seq: int, reason: str) -> None:
        span = (
            f"entry {first_seq}" if first_seq == last_seq else f"entries {first_seq} to {last_seq}"
        )
        log.error("journal: %s: %s. Run `station verify`.", span, reason)
        self.damage_found.append(JournalDamageFound(f"{span}: {reason}", first_seq, last_seq))

    def _restore_state(self, store: Store) -> State:
        snapshot = self._snapshots.load(store.reader.digest_at)
        if isinstance(snapshot, SnapshotIgnored):
            if store.head.seq:
                log.info("snapshot: %s; replaying the journal", snapshot.reason)
            if snapshot.seen_seq > store.head.seq and not self.damage_found:
                self._report_missing_tail(store.head.seq, snapshot.seen_seq)
            first, state = 1, State(store.journal_id)
        else:
            first, state = snapshot.seq + 1, snapshot.state
        begin, _ = store.reader.position_before_first()
        if first <= begin and not state.health.has_damage_at(first):
            self._report_lost_entries(first, begin, "archived, and the segments are missing")
        unread: list[EntryDamage] = []
        state = apply_entries(state, store.reader.iter_entries(first, on_damage=unread.append))
        for first, last, why in _merge_adjacent(unread):
            if not state.health.has_damage_at(first):
                self._report_lost_entries(first, last, why)
        return state

    def save_snapshot(self, head: Head, state: State) -> None:
        """Save the state at `head`. A disk that refuses only makes the next start slower."""
        try:
            self._snapshots.save(head.seq, head.digest, state)
        except OSError as error:
            log.warning("snapshot: not saved: %s", error.strerror)

    def close(self) -> None:
        self.store.close()


def _merge_adjacent(damaged_entries: Iterable[EntryDamage]) -> Iterator[tuple[int, int, str]]:
    """Damaged entries in a row as one: first, last, and why the first cannot be read."""
    stretch: tuple[int, int, str] | None = None
    for damage in damaged_entries:
        if stretch is not None and damage.seq == stretch[1] + 1:
            stretch = (stretch[0], damage.seq, stretch[2])
            continue
        if stretch is not None:
            yield stretch
        stretch = (damage.seq, damage.seq, damage.reason)
    if stretch is not None:
        yield stretch


def _shorten_reason(reason: str) -> str:
    """Without the directory and what a person should do: for the CSMS."""
    return reason.rpartition("journal.db: ")[2].rstrip(".").partition(". ")[0]
