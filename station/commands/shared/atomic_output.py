"""How does what was broken off never pass for the whole?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from station.commands.shared.exits import UsageError


@contextmanager
def staging_directory(directory: Path, name: str, *, publish_last: str) -> Iterator[Path]:
    """A place to make files in; they come to `directory` when all are made, and else not at all.

    Args:
        directory: where they are meant to be; made if it is not there.
        name: of the place, within the directory. All that is left of a program that was killed.
        last: how the names begin of what vouches for the others, and so comes after them.

    Raises:
        Misused: the place is there already.
        OSError: the files cannot be there.
    """
    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    aside = directory / name
    try:
        aside.mkdir()
    except FileExistsError:
        raise UsageError(
            f"{aside}: is there, of an export that was killed or still goes on. Remove it first."
        ) from None
    try:
        yield aside
        for one in sorted(
            aside.iterdir(), key=lambda one: (one.name.startswith(publish_last), one.name)
        ):
            one.replace(directory / one.name)
    finally:
        shutil.rmtree(aside)
        if new and not any(directory.iterdir()):
            directory.rmdir()
