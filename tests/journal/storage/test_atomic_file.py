"""A file is replaced as a whole and durably, or not at all. P1, P8."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.storage.atomic_file import write_atomically


def test_the_content_is_replaced_and_no_draft_remains(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    write_atomically(path, (piece for piece in (b"in ", b"pieces")))
    assert path.read_bytes() == b"in pieces"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_with_secrets_is_readable_by_its_owner_only_p9(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_content_is_synced_before_the_rename_and_the_directory_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    steps: list[str] = []

    def fsync(handle: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(handle).st_mode)
        steps.append("directory" if is_directory else "content")
        assert path.exists() == is_directory

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"new")
    assert steps == ["content", "directory"]


@pytest.mark.parametrize("step", ["content", "fsync"])
def test_a_failure_leaves_the_old_content_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def pieces() -> Iterator[bytes]:
        yield b"begun"
        if step == "content":
            fail()

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, pieces())
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
