"""Programs and disks with one deliberate fault each, which a sweep must detect.

A fault of the program (`session.PROGRAM_PATCHES`) has a recording of its own. A fault of the disk
is made by removing some syncs from a sound recording. `find_..._fault` returns the first failure
of a sweep, None if the fault was not detected.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from tests.durability.powercut.disk import Image
from tests.durability.powercut.recording import (
    DIRECTORY,
    FileResized,
    FileSynced,
    Op,
    Recording,
    SessionReport,
    record_session,
)
from tests.durability.powercut.session import ACKNOWLEDGE_EARLY, ARCHIVE_FAULTS
from tests.durability.powercut.session import PROGRAM_PATCHES as PROGRAMS
from tests.durability.powercut.sweep import Sweep, SweepFailure

RecordedSession = tuple[Recording, Image]
IMAGES_MAX: Final = 2_000  # enough images to detect every fault


def _without_syncs(recording: Recording, is_dropped: Callable[[Op, Op], bool]) -> Recording:
    """Remove the syncs for which `is_dropped(operation before, sync)` is true."""
    ops = recording.ops
    kept = [
        op
        for before, op in pairwise(ops)
        if not (isinstance(op, FileSynced) and is_dropped(before, op))
    ]
    return recording._replace(ops=(ops[0], *kept))


def _without_directory_sync(recording: Recording) -> Recording:
    return _without_syncs(recording, lambda _, op: op == FileSynced(DIRECTORY))


def _without_checkpoint_sync(recording: Recording) -> Recording:
    names = recording.names_by_file()
    return _without_syncs(
        recording, lambda _, op: isinstance(op, FileSynced) and names.get(op.file) == "journal.db"
    )


def _without_sync_after_erasure(recording: Recording) -> Recording:
    return _without_syncs(
        recording, lambda before, _: isinstance(before, FileResized) and before.size == 0
    )


def _without_powersafe_overwrite(recording: Recording) -> Recording:
    """A disk without the property that `powersafe_overwrite = true` relies on."""
    return recording._replace(powersafe_overwrite=False)


PROGRAM_FAULTS: Final = (*PROGRAMS, ACKNOWLEDGE_EARLY)
DISK_FAULTS: Final[dict[str, Callable[[Recording], Recording]]] = {
    "directory_unsynced": _without_directory_sync,
    "checkpoint_unsynced": _without_checkpoint_sync,
    "wal_unsynced_after_erasure": _without_sync_after_erasure,
    "neighboring_bytes_corrupted": _without_powersafe_overwrite,
}


def find_program_fault(name: str, seed: int) -> SweepFailure | None:
    """Record a station with this fault, as many runs as needed, and sweep."""
    if name in ARCHIVE_FAULTS:
        recording, files = record_session((name,))
        return _first_failure((recording, files), seed, archiving_span(recording))
    return _first_failure(record_session((name,), runs=("first",)), seed)


def find_disk_fault(name: str, whole: RecordedSession, seed: int) -> SweepFailure | None:
    """Add this fault to the recording of a sound station, and sweep."""
    recording, files = whole
    return _first_failure((DISK_FAULTS[name](recording), files), seed)


def archiving_span(recording: Recording) -> range:
    """The moments from before archiving until shortly after it."""
    cuts = [
        cut
        for cut, op in enumerate(recording.ops)
        if isinstance(op, SessionReport) and op.body.keys() & {"archiving", "archived"}
    ]
    return range(cuts[0], cuts[1] + 10)


def _first_failure(
    recorded: RecordedSession, seed: int, span: range | None = None
) -> SweepFailure | None:
    sweep = Sweep(*recorded, seed)
    outcome = sweep.run_sweep(IMAGES_MAX, exhaustive=False, span=span, failures_max=1)
    return next(iter(outcome.failures), None)
