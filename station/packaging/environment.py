"""The environment of a clone, which `make` puts into .venv. Needs the standard library only.

`python3 -m station.packaging.environment .venv` installs what requirements-run.lock pins, in a
quarter of the time of `venv`, `pip install` and `pip install --editable`: pip runs from the wheel
that Python brings instead of being installed first, nothing is compiled before it is imported, the
lock is complete so that nothing is resolved, and the clone is linked instead of being built.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[2]
LOCK: Final = SOURCE / "requirements-run.lock"
LINK: Final = "ocpp_station.pth"  # in site-packages: puts the clone on the path of modules
PIP_OPTIONS: Final = ("--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps")
# The first line of a program must not have spaces or be long; the path of the clone may.
PROGRAM: Final = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys
from station.cli import main
sys.exit(main())
"""


def main() -> int:
    """Make the environment that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the environment of a clone.")
    parser.add_argument("directory", type=Path, help="of the environment, such as .venv")
    if find_spec("ensurepip") is None:
        print(f"{sys.executable} has no pip. On Debian: apt install python3-venv", file=sys.stderr)
        return 1
    try:
        make_environment(parser.parse_args().directory.absolute(), LOCK)
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


def make_environment(directory: Path, lock: Path) -> None:
    """Make or update an environment with all that a lock file pins, and the command `station`.

    Raises:
        subprocess.CalledProcessError: a program failed; it has printed why.
    """
    venv.EnvBuilder(symlinks=os.name == "posix").create(directory)
    python = directory / "bin" / "python"
    with _pip_directory(directory) as pip:
        subprocess.run(
            (python, "-m", "pip", "install", *PIP_OPTIONS, "--require-hashes", "-r", lock),
            check=True,
            env={**os.environ, **({"PYTHONPATH": str(pip)} if pip else {})},
        )
    link_clone(directory)


@contextmanager
def _pip_directory(directory: Path) -> Iterator[Path | None]:
    """A directory with pip; None: pip is installed in the environment."""
    wheel = find_pip_wheel()
    if wheel is None:
        venv_command = (directory / "bin" / "python", "-m", "ensurepip", "--upgrade")
        subprocess.run(venv_command, check=True, stdout=subprocess.DEVNULL)
        yield None
        return
    with tempfile.TemporaryDirectory() as unpacked, zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
        yield Path(unpacked)


def find_pip_wheel() -> Path | None:
    """The wheel of pip that comes with this Python, or with Debian's python3-venv."""
    spec = find_spec("ensurepip")
    own = [Path(place) / "_bundled" for place in (spec and spec.submodule_search_locations) or ()]
    shared: str | None = sysconfig.get_config_var("WHEEL_PKG_DIR")
    places = [*own, Path(shared)] if shared else own
    return next((wheel for place in places for wheel in sorted(place.glob("pip-*.whl"))), None)


def link_clone(directory: Path) -> None:
    """Make the packages of the clone importable in an environment, and the command `station`."""
    python = directory / "bin" / "python"
    scheme = {"base": str(directory), "platbase": str(directory)}
    packages = Path(sysconfig.get_path("purelib", "posix_prefix", vars=scheme))
    (packages / LINK).write_text(f"{SOURCE}\n", encoding="utf-8")
    program = directory / "bin" / "station"
    program.write_text(PROGRAM.format(python=python), encoding="utf-8")
    program.chmod(0o755)


if __name__ == "__main__":
    raise SystemExit(main())
