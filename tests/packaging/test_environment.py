"""The environment that `make` installs: without the network, with a lock file that pins nothing."""

from __future__ import annotations

import subprocess
import sysconfig
import zipfile
from pathlib import Path

import pytest

from station import RELEASE
from station.packaging import environment


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The environment, in a directory with a space in its name."""
    return tmp_path / "a clone" / ".venv"


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_clone_is_linked_into_its_environment(directory: Path, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("")
    environment.make_environment(directory, lock)
    place = run(directory / "bin" / "python", "-c", "import station; print(station.__file__)")
    assert place.strip() == str(environment.SOURCE / "station" / "__init__.py")
    packages = sysconfig.get_path("purelib")
    assert run(directory / "bin" / "station", "--version", PYTHONPATH=packages).strip() == (
        f"ocpp-station {RELEASE}"
    )


def test_the_pip_of_this_python_is_found() -> None:
    wheel = environment.find_pip_wheel()
    assert wheel is not None
    assert "pip/__main__.py" in zipfile.ZipFile(wheel).namelist()
