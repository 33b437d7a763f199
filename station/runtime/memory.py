"""How does a run begin with everything the runs before it knew?"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from journal.codec import Registry, registry_of
from journal.snapshots import Ignored, Snapshots, fingerprint_of
from journal.state import State, decode_state, encode_state, evolve
from journal.store import Damage, Head, Store, StoreSettings
from journal.terms import Decision, Observation

log = logging.getLogger("station.memory")


def registry() -> Registry:
    """Every kind of event of this release."""
    return registry_of(Observation, Decision)


class Memory:
    """The journal of a data directory, open for writing, and the state at its head."""

    def __init__(
        self,
        data: Path,
        settings: StoreSettings,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open or create the journal and fold what the snapshot does not hold.

        `entropy` gives the salts of personal values: as many bytes as asked for.

        Raises:
            JournalFailed: another process has it, or the disk or the file is at fault.
        """
        data.mkdir(parents=True, exist_ok=True)
        self.store = Store.open(
            data / "journal.db",
            registry(),
            journal_id_if_new=str(uuid.uuid4()),
            settings=settings,
            entropy=entropy,
        )
        if self.store.lost:
            log.error("journal: %s", self.store.lost)
        self._snapshots: Snapshots[State] = Snapshots(
            data / "snapshot", fingerprint_of(["journal"]), encode_state, decode_state
        )
        self.state = self._state()

    def _state(self) -> State:
        found = self._snapshots.load(self.store.reader.digest_at)
        if isinstance(found, Ignored):
            if self.store.head.seq:
                log.info("snapshot: %s; replaying the journal", found.reason)
            first, state = 1, State(self.store.journal_id)
        else:
            first, state = found.seq + 1, found.state
        for entry in self.store.reader.entries(first, damaged=_skipped):
            state = evolve(state, entry)
        return state

    def snapshot(self, head: Head, state: State) -> None:
        """Save the state at `head`. A disk that refuses only makes the next start slower."""
        try:
            self._snapshots.save(head.seq, head.digest, state)
        except OSError as error:
            log.warning("snapshot: not saved: %s", error.strerror)

    def close(self) -> None:
        self.store.close()


def _skipped(damage: Damage) -> None:
    """What is outside the damage goes on. P5."""
    log.error("journal: entry %d cannot be read: %s. Run `station verify`.", *damage)
