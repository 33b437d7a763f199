"""How does a test have sectors that cannot be read, without a disk that has some?

A library in front of the system's own fails the reading (`bad_sectors.c`): that of SQLite, of
Python, and of what is mapped into memory. So a process has it from its start or not at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_suffix(".c")
LIST_ENV_VAR: Final = "BAD_SECTORS"  # the environment variable that names the list
SECTOR_BYTES: Final = 4096


def is_available() -> bool:
    """Whether there is a compiler, and a system that loads what is wanted first."""
    return shutil.which("cc") is not None and os.uname().sysname == "Linux"


def prepare_environment(directory: Path) -> dict[str, str]:
    """What a process needs to have bad sectors, by a library and a list made in `place`."""
    library, listed = directory / "bad_sectors.so", directory / "bad_sectors"
    command = "cc -O1 -Wall -Werror -shared -fPIC -ldl -o"
    subprocess.run([*command.split(), library, SOURCE], check=True)
    listed.touch()
    return {"LD_PRELOAD": str(library), LIST_ENV_VAR: str(listed)}


def mark_unreadable(file: Path, *numbers: int) -> None:
    """From now on these sectors of a file, from 1 on, cannot be read, until they are written.

    For the processes with the `environment`, which this one must have too, or at least the list.
    """
    inode = file.stat().st_ino
    with Path(os.environ[LIST_ENV_VAR]).open("a") as listed:
        for number in numbers:
            first = (number - 1) * SECTOR_BYTES
            listed.write(f"{inode:020} {first} {first + SECTOR_BYTES}\n")


def clear_unreadable() -> None:
    """Every sector can be read again."""
    Path(os.environ[LIST_ENV_VAR]).write_text("")
