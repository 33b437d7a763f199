"""Build the Debian package: `make deb`, or `python3 -m station.packaging.build_deb OUT`.

The package has a virtual environment in /opt/ocpp-station with everything of the hashed lock file,
byte code included, so it needs no network when it is installed. It fits the Debian release and the
architecture that it is built on, because the environment uses the system's Python.

`/etc/ocpp-station/station.toml` is a configuration file of dpkg: an upgrade keeps what was changed.
The data directory is made once and touched by nothing else; a purge asks before it is deleted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = "ocpp-station"
PREFIX: Final = Path("/opt/ocpp-station")
SOURCE: Final = Path(__file__).parents[2]
FILES: Final = Path(__file__).parent
LOCK: Final = SOURCE / "requirements-run.lock"
SYSTEM_PYTHON: Final = "/usr/bin/python3"
UNITS: Final = "lib/systemd/system"
MAINTAINER_SCRIPTS: Final = ("postinst", "prerm", "postrm", "config")
PROGRAMS: Final = ("start", "rollback")  # of the units
SOURCES: Final = (
    *("pyproject.toml", "README.md", "LICENSE"),
    *("station", "journal", "drivers", "migrations"),
)
BUILD_ONLY: Final = ("pip", "setuptools")  # removed: nothing is installed into the environment
KEPT_PROGRAMS: Final = ("python", "station")
CONTROL: Final = """\
Package: {package}
Version: {version}
Architecture: {architecture}
Maintainer: {package} maintainers
Section: net
Priority: optional
Installed-Size: {kib}
Depends: python3 (>= {python}), python3 (<< {next_python}), adduser, debconf | debconf-2.0
Suggests: systemd
Description: software of an EV charging station, OCPP 2.0.1
 Runs on a DC charging station: drives its devices, connects to a CSMS with OCPP 2.0.1, and keeps an
 append-only journal of every event, from which transactions are delivered and explained.
"""


class BuildPlaceFound(Exception):
    """A file of the package names the place where it was built. One line."""


def main() -> None:
    """Build the package into the directory of the command line and print its path."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="directory of the package")
    parser.add_argument("--python", default=SYSTEM_PYTHON, help="the Python of the target system")
    arguments = parser.parse_args()
    print(build_package(arguments.out, arguments.python))


def build_package(out: Path, python: str) -> Path:
    """Build the package.

    Args:
        out: directory of the package; the files are collected in `.root` there, and deleted.
        python: interpreter of the target system.

    Raises:
        subprocess.CalledProcessError: a step failed.
        BuildPlaceFound: a file of the package names the place where it was built.
    """
    root = out.resolve() / ".root"
    shutil.rmtree(root, ignore_errors=True)  # of an interrupted build
    try:
        return _build_from(root, python)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _build_from(root: Path, python: str) -> Path:
    """Collect the files of the package in `root`, and build the package beside it."""
    environment = root / PREFIX.relative_to("/")
    _make_environment(environment, python)
    _copy_files(root)
    check_place(root)
    version = _run(
        str(environment / "bin" / "python"), "-c", "import station; print(station.RELEASE)"
    )
    minor = int(_run(python, "-c", "import sys; print(sys.version_info.minor)"))
    architecture = _run("dpkg", "--print-architecture")
    _write_control(root, version, architecture, minor)
    package = root.parent / f"{PACKAGE}_{version}_{architecture}.deb"
    # zstd: a tenth of the time of xz on a small board; Debian has it from release 12 on.
    _run("dpkg-deb", "--build", "--root-owner-group", "-Zzstd", str(root), str(package))
    return package


def _make_environment(environment: Path, python: str) -> None:
    """The virtual environment, as if it had been made in `PREFIX`."""
    _run(python, "-m", "venv", str(environment))
    pip = (str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q")
    _run(*pip, "install", "--require-hashes", "--requirement", str(LOCK))
    _install_sources(pip, environment.parent / "sources")
    _run(*pip, "uninstall", "--yes", *BUILD_ONLY)
    for script in (environment / "bin").iterdir():
        if not script.name.startswith(KEPT_PROGRAMS):
            script.unlink()
    for record in environment.rglob("direct_url.json"):
        record.unlink()  # names the directory of the sources
    for script in _text_files(environment / "bin", environment / "pyvenv.cfg"):
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace(str(environment), str(PREFIX)), encoding="utf-8")
    for cache in environment.rglob("__pycache__"):
        shutil.rmtree(cache)
    compile_all = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    _run(python, *compile_all, "-s", str(environment), "-p", str(PREFIX), str(environment / "lib"))


def _install_sources(pip: tuple[str, ...], copy: Path) -> None:
    """Install a copy: setuptools leaves files in its directory, and takes old ones from there."""
    copy.mkdir()
    for name in SOURCES:
        source = SOURCE / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, copy / name)
    _run(*pip, "install", "--no-deps", str(copy))
    shutil.rmtree(copy)


def _text_files(*places: Path) -> Iterator[Path]:
    """Files in the places that are text, without links."""
    for place in places:
        for path in place.iterdir() if place.is_dir() else (place,):
            if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()[:1000]:
                yield path


def check_place(root: Path) -> None:
    """Check that no file in `root` names `root`.

    Raises:
        BuildPlaceFound: a file does; a program of the package would not start elsewhere.
    """
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and os.fsencode(root) in path.read_bytes():
            raise BuildPlaceFound(f"{path} names the place where it was built")


def _copy_files(root: Path) -> None:
    prefix = root / PREFIX.relative_to("/")
    for program in PROGRAMS:
        _copy(FILES / "debian" / program, prefix / "libexec" / program, 0o755)
    _copy(FILES / "debian" / PACKAGE, root / "usr" / "bin" / PACKAGE, 0o755)
    _copy(SOURCE / "station" / "README.md", prefix / "share" / "doc" / "station.md", 0o644)
    _copy(SOURCE / "drivers" / "README.md", prefix / "share" / "doc" / "drivers.md", 0o644)
    _copy(SOURCE / "LICENSE", root / "usr" / "share" / "doc" / PACKAGE / "copyright", 0o644)
    _copy(FILES / "60-ocpp-station.rules", prefix / "share" / "60-ocpp-station.rules", 0o644)
    _copy(FILES / "station.toml", root / "etc" / PACKAGE / "station.toml", 0o640)
    for unit in FILES.glob("*.service"):
        _copy(unit, root / UNITS / unit.name, 0o644)


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _write_control(root: Path, version: str, architecture: str, minor: int) -> None:
    control = root / "DEBIAN"
    control.mkdir(mode=0o755)
    size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())
    text = CONTROL.format(
        package=PACKAGE,
        version=version,
        architecture=architecture,
        kib=size // 1024,
        python=f"3.{minor}",
        next_python=f"3.{minor + 1}",
    )
    (control / "control").write_text(text, encoding="utf-8")
    (control / "conffiles").write_text(f"/etc/{PACKAGE}/station.toml\n", encoding="utf-8")
    _copy(FILES / "debian" / "templates", control / "templates", 0o644)
    for name in MAINTAINER_SCRIPTS:
        _copy(FILES / "debian" / name, control / name, 0o755)


def _run(*command: str) -> str:
    """Run a command; returns its output, without the newline at its end."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
