"""The options of `station run`, read without click where they are written as services write them.

click and what it imports would stay in the memory of the station for years, 1.2 MiB.
`station.commands.run` declares the same options for click, which reads every other command line,
prints the help and explains what is wrong; a test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class RunOptions(NamedTuple):
    """The options of `station run`."""

    path: Path  # of the station.toml
    quiet: bool = False  # log warnings only
    until_stdin_closes: bool = False  # end when the parent process ends


def read_run_options(arguments: Sequence[str]) -> RunOptions | None:
    """The options of `run --config FILE [--quiet] [--until-stdin-closes]`, in any order.

    Returns:
        None: another command, or written in another way; click reads it.
    """
    if not arguments or arguments[0] != "run":
        return None
    flags = list(arguments[1:])
    try:
        index = flags.index("--config")
        path = flags[index + 1]
    except (ValueError, IndexError):
        return None
    del flags[index : index + 2]
    quiet, until_stdin_closes = "--quiet" in flags, "--until-stdin-closes" in flags
    is_plain = len(flags) == quiet + until_stdin_closes and not path.startswith("-")
    if not is_plain or Path(path).is_dir():
        return None
    return RunOptions(Path(path), quiet, until_stdin_closes)
