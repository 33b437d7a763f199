"""Exactly one complete release is active, whatever happens during an installation. L01."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from station.firmware import swap

Image = Callable[..., Path]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def pack_image(tmp_path: Path) -> Image:
    """Packs a release; `files` is another manifest than the true one."""

    def pack(
        version: str,
        content: bytes = b"program",
        *,
        files: dict[str, str] | None = None,
        members: tuple[tarfile.TarInfo, ...] = (),
    ) -> Path:
        digest = hashlib.sha256(content).hexdigest()
        declared = {"bin/station": digest, "bin/link": "-> station"} if files is None else files
        manifest = json.dumps({"version": version, "files": declared}).encode()
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.tar.gz"
        with tarfile.open(file, "w:gz") as archive:
            for name, data in (("manifest.json", manifest), ("bin/station", content)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            link = tarfile.TarInfo("bin/link")
            link.type, link.linkname = tarfile.SYMTYPE, "station"
            archive.addfile(link)
            for member in members:
                archive.addfile(member)
        return file

    return pack


def current_program(base: Path) -> bytes:
    return (base / "current" / "bin" / "station").read_bytes()


def release_names(base: Path) -> set[str]:
    return {path.name for path in (base / "releases").iterdir()}


def test_the_new_release_becomes_active_and_the_old_one_is_kept(
    base: Path, pack_image: Image
) -> None:
    assert swap.install_image(base, pack_image("1.0", b"old")) == "1.0"
    assert swap.install_image(base, pack_image("1.1", b"new")) == "1.1"
    assert current_program(base) == b"new"
    assert swap.roll_back(base) == "1.0"
    assert current_program(base) == b"old"
    assert swap.roll_back(base) == "1.1"
    assert current_program(base) == b"new"


def test_a_third_release_replaces_the_first(base: Path, pack_image: Image) -> None:
    for version in ("1.0", "1.1", "1.2"):
        swap.install_image(base, pack_image(version))
    assert release_names(base) == {"1.1", "1.2"}


def test_installing_the_active_release_again_changes_nothing(base: Path, pack_image: Image) -> None:
    swap.install_image(base, pack_image("1.0"))
    swap.install_image(base, pack_image("1.1", b"new"))
    inode = (base / "current" / "bin" / "station").stat().st_ino
    assert swap.install_image(base, pack_image("1.1", b"new")) == "1.1"
    assert (base / "current" / "bin" / "station").stat().st_ino == inode
    assert swap.roll_back(base) == "1.0"


def test_the_active_release_is_never_overwritten(base: Path, pack_image: Image) -> None:
    swap.install_image(base, pack_image("1.0", b"old"))
    with pytest.raises(swap.CannotInstall, match="another build"):
        swap.install_image(base, pack_image("1.0", b"new"))
    assert current_program(base) == b"old"


def test_the_previous_release_can_be_installed_again(base: Path, pack_image: Image) -> None:
    swap.install_image(base, pack_image("1.0", b"old"))
    swap.install_image(base, pack_image("1.1", b"new"))
    swap.install_image(base, pack_image("1.0", b"old, repaired"))
    assert current_program(base) == b"old, repaired"


def test_without_a_previous_release_there_is_no_rollback(base: Path, pack_image: Image) -> None:
    with pytest.raises(swap.CannotInstall, match="no previous"):
        swap.roll_back(base)
    swap.install_image(base, pack_image("1.0"))
    with pytest.raises(swap.CannotInstall, match="no previous"):
        swap.roll_back(base)
    assert current_program(base) == b"program"


def archive_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    "bad",
    [
        {"files": {}},
        {"files": {"bin/station": "00", "bin/link": "-> station"}},
        {"members": (archive_member("more"),)},
        {"members": (archive_member("../more"),)},
        {"members": (archive_member("dev", tarfile.CHRTYPE),)},
        {"members": (archive_member("link", tarfile.SYMTYPE, "/etc/passwd"),)},
        {"members": (archive_member("link", tarfile.SYMTYPE, "../../x"),)},
        {"version": "../1.2"},
        {"version": ""},
        {"version": ".new"},
        {"version": "v" * 51},
    ],
    ids=[
        "no files",
        "other files",
        "extra member",
        "member outside",
        "device",
        "absolute link",
        "link outside",
        "version with path",
        "no version",
        "hidden version",
        "long version",
    ],
)
def test_an_image_that_is_not_as_declared_changes_nothing_l01_fr_29(
    base: Path, pack_image: Image, bad: dict[str, object]
) -> None:
    swap.install_image(base, pack_image("1.0", b"old"))
    with pytest.raises(swap.ImageInvalid):
        swap.install_image(base, pack_image(**({"version": "1.1"} | bad)))
    assert current_program(base) == b"old"
    assert release_names(base) == {"1.0"}


@pytest.mark.parametrize("content", [b"", b"elephant" * 1000, b"\x1f\x8b\x08\x00"])
def test_a_file_that_is_not_an_archive_is_refused_l01_fr_29(
    base: Path, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "image"
    file.write_bytes(content)
    with pytest.raises(swap.ImageInvalid):
        swap.install_image(base, file)


def test_a_truncated_image_is_refused_l01_fr_29(base: Path, pack_image: Image) -> None:
    image = pack_image("1.0", os.urandom(100_000))
    image.write_bytes(image.read_bytes()[:50_000])
    with pytest.raises(swap.ImageInvalid):
        swap.install_image(base, image)
    assert release_names(base) == set()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_damaged_image_is_refused_l01_fr_29(
    base: Path, tmp_path: Path, pack_image: Image, kind: str
) -> None:
    """Damage anywhere is refused, except in the padding of a header, which has no effect."""
    with tarfile.open(pack_image("1.0", b"program")) as original:
        packed = tmp_path / "packed"
        with tarfile.open(packed, f"w:{kind}") as archive:  # type: ignore[call-overload]
            for member in original.getmembers():
                archive.addfile(member, original.extractfile(member) if member.isfile() else None)
    raw = packed.read_bytes()
    for at in range(len(raw)):
        packed.write_bytes(raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :])
        with contextlib.suppress(swap.ImageInvalid):
            swap.install_image(base, packed)
            assert current_program(base) == b"program"
            shutil.rmtree(base)
    assert not (base / "current").exists()


class PowerCut(BaseException):
    """Ends the installation at this step."""


@pytest.mark.parametrize("step", range(40))
def test_a_power_cut_at_any_step_leaves_a_complete_release_active(
    base: Path, pack_image: Image, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    for version in ("0.9", "1.0"):
        swap.install_image(base, pack_image(version, version.encode()))
    new = pack_image("1.1", b"1.1")
    steps = iter(range(1000))

    def interrupted(work: Callable[..., object]) -> Callable[..., object]:
        def before(*arguments: object, **options: object) -> object:
            if next(steps) >= step:
                raise PowerCut
            return work(*arguments, **options)

        return before

    with monkeypatch.context() as patched:
        for owner, name in (
            (os, "replace"),
            (os, "fsync"),
            (shutil, "rmtree"),
            (Path, "mkdir"),
            (Path, "symlink_to"),
        ):
            patched.setattr(owner, name, interrupted(getattr(owner, name)))
        with contextlib.suppress(PowerCut):
            swap.install_image(base, new)
    assert current_program(base) in (b"1.0", b"1.1")
    swap.install_image(base, new)
    assert current_program(base) == b"1.1"
    swap.roll_back(base)
    assert current_program(base) in (b"1.0", b"0.9", b"1.1")


def run_swap(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "station.firmware.swap", *map(str, arguments))
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_installer_is_a_program_with_three_verbs(base: Path, pack_image: Image) -> None:
    for version in ("1.0", "1.1"):
        done = run_swap("install", base, pack_image(version))
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{version}\n", "")
    assert run_swap("current", base).stdout == "1.1\n"
    assert run_swap("rollback", base).stdout == "1.0\n"
    assert run_swap("current", base).stdout == "1.0\n"


def test_exit_codes_distinguish_a_bad_image_from_a_bad_disk_l01_fr_29(
    base: Path, pack_image: Image
) -> None:
    refused = run_swap("install", base, pack_image("1.0", files={}))
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr == "'bin/link' does not match the manifest\n"
    assert run_swap("install", "/dev/null/base", pack_image("1.0")).returncode == 1
    for verb in ("rollback", "current"):
        failed = run_swap(verb, base)
        assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1)
    assert run_swap("dance").returncode == 2
