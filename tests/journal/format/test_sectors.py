"""Unreadable sectors are distinguished from readable ones, to the sector."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.format import sectors
from journal.format.sectors import (
    FILLER,
    SECTOR_BYTES,
    FileContent,
    iter_file_with_filler,
    read_file_with_filler,
    read_with_filler,
)

SEED = 20_261_123
SECTORS = 9
TAIL = 123  # bytes after the last whole sector

SectorMarker = Callable[[set[int], bool], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(random.Random(SEED).randbytes(SECTORS * SECTOR_BYTES + TAIL))
    return path


@pytest.fixture
def mark_unreadable(monkeypatch: pytest.MonkeyPatch) -> SectorMarker:
    """Sectors that cannot be read, counted from 0.

    The system returns the bytes before the bad sector or, if it reads more at a time, none.
    """
    pread = os.pread

    def spoilt(bad: set[int], at_once: bool) -> None:
        def read(file: int, size: int, at: int) -> bytes:
            touched = range(at // SECTOR_BYTES, -(-(at + size) // SECTOR_BYTES))
            first = next((sector for sector in touched if sector in bad), None)
            if first is None:
                return pread(file, size, at)
            if at_once or first == touched[0]:
                raise OSError(errno.EIO, "Input/output error")
            return pread(file, first * SECTOR_BYTES - at, at)

        monkeypatch.setattr(os, "pread", read)

    return spoilt


@pytest.mark.parametrize("at_once", [False, True])
def test_only_the_bad_sectors_are_missing(
    file: Path, mark_unreadable: SectorMarker, at_once: bool
) -> None:
    before, dice = file.read_bytes(), random.Random(SEED)
    print("seed", SEED)
    for _ in range(50):
        bad = {sector for sector in range(SECTORS + 1) if dice.random() < 0.3}
        expected = bytearray(before)
        for sector in bad:
            span = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
            expected[span] = FILLER * len(expected[span])
        at = dice.randrange(len(before))
        size = dice.randrange(len(before) - at)
        lost = sum(byte // SECTOR_BYTES in bad for byte in range(at, at + size))
        mark_unreadable(bad, at_once)
        assert read_file_with_filler(file) == expected
        with file.open("rb") as opened:
            assert read_with_filler(opened.fileno(), size, at) == (
                bytes(expected[at : at + size]),
                lost,
            )
    with file.open("rb") as opened:
        mark_unreadable(set(), at_once)
        assert read_with_filler(opened.fileno(), 2 * TAIL, len(before) - TAIL) == (
            before[-TAIL:],
            0,
        )


def test_another_failure_is_no_bad_sector(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(*_: int) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "pread", stale)
    with pytest.raises(OSError, match="Stale"):
        read_file_with_filler(file)


@given(st.binary(max_size=60), st.integers(-70, 70), st.integers(-70, 70))
def test_the_content_of_a_file_is_sliced_as_bytes_are(data: bytes, start: int, stop: int) -> None:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as files:
        path = Path(directory) / "file"
        path.write_bytes(data)
        content = FileContent(path, files)
        assert len(content) == len(data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sectors, "PIECE_BYTES", 16)
            assert content[start:stop] == data[start:stop]
            assert content[: len(data)] == data
            assert b"".join(iter_file_with_filler(path)) == data
