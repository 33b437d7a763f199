"""The command `station` for click, with a verb for each row of a table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import click

from station import RELEASE

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class VerbGroup(click.Group):
    """A group that imports a command when it is used."""

    def __init__(self, verbs: Mapping[str, tuple[str, str]]) -> None:
        """`verbs`: verb -> where its command is as `module:name`, and what it does."""
        version = click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the release and exit.",
        )
        super().__init__(
            "station",
            params=[version],
            callback=_print_help,
            help="The software of an EV charging station, for OCPP 2.0.1.",
            invoke_without_command=True,
        )
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module, _, name = self._verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each verb does, without importing it."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, meaning) for verb, (_, meaning) in self._verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs, without importing any, then the group's own options."""
        from click.shell_completion import CompletionItem

        verbs = [
            CompletionItem(verb, help=meaning)
            for verb, (_, meaning) in self._verbs.items()
            if verb.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]


def _print_version(ctx: click.Context, _: click.Parameter, requested: bool) -> None:
    if requested:
        click.echo(f"ocpp-station {RELEASE}")
        ctx.exit()


@click.pass_context
def _print_help(ctx: click.Context) -> None:
    """Without a verb: the help, which is a usage error."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)
