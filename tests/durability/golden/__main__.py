"""Writes a golden body for every kind and version that has none."""

from __future__ import annotations

from tests.durability.golden import missing_bodies

for file, body in list(missing_bodies()):
    file.write_text(body + "\n", encoding="utf-8")
    print(file.name)
