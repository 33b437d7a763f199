"""Counts of words that make prose hard to read, per package.

`python -m tests.language [PATH...]` prints every place; `test_language.py` compares the counts with
the limits in `limits.toml`, which only go down.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent

# Words that replace a role ("the CSMS", "the caller") or a plain adverb ("again", "after").
VAGUE: Final = (
    "whoever|whomever|whom|somebody|someone|nobody|no one|anybody|anyone|everybody|anew|behind"
)
# Verbs of people. Programs send, report, store and erase.
STORYTELLING: Final = (
    "tells?|told|telling|says?|said|saying|hears?|heard|hearing|speaks?|spoke|speaking|wish|wishes|"
    "wished|stands?|stood|lies|lay|remembers?|remembered|forgets?|forgot|forgotten"
)
GROUPS: Final = {
    "vague": re.compile(rf"\b(?:{VAGUE})\b", re.IGNORECASE),
    "storytelling": re.compile(rf"\b(?:{STORYTELLING})\b", re.IGNORECASE),
}
# Limits are not set below these shares per 1,000 words: one such word in a small package is fine.
FLOORS: Final = {"vague": 0.2, "storytelling": 0.5}
WORD: Final = re.compile(r"[A-Za-z]{2,}")

PACKAGES: Final = (
    "drivers", "drivers/emulators", "journal", "station", "station/commands", "station/config",
    "station/core", "station/firmware", "station/history", "station/ocpp", "station/profiles",
    "station/runtime", "station/simulation", "station/transcript", "migrations", "tests",
)  # fmt: skip


class Hit(NamedTuple):
    """A counted word and its place."""

    path: Path
    line: int
    group: str
    word: str


class Count(NamedTuple):
    """Words of prose in a package, and how many of them belong to each group."""

    words: int
    hits: tuple[Hit, ...]

    def per_thousand(self, group: str) -> float:
        return 1000 * sum(hit.group == group for hit in self.hits) / max(self.words, 1)


def package_of(path: Path) -> str:
    """The longest entry of `PACKAGES` that contains a file; the README of the root is `station`."""
    name = path.relative_to(ROOT).as_posix()
    found = [package for package in PACKAGES if name.startswith(f"{package}/")]
    return max(found, key=len, default="station")


def text_files(*roots: Path) -> Iterator[Path]:
    """Python and Markdown files below the roots, without caches."""
    for root in roots or (ROOT,):
        files = [root] if root.is_file() else sorted(root.rglob("*"))
        for path in files:
            parts = path.relative_to(ROOT).parts
            hidden = any(part.startswith(".") for part in parts)
            if path.suffix in (".py", ".md") and not hidden and parts[:2] != ("tests", "language"):
                yield path


def prose_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Comments and strings of a Python file, or the lines of a page, with their line numbers."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield from enumerate(token.string.splitlines(), token.start[0])


def count_words(*paths: Path) -> Count:
    words, hits = 0, []
    for path in paths:
        for line, text in prose_lines(path):
            words += len(WORD.findall(text))
            hits += [
                Hit(path, line, group, match.group())
                for group, pattern in GROUPS.items()
                for match in pattern.finditer(text)
            ]
    return Count(words, tuple(hits))
