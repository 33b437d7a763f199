"""Programs that do the same with other packages, for comparison.

Each module is a program that imports nothing of the station; `events` runs in an environment that
has only its package, and prints one number.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final, NamedTuple

PROGRAMS: Final = Path(__file__).parent


class Peer(NamedTuple):
    """A Python interpreter with the package to compare with."""

    python: Path

    def run_program(self, program: str, *arguments: object) -> float:
        """Run one of these programs and return the number it prints.

        Raises:
            CalledProcessError: it failed.
        """
        completed = subprocess.run(
            [self.python, "-W", "ignore", PROGRAMS / program, *map(str, arguments)],
            check=True,
            capture_output=True,
            text=True,
        )
        return float(completed.stdout)
