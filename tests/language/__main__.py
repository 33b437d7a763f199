"""`python -m tests.language [PATH...]` prints the places of the counted words, and the counts.

`python -m tests.language --limits` writes the present counts to `limits.toml`. Counts only go down.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from tests.language import FLOORS, GROUPS, HERE, PACKAGES, ROOT, count_words, package_of, text_files


def write_limits() -> None:
    lines = ["# Counted words per 1,000 words of prose. Never raise one.\n"]
    for package in PACKAGES:
        count = count_words(*(path for path in text_files() if package_of(path) == package))
        shares = (
            f"{group} = {max(math.ceil(count.per_thousand(group) * 100) / 100, floor):.2f}"
            for group, floor in FLOORS.items()
        )
        lines += [f'["{package}"]', *shares, ""]
    (HERE / "limits.toml").write_text("\n".join(lines), encoding="utf-8")


def print_places(*names: str) -> None:
    count = count_words(*text_files(*(Path(name).resolve() for name in names)))
    for hit in count.hits:
        print(f"{hit.path.relative_to(ROOT)}:{hit.line}: {hit.word}")
    shares = ", ".join(f"{group} {count.per_thousand(group):.2f}" for group in GROUPS)
    print(f"{count.words} words; per 1,000: {shares}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--limits"]:
        write_limits()
    else:
        print_places(*sys.argv[1:])
