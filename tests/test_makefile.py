"""`make` with a Python that is too old, or a failing installation: one line, no broken `.venv`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A Python that reports another version, and makes environments with nothing in them. It and
# their pip end with PIP_EXIT_CODE.
FAKE_PYTHON = f"""#!/bin/sh
if [ "$1" = -c ]; then
    exec {sys.executable} -c "import sys; sys.version_info = (VERSION, 1); $2"
fi
mkdir -p "$3/bin"
printf '#!/bin/sh\\nexit PIP_EXIT_CODE\\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
exit PIP_EXIT_CODE
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make` needs to install the station."""
    for name in ("Makefile", "requirements.lock", "requirements-run.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(
    checkout: Path, target: str, version: str = "3, 11", pip_exit_code: int = 0
) -> subprocess.CompletedProcess[str]:
    python = checkout / "fake-python"
    text = FAKE_PYTHON.replace("VERSION", version).replace("PIP_EXIT_CODE", str(pip_exit_code))
    python.write_text(text)
    python.chmod(0o755)
    return subprocess.run(
        ["make", "--silent", target, f"PYTHON={python}"],
        cwd=checkout,
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS"))
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("version", ["3, 9", "3, 10"])
@pytest.mark.parametrize("target", ["demo", "test", "goldens"])
def test_an_old_python_is_refused_in_one_line(checkout: Path, target: str, version: str) -> None:
    result = make(checkout, target, version)
    assert result.returncode == 2
    refusal, end_of_make = result.stderr.splitlines()
    assert f"is Python {version.replace(', ', '.')}, the station needs 3.11 or newer" in refusal
    assert refusal.endswith(f"make PYTHON=python3.11 {target}")
    assert end_of_make.startswith("make: ***")
    assert not (checkout / ".venv").exists()
    assert not (checkout / ".goldens").exists()


def test_a_failed_installation_leaves_no_venv(checkout: Path) -> None:
    assert make(checkout, ".venv/.installed", pip_exit_code=1).returncode == 2
    assert not (checkout / ".venv").exists()


def test_the_demo_installs_only_what_running_needs(checkout: Path) -> None:
    assert make(checkout, ".venv/.run-installed").returncode == 0
    assert not (checkout / ".venv" / ".installed").exists()


def test_an_incomplete_venv_is_made_again(checkout: Path) -> None:
    """As an older release, or an interrupted make, leaves it."""
    (checkout / ".venv" / "lib" / "python3.9").mkdir(parents=True)
    assert make(checkout, ".venv/.installed").returncode == 0
    assert not (checkout / ".venv" / "lib").exists()


def test_a_failed_update_keeps_the_installation(checkout: Path) -> None:
    assert make(checkout, ".venv/.installed").returncode == 0
    (checkout / ".venv" / "kept").touch()
    os.utime(checkout / ".venv" / ".run-installed", (0, 0))  # older than the lock file
    assert make(checkout, ".venv/.installed", pip_exit_code=1).returncode == 2
    assert (checkout / ".venv" / "kept").exists()
