"""Simulated unreadable sectors, by a preloaded library (`bad_sectors.c`).

The library overrides read, pread, pwrite and mmap, so that reads by SQLite, by Python and through
memory mappings fail. It is effective only in processes started with the environment of
`prepare_environment`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_suffix(".c")
LIST_ENV_VAR: Final = "BAD_SECTORS"  # environment variable with the path of the list
SECTOR_BYTES: Final = 4096


def is_available() -> bool:
    """Whether there is a C compiler, and a system that supports LD_PRELOAD."""
    return shutil.which("cc") is not None and os.uname().sysname == "Linux"


def prepare_environment(directory: Path) -> dict[str, str]:
    """Build the library and an empty list in `directory`; returns the environment for processes."""
    library, sector_list = directory / "bad_sectors.so", directory / "bad_sectors"
    command = "cc -O1 -Wall -Werror -shared -fPIC -ldl -o"
    subprocess.run([*command.split(), library, SOURCE], check=True)
    sector_list.touch()
    return {"LD_PRELOAD": str(library), LIST_ENV_VAR: str(sector_list)}


def mark_unreadable(file: Path, *numbers: int) -> None:
    """Make these sectors of a file (numbered from 1) unreadable until they are written.

    Applies to processes with the environment of `prepare_environment`; this one needs at least
    the variable with the list.
    """
    inode = file.stat().st_ino
    with Path(os.environ[LIST_ENV_VAR]).open("a") as sector_list:
        for number in numbers:
            first = (number - 1) * SECTOR_BYTES
            sector_list.write(f"{inode:020} {first} {first + SECTOR_BYTES}\n")


def clear_unreadable() -> None:
    """Make every sector readable again."""
    Path(os.environ[LIST_ENV_VAR]).write_text("")
