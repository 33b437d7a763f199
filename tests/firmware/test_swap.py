"""Does exactly one whole release run, whatever happens to an installation?"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from station.firmware import swap
from station.runtime.installer import InstallFailed, current, install, rollback

Image = Callable[..., Path]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """Packs a release; a manifest that lies is given with `files`."""

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


def running(base: Path) -> bytes:
    return (base / "current" / "bin" / "station").read_bytes()


def releases(base: Path) -> set[str]:
    return {path.name for path in (base / "releases").iterdir()}


def test_the_new_release_takes_over_and_the_old_one_stays(base: Path, image: Image) -> None:
    assert swap.install(base, image("1.0", b"old")) == "1.0"
    assert swap.install(base, image("1.1", b"new")) == "1.1"
    assert running(base) == b"new"
    assert swap.rollback(base) == "1.0"
    assert running(base) == b"old"
    assert swap.rollback(base) == "1.1"
    assert running(base) == b"new"


def test_a_third_release_takes_the_place_of_the_first(base: Path, image: Image) -> None:
    for version in ("1.0", "1.1", "1.2"):
        swap.install(base, image(version))
    assert releases(base) == {"1.1", "1.2"}


def test_the_running_release_once_more_changes_nothing(base: Path, image: Image) -> None:
    swap.install(base, image("1.0"))
    swap.install(base, image("1.1", b"new"))
    inode = (base / "current" / "bin" / "station").stat().st_ino
    assert swap.install(base, image("1.1", b"new")) == "1.1"
    assert (base / "current" / "bin" / "station").stat().st_ino == inode
    assert swap.rollback(base) == "1.0"


def test_the_running_release_is_never_written_over(base: Path, image: Image) -> None:
    swap.install(base, image("1.0", b"old"))
    with pytest.raises(swap.CannotInstall, match="another build"):
        swap.install(base, image("1.0", b"new"))
    assert running(base) == b"old"


def test_the_previous_release_can_be_installed_again(base: Path, image: Image) -> None:
    swap.install(base, image("1.0", b"old"))
    swap.install(base, image("1.1", b"new"))
    swap.install(base, image("1.0", b"old, repaired"))
    assert running(base) == b"old, repaired"


def test_there_may_be_no_way_back(base: Path, image: Image) -> None:
    with pytest.raises(swap.CannotInstall, match="no previous"):
        swap.rollback(base)
    swap.install(base, image("1.0"))
    with pytest.raises(swap.CannotInstall, match="no previous"):
        swap.rollback(base)
    assert running(base) == b"program"


def outside(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    "bad",
    [
        {"files": {}},
        {"files": {"bin/station": "00", "bin/link": "-> station"}},
        {"members": (outside("more"),)},
        {"members": (outside("../more"),)},
        {"members": (outside("dev", tarfile.CHRTYPE),)},
        {"members": (outside("link", tarfile.SYMTYPE, "/etc/passwd"),)},
        {"members": (outside("link", tarfile.SYMTYPE, "../../x"),)},
        {"version": "../1.2"},
        {"version": ""},
        {"version": ".new"},
        {"version": "v" * 51},
    ],
    ids=str,
)
def test_an_image_that_is_not_as_declared_changes_nothing_l01_fr_29(
    base: Path, image: Image, bad: dict[str, object]
) -> None:
    swap.install(base, image("1.0", b"old"))
    with pytest.raises(swap.NotAsDeclared):
        swap.install(base, image(**({"version": "1.1"} | bad)))
    assert running(base) == b"old"
    assert releases(base) == {"1.0"}


@pytest.mark.parametrize("content", [b"", b"elephant" * 1000, b"\x1f\x8b\x08\x00"])
def test_what_is_no_archive_is_refused_l01_fr_29(
    base: Path, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "image"
    file.write_bytes(content)
    with pytest.raises(swap.NotAsDeclared):
        swap.install(base, file)


def test_a_truncated_image_is_refused_l01_fr_29(base: Path, image: Image) -> None:
    whole = image("1.0", os.urandom(100_000))
    whole.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(swap.NotAsDeclared):
        swap.install(base, whole)
    assert releases(base) == set()


class PowerCut(BaseException):
    """Nothing after this happens."""


@pytest.mark.parametrize("step", range(40))
def test_a_power_cut_at_any_step_leaves_a_whole_release_running(
    base: Path, image: Image, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    for version in ("0.9", "1.0"):
        swap.install(base, image(version, version.encode()))
    new = image("1.1", b"1.1")
    steps = iter(range(1000))

    def counted(work: Callable[..., object]) -> Callable[..., object]:
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
            patched.setattr(owner, name, counted(getattr(owner, name)))
        with contextlib.suppress(PowerCut):
            swap.install(base, new)
    assert running(base) in (b"1.0", b"1.1")
    swap.install(base, new)
    assert running(base) == b"1.1"
    swap.rollback(base)
    assert running(base) in (b"1.0", b"0.9", b"1.1")


async def test_the_installer_runs_as_a_process(base: Path, image: Image) -> None:
    assert await install(image("1.0", b"old"), base) == "1.0"
    assert await install(image("1.1", b"new"), base) == "1.1"
    assert await rollback(base) == "1.0"
    assert running(base) == b"old"


async def test_the_installer_tells_which_release_is_current(base: Path, image: Image) -> None:
    with pytest.raises(InstallFailed, match="no release is current"):
        await current(base)
    await install(image("1.0", b"old"), base)
    await install(image("1.1", b"new"), base)
    assert await current(base) == "1.1"
    await rollback(base)
    assert await current(base) == "1.0"


async def test_exit_codes_have_ocpps_names_l01_fr_29(base: Path, image: Image) -> None:
    with pytest.raises(InstallFailed, match="not as the manifest says") as failed:
        await install(image("1.0", files={}), base)
    assert failed.value.status == "InstallVerificationFailed"
    with pytest.raises(InstallFailed, match="no previous release") as failed:
        await rollback(base)
    assert failed.value.status == "InstallationFailed"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def test_a_products_own_installer_is_asked(base: Path) -> None:
    code = "import sys; print('working'); print(*sys.argv[1:])"
    version = await install(Path("image"), base, program=python(code))
    assert version == f"install {base} image"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (python("raise SystemExit('no flash')"), "no flash"),
        (python("import os; os._exit(9)"), "exit code 9"),
        (python("import sys; sys.stderr.write('\\x1b[2J' * 1000); sys.exit(1)"), r"\[2J"),
        (("/does/not/exist",), "No such file"),
    ],
)
async def test_an_installer_that_fails_says_why(
    base: Path, program: tuple[str, ...], why: str
) -> None:
    with pytest.raises(InstallFailed, match=why) as failed:
        await install(Path("image"), base, program=program)
    assert failed.value.status == "InstallationFailed"
    assert str(failed.value).isprintable()


async def test_an_installer_that_hangs_is_killed(base: Path) -> None:
    began = trio.current_time()
    with pytest.raises(InstallFailed, match="not done"):
        await install(
            Path("image"), base, program=python("import time; time.sleep(60)"), timeout_s=0.3
        )
    assert trio.current_time() - began < 5


async def test_the_installer_sees_no_secret_of_ours(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATION_PASSWORD", "s3cret")
    code = "import os; print(sorted(os.environ))"
    assert "STATION" not in await install(Path("image"), base, program=python(code))
