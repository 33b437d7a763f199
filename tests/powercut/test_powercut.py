"""P1: nothing acknowledged is lost, wherever the power is cut. `make powercut` does all of it."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

from tests.powercut.disk import Disk, dropped, kept, noisy, pieces, prefix, reordered
from tests.powercut.faults import (
    OF_THE_DISK,
    OF_THE_PROGRAM,
    found_in_disk,
    found_in_program,
    while_archiving,
)
from tests.powercut.recording import (
    DIRECTORY,
    Named,
    Recorder,
    Recording,
    Said,
    Synced,
    Unnamed,
    Wrote,
    record,
)
from tests.powercut.session import NO_POWERSAFE_OVERWRITE
from tests.powercut.sweep import Sweep
from tests.powercut.syscalls import CannotTraceError

SEED = 20_261_122
IMAGES = 100  # a sample: of each setting


@cache
def recorded(*options: str) -> tuple[Recording, dict[str, bytes]]:
    try:
        return record(options)
    except CannotTraceError as error:  # a sandbox; everywhere else this is the proof of P1
        pytest.skip(f"no process may be watched here: {error}")


@pytest.mark.parametrize("options", [(), (NO_POWERSAFE_OVERWRITE,)], ids=["safe", "unsafe"])
def test_nothing_acknowledged_is_lost_wherever_the_power_is_cut_p1(
    options: tuple[str, ...],
) -> None:
    recording, files = recorded(*options)
    print(f"SEED={SEED}")
    outcome = Sweep(recording, files, SEED).run(IMAGES, exhaustive=False)
    assert not outcome.failures, "\n".join(map(str, outcome.failures))
    assert outcome.total == IMAGES


def while_forgetting(recording: Recording) -> range:
    """The moments from before a person is forgotten until a little after."""
    first, last = (
        cut
        for cut, op in enumerate(recording.ops)
        if isinstance(op, Said) and op.what.keys() & {"forgetting", "forgot"}
    )
    return range(first, last + 10)


@pytest.mark.parametrize("synced", [True, False])
def test_the_power_may_go_while_a_person_is_forgotten_p1(synced: bool) -> None:
    """The log is cut to nothing, and that is synced before anything is written into it again."""
    recording, files = recorded()
    if not synced:
        recording = OF_THE_DISK["log_unsynced_after_forgetting"](recording)
    print(f"SEED={SEED}")
    sweep = Sweep(recording, files, SEED)
    span = while_forgetting(recording)
    outcome = sweep.run(IMAGES, exhaustive=False, span=span, failures_max=1)
    assert (not outcome.failures) == synced, "\n".join(map(str, outcome.failures))


def test_the_power_may_go_while_entries_are_archived_p1() -> None:
    recording, files = recorded()
    print(f"SEED={SEED}")
    span = while_archiving(recording)
    outcome = Sweep(recording, files, SEED).run(IMAGES, exhaustive=False, span=span)
    assert not outcome.failures, "\n".join(map(str, outcome.failures))
    assert outcome.total == IMAGES


@pytest.mark.parametrize("fault", OF_THE_PROGRAM)
def test_the_sweep_notices_a_station_that_is_careless(fault: str) -> None:
    recorded()
    assert found_in_program(fault, SEED) is not None


@pytest.mark.parametrize("fault", sorted(set(OF_THE_DISK) - {"log_unsynced_after_forgetting"}))
def test_the_sweep_notices_a_sync_that_is_missing(fault: str) -> None:
    assert found_in_disk(fault, recorded(), SEED) is not None


def test_the_recording_is_what_the_process_did() -> None:
    """What was written, with nothing lost by a power cut, are the files as they are."""
    recording, files = recorded()
    disk = Disk(powersafe_overwrite=True)
    for op in recording.ops:
        disk.take(op)
    assert kept(disk, random.Random(SEED)) == files


def test_a_recorder_that_knows_a_call_not_refuses_it(tmp_path: Path) -> None:
    recorded()
    recorder = Recorder(tmp_path)
    with pytest.raises(AssertionError, match="what does a power cut make of that"):
        recorder.run(["first", "links_a_file"])


# --- The disk ------------------------------------------------------------------------------------


def a_disk(*, powersafe_overwrite: bool = True) -> Disk:
    """One file of three sectors, synced; then something is written into the second."""
    disk = Disk(powersafe_overwrite=powersafe_overwrite)
    for op in (Named("a", 1), Wrote(1, 0, b"o" * 1536), Synced(1), Synced(DIRECTORY)):
        disk.take(op)
    disk.take(Wrote(1, 600, b"n" * 100))
    return disk


def images_of(disk: Disk, fate: object, count: int = 400) -> list[bytes]:
    dice = random.Random(SEED)
    assert callable(fate)
    return [fate(disk, dice)["a"] for _ in range(count)]


def test_what_was_synced_stays() -> None:
    for fate in (dropped, kept, prefix, reordered, noisy):
        for image in images_of(a_disk(), fate):
            assert image[:600] + image[700:] == b"o" * 1436


def test_what_is_being_written_is_old_or_new_or_noise() -> None:
    assert {image[600:700] for image in images_of(a_disk(), reordered)} == {b"o" * 100, b"n" * 100}
    assert len({image[600:700] for image in images_of(a_disk(), noisy)}) > 10


def test_without_powersafe_overwrite_noise_takes_the_whole_sector() -> None:
    images = images_of(a_disk(powersafe_overwrite=False), noisy)
    assert any(image[512:600] != b"o" * 88 and image[:512] == b"o" * 512 for image in images)


def test_a_file_whose_directory_was_not_synced_may_be_gone_or_back() -> None:
    disk = a_disk()
    disk.take(Unnamed("a"))
    disk.take(Named("b", 2))
    names = {frozenset(reordered(disk, random.Random(seed))) for seed in range(60)}
    assert names == {frozenset(one) for one in ((), ("a",), ("b",), ("a", "b"))}


def test_a_write_falls_into_sectors() -> None:
    parts = list(pieces(Wrote(1, 500, bytes(600)), 512))
    assert [(part.offset, len(part.data), part.sector) for part in parts] == [
        (500, 12, 0),
        (512, 512, 512),
        (1024, 76, 1024),
    ]
