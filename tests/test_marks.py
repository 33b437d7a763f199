"""Every folder, file and function that `tests/conftest.py` lists exists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ALONE, IN_REAL_TIME, SLOW, TOGETHER, group_of

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("place", sorted({*SLOW, *ALONE, *IN_REAL_TIME, *TOGETHER}))
def test_a_listed_place_exists(place: str) -> None:
    path, _, name = place.partition("::")
    assert (ROOT / path).exists()
    assert (
        not name
        or f" {name}(" in (ROOT / path).read_text()
        or f"{name} =" in (ROOT / path).read_text()
    )


def test_tests_of_a_group_are_distributed_together() -> None:
    browser = "tests/page/test_browser.py"
    assert group_of(f"{browser}::test_a") == group_of(f"{browser}::test_b[1]") == browser
    power_path, protections = IN_REAL_TIME[1:]
    assert group_of(f"{power_path}::test_a") == group_of(f"{protections}::test_b")
    assert group_of("tests/test_marks.py::test_a") != group_of("tests/test_marks.py::test_b")


def test_the_workers_of_a_run_use_these_groups(tmp_path: Path) -> None:
    """A run on two workers, with the scheduler of `conftest`: each group stays in one of them."""
    for name in ("test_first", "test_second"):
        (tmp_path / f"{name}.py").write_text(
            f'import os\nimport pytest\n@pytest.mark.parametrize("n", range(20))\n'
            f'def test_worker(n):\n    open("{name}", "a")'
            '.write(os.environ["PYTEST_XDIST_WORKER"])\n'
        )
    (tmp_path / "conftest.py").write_text(
        "from tests import conftest\n"
        'conftest.TOGETHER = ("test_first.py", "test_second.py")\n'
        "pytest_xdist_make_scheduler = conftest.pytest_xdist_make_scheduler\n"
    )
    command = (sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider")
    paths = os.pathsep.join((str(ROOT), str(tmp_path)))
    subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, check=True, timeout=300
    )
    for name in ("test_first", "test_second"):
        workers = (tmp_path / name).read_text()
        assert workers in ("gw0" * 20, "gw1" * 20)


def test_a_test_that_measures_times_has_the_mark_alone() -> None:
    command = (sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider")
    file = "tests/runtime/csms/test_guarded_stream.py"
    for mark, exit_code in (("alone", 0), ("not alone", 5)):  # 5: none is left
        run = subprocess.run((*command, "-m", mark, file), cwd=ROOT, capture_output=True)
        assert run.returncode == exit_code, run.stdout
