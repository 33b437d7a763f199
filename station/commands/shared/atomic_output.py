"""Output files of a command: `-` for stdout, and several files that appear together."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


def stdout_if_dash(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """The path of `--out`; None, which means stdout, for `-`."""
    return None if path == Path("-") else path


@contextmanager
def staging_directory(directory: Path, name: str, *, publish_last: str) -> Iterator[Path]:
    """A directory to write files in; on success they move to `directory`, else they are deleted.

    Args:
        directory: where the files belong; made if absent.
        name: of the staging directory, within `directory`. It remains when the program is killed.
        publish_last: beginning of the names of files that confirm the others (manifest,
            signature); these move after the others.

    Raises:
        click.UsageError: the staging directory exists already.
        OSError: the files cannot be written there.
    """
    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    staging = directory / name
    try:
        staging.mkdir()
    except FileExistsError:
        raise click.UsageError(
            f"{staging}: exists, from an export that was killed or is still running. "
            "Remove it first."
        ) from None
    try:
        yield staging
        for file in sorted(
            staging.iterdir(), key=lambda file: (file.name.startswith(publish_last), file.name)
        ):
            file.replace(directory / file.name)
    finally:
        shutil.rmtree(staging)
        if new and not any(directory.iterdir()):
            directory.rmdir()
