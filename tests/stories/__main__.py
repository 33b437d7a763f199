"""`python -m tests.stories`: write every transcript again."""

from __future__ import annotations

from tests.stories import STORIES, transcript_of, transcript_path

for name in STORIES:
    transcript_path(name).write_text(transcript_of(name), encoding="utf-8")
    print(transcript_path(name).name)
