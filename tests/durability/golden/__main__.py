"""Writes a golden body, and enumerations, for every kind and version that has none."""

from __future__ import annotations

from tests.durability.golden import ENUMERATIONS, missing_bodies, missing_enumerations

for path, body in list(missing_bodies()):
    path.write_text(body + "\n", encoding="utf-8")
    print(path.name)
lines = list(missing_enumerations())
with ENUMERATIONS.open("a", encoding="utf-8") as file:
    file.writelines(f"{line}\n" for line in lines)
for line in lines:
    print(line)
