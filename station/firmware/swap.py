"""Default installer: unpack a firmware image and make it the current release.

    python -m station.firmware.swap install BASE IMAGE
    python -m station.firmware.swap rollback BASE
    python -m station.firmware.swap current BASE

It is a program of its own, so that a product may use another with the same contract. BASE has
`releases/<version>/`, `current` (a link to the release that runs) and `previous` (a link to the one
before). Each link changes in one step: after a power cut, the old or the new release is current,
and complete.

IMAGE is a tar archive, compressed or not, with a `manifest.json` that lists every other file:
`{"version": "1.1", "files": {"bin/station": "<SHA-256 in hex>", ...}}`. A link has `-> target` as
its digest.

Order of an installation: unpack to `releases/.new`, check against the manifest, sync, rename to
`releases/<version>`, set `previous`, set `current`, delete all other releases.

Exit codes: 0 done, with the current version on stdout; 1 it failed; 2 usage; 3 the image does not
match its manifest. The last line on stderr is the reason.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Final

import msgspec

from station.firmware import EXIT_FAILED, EXIT_IMAGE_INVALID, EXIT_OK, EXIT_USAGE

VERSION_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,49}")  # BootNotification has 50
FREE_BYTES_MIN: Final = 64 * 1024 * 1024  # stay free for the journal
MANIFEST_NAME: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024


class ImageInvalid(Exception):
    """The image does not match its manifest. One line."""


class CannotInstall(Exception):
    """The image is valid, but the station cannot install it. One line."""


class Manifest(msgspec.Struct, frozen=True):
    version: str
    files: dict[str, str]


def install_image(base: Path, image: Path) -> str:
    """Unpack, check, and make an image the current release. Repeating that changes nothing.

    Returns:
        Its version.

    Raises:
        ImageInvalid: nothing is changed.
        CannotInstall: nothing is changed.
        OSError: the disk fails; the current release is unchanged.
    """
    releases = base / "releases"
    releases.mkdir(parents=True, exist_ok=True)
    new = releases / ".new"
    shutil.rmtree(new, ignore_errors=True)  # of an interrupted installation
    try:
        _unpack_image(image, new)
        version = _verify_files(new)
        release = releases / version
        if release == _linked_release(base / "current"):
            _check_same_build(release, new)
            return version
        if release.exists():
            shutil.rmtree(release)
        for path in (*new.rglob("*"), new):
            if not path.is_symlink():
                _sync_path(path)
        os.replace(new, release)
        _sync_path(releases)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    old = _linked_release(base / "current")
    if old is not None:
        _set_link(base / "previous", old)
    _set_link(base / "current", release)
    _delete_old_releases(base)
    return version


def roll_back(base: Path) -> str:
    """Exchange the previous and the current release.

    Returns:
        The version that is current now.

    Raises:
        CannotInstall: there is no previous release.
    """
    current, previous = _linked_release(base / "current"), _linked_release(base / "previous")
    if previous is None or current is None:
        raise CannotInstall("there is no previous release to go back to")
    _set_link(base / "current", previous)
    _set_link(base / "previous", current)
    return previous.name


def current_version(base: Path) -> str:
    """The version of the current release.

    Raises:
        CannotInstall: there is none.
    """
    release = _linked_release(base / "current")
    if release is None:
        raise CannotInstall("no release is installed")
    return release.name


def _unpack_image(image: Path, directory: Path) -> None:
    """Unpack; members outside the directory, devices and too large images are refused."""
    if not hasattr(tarfile, "data_filter"):
        raise CannotInstall("unpacking safely needs Python 3.11.4 or later")
    try:
        with tarfile.open(image) as archive:
            members = archive.getmembers()
            size = sum(member.size for member in members)
            free = shutil.disk_usage(directory.parent).free
            if size + FREE_BYTES_MIN > free:
                raise CannotInstall(
                    f"not enough disk space: needs {size} bytes and {FREE_BYTES_MIN} in reserve,"
                    f" {free} are free"
                )
            directory.mkdir()
            archive.extractall(directory, members, filter="data")
    except (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ImageInvalid(_to_one_line(f"{image.name}: {error}")) from error
    except OSError as error:
        if error.errno is None:  # an error of a decompressor, not of the disk
            raise ImageInvalid(_to_one_line(f"{image.name}: {error}")) from error
        raise


def _to_one_line(text: str) -> str:
    return " ".join(text.split())


def _verify_files(directory: Path) -> str:
    """Check the files of an unpacked image and return its version. L01.FR.29."""
    manifest = _read_manifest(directory / MANIFEST_NAME)
    digests = {
        str(path.relative_to(directory)): _file_digest(path)
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    digests.pop(MANIFEST_NAME)
    for name in sorted(manifest.files.keys() | digests.keys()):
        if manifest.files.get(name) != digests.get(name):
            raise ImageInvalid(f"{name!r} does not match the manifest")
    return manifest.version


def _read_manifest(file: Path) -> Manifest:
    try:
        if file.is_symlink() or file.stat().st_size > MANIFEST_BYTES_MAX:
            raise ImageInvalid(
                f"{MANIFEST_NAME} is a link or larger than {MANIFEST_BYTES_MAX} bytes"
            )
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageInvalid(_to_one_line(f"{MANIFEST_NAME}: {error}")) from error
    if not VERSION_PATTERN.fullmatch(manifest.version):
        raise ImageInvalid(f"version {manifest.version!r} is not usable as the name of a directory")
    return manifest


def _file_digest(path: Path) -> str:
    """SHA-256 of a file in hex; of a link `-> target`."""
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_same_build(release: Path, unpacked: Path) -> None:
    """The current release is never overwritten: the same version must be the same build."""
    if (release / MANIFEST_NAME).read_bytes() != (unpacked / MANIFEST_NAME).read_bytes():
        raise CannotInstall(
            f"another build of release {release.name} is current; give this one another version"
        )


def _linked_release(link: Path) -> Path | None:
    """The release a link leads to; None: no link, or its release is gone."""
    if not link.is_symlink():
        return None
    release = link.parent / os.readlink(link)
    return release if release.is_dir() else None


def _set_link(link: Path, release: Path) -> None:
    """Point `link` to `release`, in one step and durably."""
    draft = link.with_name(f".{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(release.relative_to(link.parent))
    os.replace(draft, link)
    _sync_path(link.parent)


def _delete_old_releases(base: Path) -> None:
    """Delete all releases but the current and the previous one."""
    in_use = {_linked_release(base / "current"), _linked_release(base / "previous")}
    for release in (base / "releases").iterdir():
        if release not in in_use:
            shutil.rmtree(release)


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    try:
        match arguments:
            case ["install", base, image]:
                print(install_image(Path(base), Path(image)))
            case ["rollback", base]:
                print(roll_back(Path(base)))
            case ["current", base]:
                print(current_version(Path(base)))
            case _:
                print("usage: install BASE IMAGE | rollback BASE | current BASE", file=sys.stderr)
                return EXIT_USAGE
    except ImageInvalid as error:
        print(error, file=sys.stderr)
        return EXIT_IMAGE_INVALID
    except (CannotInstall, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
