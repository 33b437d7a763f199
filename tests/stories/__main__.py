"""Write every transcript anew."""

from __future__ import annotations

from tests.stories import STORIES, file_of, transcript

for name in STORIES:
    file_of(name).write_text(transcript(name), encoding="utf-8")
    print(file_of(name).name)
