"""P1: nothing acknowledged is lost wherever the power is cut. A sample of `make powercut`."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

from tests.durability.powercut.disk import (
    Disk,
    corrupt_writes,
    drop_unsynced,
    keep_prefix,
    keep_unsynced,
    reorder_writes,
    split_by_sector,
)
from tests.durability.powercut.faults import (
    DISK_FAULTS,
    PROGRAM_FAULTS,
    archiving_span,
    find_disk_fault,
    find_program_fault,
)
from tests.durability.powercut.recording import (
    DIRECTORY,
    FileSynced,
    FileWritten,
    NameRemoved,
    NameSet,
    Recording,
    SessionReport,
    SyscallRecorder,
    record_session,
)
from tests.durability.powercut.session import NO_POWERSAFE_OVERWRITE
from tests.durability.powercut.sweep import Sweep
from tests.durability.powercut.syscalls import CannotTraceError

SEED = 20_261_122
IMAGES = 100  # a sample for each setting


@cache
def record_or_skip(*options: str) -> tuple[Recording, dict[str, bytes]]:
    try:
        return record_session(options)
    except CannotTraceError as error:  # a sandbox; on any other machine this must not be skipped
        pytest.skip(f"no process may be traced here: {error}")


@pytest.mark.parametrize("options", [(), (NO_POWERSAFE_OVERWRITE,)], ids=["safe", "unsafe"])
def test_nothing_acknowledged_is_lost_wherever_the_power_is_cut_p1(
    options: tuple[str, ...],
) -> None:
    recording, files = record_or_skip(*options)
    print(f"SEED={SEED}")
    outcome = Sweep(recording, files, SEED).run_sweep(IMAGES, exhaustive=False)
    assert not outcome.failures, "\n".join(map(str, outcome.failures))
    assert outcome.distinct_total == IMAGES


def span_of_reports(recording: Recording, *keys: str) -> range:
    """The moments from before the first of these reports until shortly after the last."""
    cuts = [
        cut
        for cut, op in enumerate(recording.ops)
        if isinstance(op, SessionReport) and op.body.keys() & set(keys)
    ]
    return range(cuts[0], cuts[-1] + 10)


@pytest.mark.parametrize("synced", [True, False])
def test_an_erasure_is_complete_or_not_acknowledged_after_a_power_cut_p1(synced: bool) -> None:
    """The WAL is truncated and synced before anything is written into it again."""
    recording, files = record_or_skip()
    if not synced:
        recording = DISK_FAULTS["wal_unsynced_after_erasure"](recording)
    print(f"SEED={SEED}")
    sweep = Sweep(recording, files, SEED)
    span = span_of_reports(recording, "erasing", "erased")
    outcome = sweep.run_sweep(IMAGES, exhaustive=False, span=span, failures_max=1)
    assert (not outcome.failures) == synced, "\n".join(map(str, outcome.failures))


def test_a_local_list_is_the_old_or_the_new_one_after_a_power_cut_d01_fr_15_d01_fr_16() -> None:
    recording, files = record_or_skip()
    print(f"SEED={SEED}")
    span = span_of_reports(recording, "listing", "listed")
    images = IMAGES // 2
    outcome = Sweep(recording, files, SEED).run_sweep(images, exhaustive=False, span=span)
    assert not outcome.failures, "\n".join(map(str, outcome.failures))
    assert outcome.distinct_total == images


def test_a_power_cut_during_archiving_loses_no_entry_p1() -> None:
    recording, files = record_or_skip()
    print(f"SEED={SEED}")
    span = archiving_span(recording)
    outcome = Sweep(recording, files, SEED).run_sweep(IMAGES, exhaustive=False, span=span)
    assert not outcome.failures, "\n".join(map(str, outcome.failures))
    assert outcome.distinct_total == IMAGES


@pytest.mark.parametrize("fault", PROGRAM_FAULTS)
def test_a_sweep_detects_a_faulty_program(fault: str) -> None:
    record_or_skip()
    assert find_program_fault(fault, SEED) is not None


@pytest.mark.parametrize("fault", sorted(set(DISK_FAULTS) - {"wal_unsynced_after_erasure"}))
def test_a_sweep_detects_a_missing_sync(fault: str) -> None:
    assert find_disk_fault(fault, record_or_skip(), SEED) is not None


def test_a_recording_reproduces_the_files() -> None:
    """Replayed without a power cut, the recording gives the files of the last run."""
    recording, files = record_or_skip()
    disk = Disk(powersafe_overwrite=True)
    for op in recording.ops:
        disk.apply_op(op)
    assert keep_unsynced(disk, random.Random(SEED)) == files


def test_a_call_that_is_not_in_the_model_is_refused(tmp_path: Path) -> None:
    record_or_skip()
    recorder = SyscallRecorder(tmp_path)
    with pytest.raises(AssertionError, match="not in the model of the disk"):
        recorder.run(["first", "links_a_file"])


# --- The disk ------------------------------------------------------------------------------------


def make_disk(*, powersafe_overwrite: bool = True) -> Disk:
    """A synced file of three sectors with a pending write into the second."""
    disk = Disk(powersafe_overwrite=powersafe_overwrite)
    for op in (
        NameSet("a", 1),
        FileWritten(1, 0, b"o" * 1536),
        FileSynced(1),
        FileSynced(DIRECTORY),
    ):
        disk.apply_op(op)
    disk.apply_op(FileWritten(1, 600, b"n" * 100))
    return disk


def images_of(disk: Disk, fate: object, count: int = 400) -> list[bytes]:
    dice = random.Random(SEED)
    assert callable(fate)
    return [fate(disk, dice)["a"] for _ in range(count)]


def test_synced_bytes_stay() -> None:
    for fate in (drop_unsynced, keep_unsynced, keep_prefix, reorder_writes, corrupt_writes):
        for image in images_of(make_disk(), fate):
            assert image[:600] + image[700:] == b"o" * 1436


def test_a_pending_write_is_old_new_or_noise() -> None:
    assert {image[600:700] for image in images_of(make_disk(), reorder_writes)} == {
        b"o" * 100,
        b"n" * 100,
    }
    assert len({image[600:700] for image in images_of(make_disk(), corrupt_writes)}) > 10


def test_without_powersafe_overwrite_noise_takes_the_whole_sector() -> None:
    images = images_of(make_disk(powersafe_overwrite=False), corrupt_writes)
    assert any(image[512:600] != b"o" * 88 and image[:512] == b"o" * 512 for image in images)


def test_a_file_whose_directory_was_not_synced_may_be_gone_or_back() -> None:
    disk = make_disk()
    disk.apply_op(NameRemoved("a"))
    disk.apply_op(NameSet("b", 2))
    names = {frozenset(reorder_writes(disk, random.Random(seed))) for seed in range(60)}
    assert names == {frozenset(names_left) for names_left in ((), ("a",), ("b",), ("a", "b"))}


def test_a_write_falls_into_sectors() -> None:
    parts = list(split_by_sector(FileWritten(1, 500, bytes(600)), 512))
    assert [(part.offset, len(part.data), part.sector) for part in parts] == [
        (500, 12, 0),
        (512, 512, 512),
        (1024, 76, 1024),
    ]
