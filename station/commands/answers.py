"""How does a command say no?"""

from __future__ import annotations

import click


class No(click.ClickException):
    """The answer is no: one line that says which thing, what happened and what to do."""

    exit_code = 1


class Misused(click.ClickException):
    """The command cannot be meant so: one line that says what is wrong with it."""

    exit_code = 2
