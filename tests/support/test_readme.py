"""The examples and names in tests/README.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.octt.cases import f_remote_control
from tests.conformance.octt.tester import Tester
from tests.support import story

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_test_of_the_core_passes() -> None:
    [example] = [block for block in BLOCKS if "tests.support.story" in block]
    names: dict[str, object] = {}
    exec(compile(example, "tests/README.md", "exec"), names)
    [test] = [value for name, value in names.items() if name.startswith("test_")]
    assert callable(test)
    test()


def test_the_conformance_case_is_the_real_one() -> None:
    [example] = [block for block in BLOCKS if "def tc_" in block]
    assert example in Path(f_remote_control.__file__).read_text("utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`tester\.([a-z_]+)\(", README))))
def test_every_method_of_the_tester_exists(name: str) -> None:
    assert callable(getattr(Tester, name))


def test_every_step_of_the_dsl_exists() -> None:
    section = README.partition("## Writing a test of the core")[2].partition("\n## ")[0]
    names = set(re.findall(r"`([a-z_]+)\(", section)) | set(re.findall(r"`([A-Z_]+)`", section))
    assert len(names) > 15
    assert [name for name in sorted(names) if not hasattr(story, name)] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.-]+)`", README))))
def test_every_path_exists(path: str) -> None:
    assert (Path(__file__).parents[2] / path).exists()
