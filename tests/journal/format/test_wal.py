"""The frames of a write-ahead log, read without keeping their images."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from journal.format import sectors, wal
from journal.format.sectors import FileContent
from journal.format.wal import iter_changed_checksums, split_frames
from journal.maintenance.salvage import LoggedPages

PAGE_BYTES: Final = 4096
SALTS: Final = (7, 8)
FRAMES: Final = 400  # of a log of many pieces
PIECE_BYTES: Final = 64 << 10


def write_log(path: Path, frame_count: int, *, commit_every: int = 1) -> list[bytes]:
    """Write a valid log; the images, of pages 1 to `frame_count`."""
    dice = random.Random(frame_count)
    header = struct.pack(">6I", 0x377F0682, 3007000, PAGE_BYTES, 0, *SALTS)
    checksum = wal._extend_checksum("<", header, (0, 0))
    images = []
    with path.open("wb") as log:
        log.write(header + struct.pack(">2I", *checksum))
        for page in range(1, frame_count + 1):
            image = dice.randbytes(PAGE_BYTES)
            start = struct.pack(">2I", page, page if page % commit_every == 0 else 0)
            checksum = wal._extend_checksum("<", start + image, checksum)
            log.write(start + struct.pack(">4I", *SALTS, *checksum) + image)
            images.append(image)
    return images


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces as small for this log as those in service are for one of many MiB."""
    monkeypatch.setattr(sectors, "PIECE_BYTES", PIECE_BYTES)


@pytest.mark.usefixtures("small_pieces")
def test_a_long_log_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "journal.db-wal"
    images = write_log(path, FRAMES)
    size = path.stat().st_size
    with ExitStack() as files:
        log = FileContent(path, files)
        tracemalloc.start()
        reached, hidden = split_frames(log)
        pages = LoggedPages(log, reached)
        assert all(pages[page] == image for page, image in enumerate(images, 1))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert not hidden
    assert len(pages) == FRAMES
    assert peak < size / 1.5


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("damaged_frame", [None, 200])
def test_a_log_with_zeroed_values_has_the_same_commits(
    tmp_path: Path, damaged_frame: int | None
) -> None:
    path = tmp_path / "journal.db-wal"
    write_log(path, FRAMES)
    data = bytearray(path.read_bytes())
    if damaged_frame is not None:
        data[32 + damaged_frame * (24 + PAGE_BYTES) + 24] ^= 1
        path.write_bytes(data)
    before = split_frames(bytes(data))
    spans = {(32 + frame * (24 + PAGE_BYTES) + 124, 30) for frame in (3, 4, 160, 390)}
    with ExitStack() as files, path.open("r+b") as out:
        log = FileContent(path, files)
        tracemalloc.start()
        for at, checksum in iter_changed_checksums(log, spans):
            os.pwrite(out.fileno(), checksum, at)
            data[at : at + 8] = checksum
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for at, length in spans:
            os.pwrite(out.fileno(), bytes(length), at)
            data[at : at + length] = bytes(length)
    assert peak < len(data) / 1.5
    assert path.read_bytes() == data
    assert split_frames(bytes(data)) == before


def test_frames_of_an_unfinished_commit_are_not_salvaged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db-wal"
    write_log(path, 7, commit_every=3)
    reached, hidden = split_frames(path.read_bytes())
    assert [frame.page for frame in reached] == [1, 2, 3, 4, 5, 6]
    assert hidden == []


@pytest.mark.parametrize("damaged_frame", [2, 4])
def test_commits_after_a_damaged_frame_are_hidden(tmp_path: Path, damaged_frame: int) -> None:
    path = tmp_path / "journal.db-wal"
    write_log(path, 9, commit_every=3)
    data = bytearray(path.read_bytes())
    data[32 + (damaged_frame - 1) * (24 + PAGE_BYTES) + 24] ^= 1
    reached, hidden = split_frames(bytes(data))
    first_hidden = (damaged_frame - 1) // 3 * 3 + 1
    assert [frame.page for frame in reached] == list(range(1, first_hidden))
    assert [frame.page for frame in hidden] == list(range(first_hidden, 10))


def test_a_log_is_salvaged_up_to_its_largest_plausible_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db-wal"
    write_log(path, 9)
    monkeypatch.setattr(wal, "LOG_BYTES_MAX", 32 + 4 * (24 + PAGE_BYTES))
    reached, _ = split_frames(path.read_bytes())
    assert [frame.page for frame in reached] == [1, 2, 3, 4]
