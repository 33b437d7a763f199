"""How does a command say no?"""

from __future__ import annotations

import os
import sys

import click


class CommandFailed(click.ClickException):
    """The answer is no: one line that says which thing, what happened and what to do."""

    exit_code = 1


class UsageError(click.ClickException):
    """The command cannot be meant so: one line that says what is wrong with it."""

    exit_code = 2


def discard_stdout() -> None:
    """Write to nobody from now on: whoever read our output has gone.

    Otherwise what is still in the buffer makes the interpreter complain at its exit.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
