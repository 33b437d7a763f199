"""Does a station come back from this image, with everything it owes?

`faults` is empty where the promise was kept: the journal opens and verifies, whatever was
acknowledged is in it, nothing else is, the snapshot is whole, the forgotten are gone, and the
session can be finished to a complete account.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from journal.maintenance.retention import RetentionLimits, archive_oldest_entries
from journal.maintenance.verify import verify
from journal.state import State
from journal.storage.connection import StoreSettings
from journal.storage.errors import JournalFailed
from journal.storage.snapshots import SnapshotIgnored
from station.runtime.loop.startup import Startup, open_snapshots
from tests.durability.powercut.disk import Image
from tests.durability.powercut.reference import ExpectedJournal, Reference
from tests.durability.powercut.session import GROW_BYTES, SEGMENT_ENTRIES

INDEX_BYTES: Final = 32 << 10  # of `-shm`, which a power cut leaves in any state


class ImageBoot:
    """Opens images, all in one directory."""

    def __init__(self, directory: Path, reference: Reference, *, powersafe_overwrite: bool) -> None:
        self._data = directory
        self._reference = reference
        self._settings = StoreSettings(
            grow_bytes=GROW_BYTES, powersafe_overwrite=powersafe_overwrite
        )
        self._snapshots = open_snapshots(directory)

    def write_image(self, image: Image, dice: random.Random) -> None:
        """Put an image where the station looks for it."""
        shutil.rmtree(self._data)
        self._data.mkdir()
        for name, content in image.items():
            (self._data / name).write_bytes(content)
        if dice.random() < 0.5:
            (self._data / "journal.db-shm").write_bytes(dice.randbytes(INDEX_BYTES))

    def find_faults(self, expected: ExpectedJournal) -> Iterator[str]:
        """What is wrong with the image that was laid."""
        yield from self._check_erased(expected)
        if expected.acknowledged:  # before, there is no journal yet
            yield from (f"as found: {one}" for one in verify(self._data / "journal.db"))
        try:
            memory = Startup(self._data, self._settings, entropy=random.Random(0).randbytes)
        except JournalFailed as error:
            yield f"does not open: {error}"
            return
        try:
            yield from self._check_journal(memory, expected)
            yield from self._finish_session(memory, expected)
        finally:
            memory.close()
        yield from (f"at the end: {one}" for one in verify(self._data / "journal.db"))
        yield from self._check_erased(expected)

    def _check_journal(self, memory: Startup, expected: ExpectedJournal) -> Iterator[str]:
        head = memory.store.head
        if memory.store.lost_commits:
            yield f"says it lost {memory.store.lost_commits}"
        if head.seq not in (expected.acknowledged, *expected.begun):
            yield f"ends at entry {head.seq}; {expected.acknowledged} is acknowledged"
        if head.seq and head.digest != self._reference.digests.get(head.seq):
            yield f"entry {head.seq} is another one"
        elif memory.state != (
            self._reference.states[head.seq] if head.seq else _initial_state(memory)
        ):
            yield f"another memory at entry {head.seq}"
        yield from self._check_entries(memory)
        yield from self._check_snapshot(memory, expected)
        yield from self._check_id_tokens(memory, expected)

    def _check_entries(self, memory: Startup) -> Iterator[str]:
        """Each is there once, in the file or in the archive."""
        found = [(row.seq, row.digest) for row in memory.store.reader.iter_rows()]
        if found != [(seq, self._reference.digests.get(seq)) for seq, _ in found]:
            yield "entries are not what they were"
        if [seq for seq, _ in found] != list(range(1, memory.store.head.seq + 1)):
            yield f"{len(found)} entries can be read of {memory.store.head.seq}"

    def _check_snapshot(self, memory: Startup, expected: ExpectedJournal) -> Iterator[str]:
        """The last complete one or the one under way: a cut never costs the fast start."""
        found = self._snapshots.load(memory.store.reader.digest_at)
        seq = 0 if isinstance(found, SnapshotIgnored) else found.seq
        if seq not in (expected.saved, expected.saving):
            yield f"snapshot of entry {expected.saved}: {found if seq == 0 else seq}"

    def _check_id_tokens(self, memory: Startup, expected: ExpectedJournal) -> Iterator[str]:
        for ref, value in expected.people.items():
            found = memory.store.value_of(ref)
            due = (
                expected.acknowledged > expected.introduced[ref] and ref not in expected.forgetting
            )
            if found not in (None, value) or (due and found is None):
                yield f"{ref} is {found}, was {value}"

    def _check_erased(self, expected: ExpectedJournal) -> Iterator[str]:
        for ref in expected.forgotten:
            value = expected.people[ref].encode()
            for path in self._data.iterdir():
                if value in path.read_bytes():
                    yield f"{ref} was forgotten and is in {path.name}"

    def _finish_session(self, memory: Startup, expected: ExpectedJournal) -> Iterator[str]:
        """Go on from here, on this very file."""
        if memory.store.head.seq not in self._reference.digests and memory.store.head.seq:
            return
        ending = self._reference.ending_from(memory.store.head.seq, expected.taken)
        yield from ending.complaints
        for entries in ending.commits:
            memory.store.append(entries)
        _archive_all(memory, self._data / "journal.db")
        memory.store.checkpoint()


def _archive_all(memory: Startup, path: Path) -> None:
    """Take up what was interrupted, if it was, and go on."""
    head = memory.store.head
    assert head.at is not None, "the session was finished"
    limits = RetentionLimits(head.seq, (), head.at)
    while archive_oldest_entries(
        memory.store, path, limits, only_if_worthwhile=False, segment_entries=SEGMENT_ENTRIES
    ):
        pass


def _initial_state(memory: Startup) -> State:
    """What a station knows that was cut before its first entry: the journal may be a new one."""
    return State(memory.store.journal_id)
