"""The snapshot of the station's state: the code it depends on, and its use after an update.

A snapshot of the same code is the state. One of another release is used as far as it can be: a
projection reads only its own state and its entries, so it is valid if the code of this projection,
of the events that it handles and of every replay is the same. The others are replayed from the
first entry to that of the snapshot, all together, and only their kinds of entries are decoded.

The result must be the state of a full replay. So the snapshot is ignored, and all projections are
replayed, where that is not certain:

    entries were or are damaged or    the projections of the snapshot may have applied other
    missing                           entries than those that can be read now.
    a projection has failed before    `health` records failures of the other projections, so it
    or fails now, `health` changed    must be replayed together with them.

Entries that no replayed projection handles are not decoded here. As after a start with a snapshot
of the same code, the daily audit finds damage in them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from journal.codec import DECODE_ERRORS
from journal.state import (
    PROJECTIONS,
    State,
    apply_entries,
    decode_projections,
    decode_state,
    encode_state,
)
from journal.storage.errors import JournalFailed
from journal.storage.reader import Reader
from journal.storage.snapshots import (
    RUNTIME_VERSIONS,
    PartialSnapshot,
    Snapshot,
    SnapshotFile,
    SnapshotIgnored,
    code_fingerprint,
    describe_undecodable,
)

log = logging.getLogger("station.startup")

# Modules that compute the state from entries: all that `journal.state` and the codec import. A
# release that does not change them can use the snapshot of the release before as it is.
STATE_MODULES: Final = (
    "journal.codec",
    "journal.observations",
    "journal.immutable",
    "journal.projections",
    "journal.state",
    "journal.events",
    "journal.upcasters",
)


def open_snapshots(data: Path) -> SnapshotFile[State]:
    """The snapshot of a data directory, valid for the same STATE_MODULES."""
    fingerprint = code_fingerprint(STATE_MODULES, *RUNTIME_VERSIONS)
    return SnapshotFile(
        data / "snapshot",
        fingerprint,
        encode_state,
        decode_state,
        lambda: projection_fingerprints(fingerprint),
    )


@cache
def projection_fingerprints(state_fingerprint: bytes) -> Mapping[str, bytes]:
    """SHA-256 over the code of each projection, by its name in the state.

    Args:
        state_fingerprint: of STATE_MODULES when the program started. If an update has changed the
            sources since then, or just changes them, they are not those of this program: the result
            is empty.
    """
    try:
        from station.runtime.loop import projection_code  # seldom used

        fingerprints = projection_code.compute_fingerprints()
        current = code_fingerprint(STATE_MODULES, *RUNTIME_VERSIONS)
    except (ImportError, OSError, UnicodeDecodeError):
        return {}
    return fingerprints if current == state_fingerprint else {}


def load_snapshot(
    reader: Reader, snapshots: SnapshotFile[State]
) -> Snapshot[State] | SnapshotIgnored:
    """The snapshot of this journal; one of another release with its changed projections replayed.

    Raises:
        JournalFailed: the journal cannot be read.
    """
    snapshot = snapshots.load(reader.digest_at)
    if isinstance(snapshot, PartialSnapshot):
        return complete_snapshot(reader, snapshot)
    return snapshot


def complete_snapshot(
    reader: Reader, snapshot: PartialSnapshot
) -> Snapshot[State] | SnapshotIgnored:
    """The snapshot of another release, with its changed projections replayed."""
    try:
        return _replay_changed(reader, snapshot)
    except JournalFailed as failure:
        return SnapshotIgnored(f"another release made it, and {failure}")
    except DECODE_ERRORS as error:
        return SnapshotIgnored(describe_undecodable(error))


def _replay_changed(reader: Reader, snapshot: PartialSnapshot) -> Snapshot[State] | SnapshotIgnored:
    if "health" not in snapshot.valid_parts:
        return SnapshotIgnored("another release made it")
    if reader.digest_at(snapshot.seq) != snapshot.digest:
        return SnapshotIgnored(f"another release made it, for another entry {snapshot.seq}")
    state = decode_projections(snapshot.body, snapshot.valid_parts)
    health = state.health
    if health.journal_damages or health.projection_failures:
        return SnapshotIgnored("another release made it, of a journal with damage or failures")
    changed = sorted(PROJECTIONS.keys() - snapshot.valid_parts)
    log.info(
        "snapshot of another release: replaying %d of %d projections for %d entries: %s",
        len(changed),
        len(PROJECTIONS),
        snapshot.seq if changed else 0,
        ", ".join(changed) or "none has changed",
    )
    if changed:
        kinds = {kind.__name__ for name in changed for kind in PROJECTIONS[name].HANDLES}
        entries = reader.iter_entries_of(kinds, snapshot.seq)
        state = apply_entries(state, entries, names=changed)
    if state.health is not health:
        return SnapshotIgnored("another release made it, and a projection failed in the replay")
    return Snapshot(snapshot.seq, state)
