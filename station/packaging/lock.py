"""requirements-run.lock: what a running station needs, out of requirements.lock.

`python -m station.packaging.lock` writes it, in the environment of requirements.lock. The pins and
hashes are the same; what only tests, checks and exports to Parquet need is left out.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from itertools import chain
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

SOURCE: Final = Path(__file__).parents[2]
FULL_LOCK: Final = SOURCE / "requirements.lock"
RUN_LOCK: Final = SOURCE / "requirements-run.lock"
PROJECT: Final = "ocpp-station"
RUN_EXTRAS: Final = ("page",)
HEADING: Final = """\
# What a running station needs. Made from requirements.lock by `python -m station.packaging.lock`.
"""


def run_requirements() -> set[NormalizedName]:
    """Names of all distributions that the station and its page need, directly or not.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed.
    """
    names: set[NormalizedName] = set()
    waiting = [(PROJECT, "")]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        lines = _project_requirements() if name == PROJECT else requires(name) or ()
        for requirement in map(Requirement, lines):
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            names.add(needed)
            pairs = {(needed, wanted) for wanted in ("", *requirement.extras)} - seen
            seen |= pairs
            waiting += pairs
    return names


def _project_requirements() -> list[str]:
    """Those of pyproject.toml: an editable installation may have been made before a change."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (project["optional-dependencies"][extra] for extra in RUN_EXTRAS)
    return [*project["dependencies"], *chain.from_iterable(extras)]


def render_run_lock(full_lock: str, names: set[NormalizedName]) -> str:
    """The pins of `names` in a lock file, with their hashes.

    Raises:
        ValueError: the lock file has no pin for a name.
    """
    pins = {
        canonicalize_name(match[1]): match[0]
        for match in re.finditer(r"^([\w.-]+)==.*?(?=^\S|\Z)", full_lock, re.MULTILINE | re.DOTALL)
    }
    missing = names - set(pins)
    if missing:
        raise ValueError(f"requirements.lock has no pin for {', '.join(sorted(missing))}")
    lines = (line for name in sorted(names) for line in pins[name].splitlines())
    return HEADING + "".join(f"{line}\n" for line in lines if not line.lstrip().startswith("#"))


if __name__ == "__main__":
    RUN_LOCK.write_text(
        render_run_lock(FULL_LOCK.read_text(encoding="utf-8"), run_requirements()),
        encoding="utf-8",
    )
