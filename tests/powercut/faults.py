"""Does a sweep notice a station, or a disk, that does not keep the promise?

Each of these has one fault. `found` is where the sweep noticed it, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from tests.powercut.disk import Image
from tests.powercut.recording import DIRECTORY, Op, Recording, Said, Sized, Synced, record
from tests.powercut.session import ARCHIVE_FAULTS, HASTY
from tests.powercut.session import FAULTS as PROGRAMS
from tests.powercut.sweep import Failure, Sweep

Recorded = tuple[Recording, Image]
IMAGES: Final = 2_000  # by then a fault has shown


def _unsynced(recording: Recording, unwanted: Callable[[Op, Op], bool]) -> Recording:
    """As if these syncs had not been asked for; each is given with the operation before it."""
    ops = recording.ops
    kept = [
        op for before, op in pairwise(ops) if not (isinstance(op, Synced) and unwanted(before, op))
    ]
    return recording._replace(ops=(ops[0], *kept))


def _directory_unsynced(recording: Recording) -> Recording:
    return _unsynced(recording, lambda _, op: op == Synced(DIRECTORY))


def _checkpoint_unsynced(recording: Recording) -> Recording:
    names = recording.names()
    return _unsynced(
        recording, lambda _, op: isinstance(op, Synced) and names.get(op.file) == "journal.db"
    )


def _log_unsynced_after_forgetting(recording: Recording) -> Recording:
    return _unsynced(recording, lambda before, _: isinstance(before, Sized) and before.size == 0)


def _harming_neighbours(recording: Recording) -> Recording:
    """A disk that does not keep what `powersafe_overwrite = true` takes for granted."""
    return recording._replace(powersafe_overwrite=False)


OF_THE_PROGRAM: Final = (*PROGRAMS, HASTY)
OF_THE_DISK: Final[dict[str, Callable[[Recording], Recording]]] = {
    "directory_unsynced": _directory_unsynced,
    "checkpoint_unsynced": _checkpoint_unsynced,
    "log_unsynced_after_forgetting": _log_unsynced_after_forgetting,
    "neighbours_harmed": _harming_neighbours,
}


def found_in_program(name: str, seed: int) -> Failure | None:
    """Record the lives of a station with this fault, as far as it takes, and sweep."""
    if name in ARCHIVE_FAULTS:
        recording, files = record((name,))
        return _found((recording, files), seed, while_archiving(recording))
    return _found(record((name,), lives=("first",)), seed)


def found_in_disk(name: str, whole: Recorded, seed: int) -> Failure | None:
    """Take a recording of a station without fault, give it this one, and sweep."""
    recording, files = whole
    return _found((OF_THE_DISK[name](recording), files), seed)


def while_archiving(recording: Recording) -> range:
    """The moments from before the first entries leave until a little after the last did."""
    cuts = [
        cut
        for cut, op in enumerate(recording.ops)
        if isinstance(op, Said) and op.what.keys() & {"archiving", "archived"}
    ]
    return range(cuts[0], cuts[1] + 10)


def _found(recorded: Recorded, seed: int, span: range | None = None) -> Failure | None:
    sweep = Sweep(*recorded, seed)
    outcome = sweep.run(IMAGES, exhaustive=False, span=span, failures_max=1)
    return next(iter(outcome.failures), None)
