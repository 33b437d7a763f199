"""Boot of one disk image, and the comparison of the result with the reference.

`find_faults` is empty if the promise holds: the journal opens and verifies; it ends with the last
acknowledged entry or with a whole commit that was under way; entries and state equal the
reference; the Local Authorization List is the old or the new one; the snapshot is complete; erased
idTokens are in no file; and the session can be finished, after which the CSMS has a complete
account of every transaction.
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
from station.runtime.loop.startup import Startup
from station.runtime.loop.state_snapshot import open_snapshots
from tests.durability.powercut.disk import Image
from tests.durability.powercut.reference import ExpectedJournal, Reference
from tests.durability.powercut.session import GROW_BYTES, SEGMENT_ENTRIES

INDEX_BYTES: Final = 32 << 10  # size of `-shm`, which may have any content after a power cut


class ImageBoot:
    """Boots images, one after another in one directory."""

    def __init__(self, directory: Path, reference: Reference, *, powersafe_overwrite: bool) -> None:
        self._data = directory
        self._reference = reference
        self._settings = StoreSettings(
            grow_bytes=GROW_BYTES, powersafe_overwrite=powersafe_overwrite
        )
        self._snapshots = open_snapshots(directory)

    def write_image(self, image: Image, dice: random.Random) -> None:
        """Write an image to the station's data directory."""
        shutil.rmtree(self._data)
        self._data.mkdir()
        for name, content in image.items():
            (self._data / name).write_bytes(content)
        if dice.random() < 0.5:
            (self._data / "journal.db-shm").write_bytes(dice.randbytes(INDEX_BYTES))

    def find_faults(self, expected: ExpectedJournal) -> Iterator[str]:
        """The faults of the image written last."""
        yield from self._check_erased(expected)
        if expected.acknowledged:  # before the first commit, there is no journal yet
            yield from (f"as found: {fault}" for fault in verify(self._data / "journal.db"))
        try:
            startup = Startup(self._data, self._settings, entropy=random.Random(0).randbytes)
        except JournalFailed as error:
            yield f"does not open: {error}"
            return
        try:
            yield from self._check_journal(startup, expected)
            yield from self._finish_session(startup, expected)
        finally:
            startup.close()
        yield from (f"at the end: {fault}" for fault in verify(self._data / "journal.db"))
        yield from self._check_erased(expected)

    def _check_journal(self, startup: Startup, expected: ExpectedJournal) -> Iterator[str]:
        head = startup.store.head
        if startup.store.lost_commits:
            yield f"reports lost commits: {startup.store.lost_commits}"
        if head.seq not in (expected.acknowledged, *expected.begun):
            yield f"ends at entry {head.seq}; {expected.acknowledged} is acknowledged"
        if head.seq and head.digest != self._reference.digests.get(head.seq):
            yield f"entry {head.seq} has another digest"
        elif startup.state != (
            self._reference.states[head.seq] if head.seq else _initial_state(startup)
        ):
            yield f"the state at entry {head.seq} differs"
        local_list = startup.state.local_list
        version_and_count = (local_list.version_number, local_list.count)
        if version_and_count not in (expected.listed, expected.listing):
            yield f"the local list has version and idTokens {version_and_count}"
        yield from self._check_entries(startup)
        yield from self._check_snapshot(startup, expected)
        yield from self._check_id_tokens(startup, expected)

    def _check_entries(self, startup: Startup) -> Iterator[str]:
        """Each entry is there once, in the file or in the archive."""
        digests = [(row.seq, row.digest) for row in startup.store.reader.iter_rows()]
        if digests != [(seq, self._reference.digests.get(seq)) for seq, _ in digests]:
            yield "entries differ from the reference"
        if [seq for seq, _ in digests] != list(range(1, startup.store.head.seq + 1)):
            yield f"{len(digests)} of {startup.store.head.seq} entries are readable"

    def _check_snapshot(self, startup: Startup, expected: ExpectedJournal) -> Iterator[str]:
        """The last complete snapshot or the one being written: never none."""
        snapshot = self._snapshots.load(startup.store.reader.digest_at)
        seq = 0 if isinstance(snapshot, SnapshotIgnored) else snapshot.seq
        if seq not in (expected.saved, expected.saving):
            actual = snapshot if seq == 0 else seq
            yield f"expected the snapshot of entry {expected.saved}, is {actual}"

    def _check_id_tokens(self, startup: Startup, expected: ExpectedJournal) -> Iterator[str]:
        for ref, value in expected.id_tokens.items():
            actual = startup.store.value_of(ref)
            is_required = (
                expected.acknowledged > expected.introduced[ref] and ref not in expected.erasing
            )
            if actual not in (None, value) or (is_required and actual is None):
                yield f"{ref} is {actual}, was {value}"

    def _check_erased(self, expected: ExpectedJournal) -> Iterator[str]:
        for ref in expected.erased:
            value = expected.id_tokens[ref].encode()
            for path in self._data.iterdir():
                if value in path.read_bytes():
                    yield f"{ref} was erased and is in {path.name}"

    def _finish_session(self, startup: Startup, expected: ExpectedJournal) -> Iterator[str]:
        """Finish the session on this journal, from its head."""
        if startup.store.head.seq not in self._reference.digests and startup.store.head.seq:
            return
        ending = self._reference.ending_from(startup.store.head.seq, expected.delivered_count)
        yield from ending.complaints
        for entries in ending.commits:
            startup.store.append(entries)
        _archive_all(startup, self._data / "journal.db")
        startup.store.checkpoint()


def _archive_all(startup: Startup, path: Path) -> None:
    """Continue an interrupted archiving, if any, and archive everything."""
    head = startup.store.head
    assert head.at is not None, "the session was not finished"
    limits = RetentionLimits(head.seq, (), head.at)
    while archive_oldest_entries(
        startup.store, path, limits, only_if_worthwhile=False, segment_entries=SEGMENT_ENTRIES
    ):
        pass


def _initial_state(startup: Startup) -> State:
    """The state before the first entry; the journal may be another one than the recorded."""
    return State(startup.store.journal_id)
