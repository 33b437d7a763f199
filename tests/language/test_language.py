"""The counts of `tests.language` against their limits, which are lowered and never raised."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.language import FLOORS, GROUPS, HERE, PACKAGES, ROOT, count_words, package_of, text_files

LIMITS: Final = tomllib.loads((HERE / "limits.toml").read_text(encoding="utf-8"))
SLACK: Final = 0.1  # per 1,000 words: below its limit by more than this, a limit must be lowered
ONE_WORD_NAMES_MAX: Final = 0.2  # of a package's functions


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("group", GROUPS)
def test_words_of_a_group_become_rarer(package: str, group: str) -> None:
    """Lower the limit in `limits.toml` when this says so; never raise it."""
    count = count_words(*(path for path in text_files() if package_of(path) == package))
    share, limit = count.per_thousand(group), LIMITS[package][group]
    places = [f"{hit.path.relative_to(ROOT)}:{hit.line}: {hit.word}" for hit in count.hits
              if hit.group == group]  # fmt: skip
    assert share <= limit, f"{share:.2f} per 1,000 words, {limit} allowed: {places[:20]}"
    assert max(share, FLOORS[group]) >= limit - SLACK, (
        f"lower the limit of {package} {group} to {share:.2f}"
    )


def python_files() -> list[Path]:
    return [path for path in text_files() if path.suffix == ".py"]


def test_a_module_docstring_is_a_statement() -> None:
    questions = []
    for path in python_files():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if docstring.partition("\n")[0].rstrip().endswith("?"):
            questions.append(path.relative_to(ROOT).as_posix())
    assert questions == []


@pytest.mark.parametrize("package", ["station", "journal", "drivers"])
def test_most_functions_are_verb_and_object(package: str) -> None:
    names = [
        node.name
        for path in text_files(ROOT / package)
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("__")
    ]
    single = [name for name in names if "_" not in name.strip("_")]
    assert len(single) / len(names) <= ONE_WORD_NAMES_MAX
