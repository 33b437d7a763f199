"""How a command fails: `CommandFailed` for exit code 1, `click.UsageError` for exit code 2.

`station.cli` prints either as one line on stderr.
"""

from __future__ import annotations

import os
import sys

import click


class CommandFailed(click.ClickException):
    """The answer is no: one line with the thing, what happened and what to do."""

    exit_code = 1


def discard_stdout() -> None:
    """Send stdout to /dev/null after its reader has closed it.

    Otherwise the interpreter fails at its exit when it flushes the buffered rest.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
