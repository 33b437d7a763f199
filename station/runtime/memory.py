"""How does a run begin with everything the runs before it knew?"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from journal.codec import Registry, registry_of
from journal.observations import DamageFound
from journal.snapshots import Ignored, Snapshots, fingerprint_of
from journal.state import State, decode_state, encode_state, folded
from journal.store import (
    Damage,
    Head,
    JournalDamaged,
    Store,
    StoreSettings,
    is_rebuilt,
    rebuild,
)
from journal.terms import Decision, Observation

log = logging.getLogger("station.memory")

# Modules that decide which memory follows from entries: all that `journal.state` and the codec
# import. A release that leaves them as they were goes on from the snapshot of the one before.
REMEMBERING: Final = (
    "journal.codec",
    "journal.observations",
    "journal.persistent",
    "journal.projections",
    "journal.state",
    "journal.terms",
    "journal.upcasters",
)


def registry() -> Registry:
    """Every kind of event of this release."""
    return registry_of(Observation, Decision)


def snapshots_in(data: Path) -> Snapshots[State]:
    """The snapshot of a data directory, good for whoever makes the same memory of an entry."""
    return Snapshots(data / "snapshot", fingerprint_of(REMEMBERING), encode_state, decode_state)


class Memory:
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
        damage: str = "",
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
        self.found: list[DamageFound] = []
        self._path = data / "journal.db"
        self._settings, self._entropy = settings, entropy
        self._snapshots = snapshots_in(data)
        if damage or is_rebuilt(self._path):
            self._rebuild(damage or "the power went while it was rebuilt")
        try:
            self.store, self.state = self._opened()
        except JournalDamaged as failure:
            if self.found:
                raise
            self._rebuild(str(failure))
            self.store, self.state = self._opened()

    def _opened(self) -> tuple[Store, State]:
        store = Store.open(
            self._path,
            registry(),
            journal_id_if_new=str(uuid.uuid4()),
            settings=self._settings,
            entropy=self._entropy,
            strict=True,
        )
        try:
            return store, self._state(store)
        except BaseException:
            store.close()
            raise

    def _rebuild(self, why: str) -> None:
        """Save what can be saved, and know what could not."""
        log.error("journal: %s It is made anew from what can be read.", why)
        rebuilt = rebuild(self._path, str(uuid.uuid4()))
        aside = rebuilt.aside.name
        told = f"{_short(why)}; rebuilt up to entry {rebuilt.last}, kept in {aside}"
        self.found.append(DamageFound(told, aside=aside, era=str(uuid.uuid4())))
        for first, last in rebuilt.gaps:
            self._lost(first, last, "missing")
        log.error("journal: %s", told)

    def _tail_is_gone(self, head: int, seen: int) -> None:
        why = f"entries behind {head} are gone: a snapshot was made at {seen}"
        log.error("journal: %s. Run `station verify`.", why)
        self.found.append(DamageFound(why, head + 1, seen, era=str(uuid.uuid4())))

    def _lost(self, first: int, last: int, why: str) -> None:
        span = f"entry {first}" if first == last else f"entries {first} to {last}"
        log.error("journal: %s: %s. Run `station verify`.", span, why)
        self.found.append(DamageFound(f"{span}: {why}", first, last))

    def _state(self, store: Store) -> State:
        snapshot = self._snapshots.load(store.reader.digest_at)
        if isinstance(snapshot, Ignored):
            if store.head.seq:
                log.info("snapshot: %s; replaying the journal", snapshot.reason)
            if snapshot.seen > store.head.seq and not self.found:
                self._tail_is_gone(store.head.seq, snapshot.seen)
            first, state = 1, State(store.journal_id)
        else:
            first, state = snapshot.seq + 1, snapshot.state
        begin, _ = store.reader.anchor()
        if first <= begin and not state.condition.knows_damage(first):
            self._lost(first, begin, "archived, and the segments are missing")
        unread: list[Damage] = []
        state = folded(state, store.reader.entries(first, damaged=unread.append))
        for first, last, why in _stretches(unread):
            if not state.condition.knows_damage(first):
                self._lost(first, last, why)
        return state

    def snapshot(self, head: Head, state: State) -> None:
        """Save the state at `head`. A disk that refuses only makes the next start slower."""
        try:
            self._snapshots.save(head.seq, head.digest, state)
        except OSError as error:
            log.warning("snapshot: not saved: %s", error.strerror)

    def close(self) -> None:
        self.store.close()


def _stretches(unread: Iterable[Damage]) -> Iterator[tuple[int, int, str]]:
    """Damaged entries in a row as one: first, last, and why the first cannot be read."""
    stretch: tuple[int, int, str] | None = None
    for damage in unread:
        if stretch is not None and damage.seq == stretch[1] + 1:
            stretch = (stretch[0], damage.seq, stretch[2])
            continue
        if stretch is not None:
            yield stretch
        stretch = (damage.seq, damage.seq, damage.why)
    if stretch is not None:
        yield stretch


def _short(why: str) -> str:
    """Without the directory and what a person should do: for the CSMS."""
    return why.rpartition("journal.db: ")[2].rstrip(".").partition(". ")[0]
