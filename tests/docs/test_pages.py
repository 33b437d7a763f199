"""Links, anchors and commands of every Markdown page."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from station.cli import VERBS

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INDENTED: Final = re.compile(r"^ {4}(.*)$", re.MULTILINE)
SHOWN: Final = re.compile(r"`([^`\n]+)`")
README_LINES_MAX: Final = 220


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors that a renderer makes of the headings: lower case, words joined by hyphens."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    slugs: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        count = sum(
            re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in slugs
        )
        slugs.append(f"{slug}-{count}" if count else slug)
    return set(slugs)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        readable = file / "README.md" if file.is_dir() and anchor else file
        if not readable.exists() or (anchor and anchor not in anchors(readable)):
            broken.append(target)
    assert broken == []


def commands(page: Path) -> Iterator[str]:
    """Lines of code blocks, and code within sentences."""
    text = page.read_text(encoding="utf-8")
    for block in FENCE.findall(text):
        yield from block.splitlines()[1:-1]
    yield from INDENTED.findall(text)
    yield from SHOWN.findall(text)


def module_exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


TARGETS: Final = set(
    re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)
PROGRAMS: Final[dict[re.Pattern[str], Callable[[str], bool]]] = {
    re.compile(r"^make ([a-z][\w-]*)"): lambda name: name in TARGETS,
    re.compile(r"python3? -m ((?:station|tests|journal|drivers)[\w.]*)"): module_exists,
    re.compile(r"^station ([a-z][\w-]*)"): lambda name: name in VERBS,
    re.compile(
        r"(?<![\w/-])((?:station|tests|journal|drivers|migrations)/[\w/.-]*\w)(?![\w*…<{])"
    ): (lambda name: (ROOT / name).exists()),
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_path_on_a_page_exists(page: Path) -> None:
    missing = sorted(
        {
            f"{match.group()} ({line.strip()[:60]})"
            for line in commands(page)
            for pattern, exists in PROGRAMS.items()
            for match in pattern.finditer(line)
            if not exists(match.group(1))
        }
    )
    assert missing == []


def test_the_first_page_is_read_in_five_minutes() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES_MAX


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_has_a_placeholder_left(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"\b(?:TODO|FIXME|XXX|QUICK_TIME|DEMO_OUTPUT)\b", text)
