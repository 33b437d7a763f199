"""The data directory is for the service alone; one that cannot be used is refused in one line."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.config.data_directory import (
    DataDirectoryError,
    prepare_data_directory,
    restrict_new_files,
)

NOBODY = 65_534


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user can reach; pytest's are closed to others."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture
def unprivileged() -> Iterator[int]:
    """A user that file permissions apply to: they do not apply to root."""
    if os.geteuid():
        yield os.geteuid()
        return
    os.seteuid(NOBODY)
    try:
        yield NOBODY
    finally:
        os.seteuid(0)


def refusal_of(directory: Path) -> str:
    with pytest.raises(DataDirectoryError) as refused:
        prepare_data_directory(directory)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_new_files_are_for_the_user_of_the_service_alone(tmp_path: Path) -> None:
    restrict_new_files()
    data = tmp_path / "data"
    prepare_data_directory(data)
    (data / "journal.db").touch()
    (data / "uploads").mkdir()
    assert [mode_of(path) for path in (data, data / "journal.db", data / "uploads")] == [
        0o700,
        0o600,
        0o700,
    ]


def test_files_of_an_earlier_release_are_closed_to_other_users(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = (
        "journal.db", "journal.db-wal", "journal.db-shm", "journal.lock", "journal.1-9.gz",
        "snapshot", "reserve", "station.log", "secrets/key", "emulated/meters.json",
        "uploads/a.log", "journal.damaged-1/journal.db", "certificates/V2GRootCertificate/a.pem",
    )  # fmt: skip
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(mode=0o644)
    prepare_data_directory(tmp_path)
    assert {name: oct(mode_of(tmp_path / name)) for name in files} == dict.fromkeys(files, "0o600")
    assert mode_of(tmp_path / "secrets") == mode_of(tmp_path / "emulated") == 0o700
    assert f"other users could read {len(files)} files" in caplog.text
    caplog.clear()
    prepare_data_directory(tmp_path)
    assert not caplog.text


def test_files_that_the_station_does_not_make_keep_their_mode(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    other, target = data / "station.toml", tmp_path / "elsewhere"
    for path in (other, target):
        path.touch(mode=0o644)
    (data / "secrets").mkdir()
    (data / "secrets" / "link").symlink_to(target)
    prepare_data_directory(data)
    assert (mode_of(data), mode_of(other), mode_of(target)) == (0o755, 0o644, 0o644)


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file. Move it" in refusal_of(tmp_path / "file")
    assert "cannot be made: Not a directory" in refusal_of(tmp_path / "file" / "below")
    (tmp_path / "emulated").touch()
    assert "emulated is not a directory" in refusal_of(tmp_path)


def test_a_directory_of_another_user_is_refused_with_the_command_that_mends_it(
    public_directory: Path,
) -> None:
    if os.geteuid():
        pytest.skip("needs root for a directory of another user")
    os.seteuid(NOBODY)
    try:
        refusal = refusal_of(public_directory)
        below = refusal_of(public_directory / "below")
    finally:
        os.seteuid(0)
    assert "belongs to root" in refusal
    assert re.search(rf"Run `chown -R \S+ {public_directory}`", refusal)
    assert "cannot be made: Permission denied" in below


def test_a_file_of_another_user_is_refused(public_directory: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root for a file of another user")
    os.chown(public_directory, NOBODY, NOBODY)
    (public_directory / "journal.db").touch(mode=0o644)
    os.seteuid(NOBODY)
    try:
        assert f"{public_directory}: journal.db belongs to root" in refusal_of(public_directory)
    finally:
        os.seteuid(0)


def test_a_directory_without_write_permission_is_refused(
    public_directory: Path, unprivileged: int
) -> None:
    data = public_directory
    if os.getuid() == 0:
        os.seteuid(0)
        os.chown(data, unprivileged, -1)
        os.seteuid(unprivileged)
    data.chmod(0o500)
    try:
        assert "cannot be written (mode 0500)" in refusal_of(data)
    finally:
        data.chmod(0o700)
