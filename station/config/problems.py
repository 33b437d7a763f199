"""Every problem of a station.toml, for `station check`.

The checks are those of a start (`build_config`), which ends at the first problem. Here they go on
without the value that is wrong. A problem that then follows from a key already reported is left
out: without a usable `password_file`, that no password is given is no problem of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from station.config.file_tables import read_usable_tables
from station.config.station_toml import Config, ConfigError, build_config, read_toml
from station.profiles.toml_tables import names_any


def find_problems(path: Path) -> tuple[list[str], Config | None]:
    """Every problem of a station.toml, one line each, where `load_config` stops at the first.

    The keys of drivers are not checked: see `station.config.hardware.find_hardware_problems`.

    Returns:
        The problems; and the file with its wrong parts left out, for further checks. None: it
        cannot be read at all.
    """
    try:
        raw = read_toml(path)
    except ConfigError as failure:
        return [str(failure)], None
    problems = _ProblemList()
    tables = read_usable_tables(raw, problems.add, problems.leave_out)
    config = build_config(tables, path.parent, problems.add_unless_known)
    lines = sorted(problems.lines, key=lambda problem: _table_position(problem, list(raw)))
    return [f"{path.name}: {problem}" for problem in lines], config


def _table_position(problem: str, tables: list[str]) -> int:
    """The position of the table of a problem in the file; of a missing one, before all."""
    name = re.match(r"\[+(\w+)|(\S+)", problem)
    table = name and (name[1] or name[2])
    return tables.index(table) if table in tables else -1


class _ProblemList:
    """Problems in order, each once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._left_out: list[tuple[str, Collection[str]]] = []

    def add(self, problem: str) -> None:
        if problem not in self.lines:
            self.lines.append(problem)

    def leave_out(self, place: str, keys: Collection[str]) -> None:
        """Keys at a place are reported, and have no value of the file; no keys: all of them."""
        self._left_out.append((place, keys))

    def add_unless_known(self, problem: str) -> None:
        """Add a problem that is not only of keys that are left out."""
        for place, keys in self._left_out:
            if problem.startswith(place) and (not keys or names_any(problem, keys)):
                return
        self.add(problem)
