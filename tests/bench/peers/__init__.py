"""Who does the same with other means?

Each module here is a program of its own that imports nothing of the station; `events` runs in an
environment that has only the peer, and prints one number.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final, NamedTuple

PROGRAMS: Final = Path(__file__).parent


class Peer(NamedTuple):
    """A Python that has the peer."""

    python: Path

    def run_program(self, program: str, *arguments: object) -> float:
        """Run one of these programs; what it prints.

        Raises:
            CalledProcessError: it failed.
        """
        told = subprocess.run(
            [self.python, "-W", "ignore", PROGRAMS / program, *map(str, arguments)],
            check=True,
            capture_output=True,
            text=True,
        )
        return float(told.stdout)
