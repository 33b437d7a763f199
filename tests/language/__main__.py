"""`python -m tests.language [PATH...]`: the places of the counted words, and the counts."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.language import GROUPS, ROOT, count_words, text_files

if __name__ == "__main__":
    count = count_words(*text_files(*(Path(name).resolve() for name in sys.argv[1:])))
    for hit in count.hits:
        print(f"{hit.path.relative_to(ROOT)}:{hit.line}: {hit.word}")
    shares = ", ".join(f"{group} {count.per_thousand(group):.2f}" for group in GROUPS)
    print(f"{count.words} words; per 1,000: {shares}")
