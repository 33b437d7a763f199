"""Does a sweep notice a station, or a disk, that does not keep the promise?

Each of these has one fault. `found` is where the sweep noticed it, or None.
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
IMAGES_MAX: Final = 2_000  # by then a fault has shown


def _without_syncs(recording: Recording, is_dropped: Callable[[Op, Op], bool]) -> Recording:
    """As if these syncs had not been asked for; each is given with the operation before it."""
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
    """A disk that does not keep what `powersafe_overwrite = true` takes for granted."""
    return recording._replace(powersafe_overwrite=False)


PROGRAM_FAULTS: Final = (*PROGRAMS, ACKNOWLEDGE_EARLY)
DISK_FAULTS: Final[dict[str, Callable[[Recording], Recording]]] = {
    "directory_unsynced": _without_directory_sync,
    "checkpoint_unsynced": _without_checkpoint_sync,
    "log_unsynced_after_forgetting": _without_sync_after_erasure,
    "neighbours_harmed": _without_powersafe_overwrite,
}


def find_program_fault(name: str, seed: int) -> SweepFailure | None:
    """Record the lives of a station with this fault, as far as it takes, and sweep."""
    if name in ARCHIVE_FAULTS:
        recording, files = record_session((name,))
        return _first_failure((recording, files), seed, archiving_span(recording))
    return _first_failure(record_session((name,), lives=("first",)), seed)


def find_disk_fault(name: str, whole: RecordedSession, seed: int) -> SweepFailure | None:
    """Take a recording of a station without fault, give it this one, and sweep."""
    recording, files = whole
    return _first_failure((DISK_FAULTS[name](recording), files), seed)


def archiving_span(recording: Recording) -> range:
    """The moments from before the first entries leave until a little after the last did."""
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
