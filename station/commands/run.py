"""`station run`: the station itself, until SIGTERM or Ctrl-C.

Without this module, `station.cli` runs the command line as services write it: see
`station.commands.shared.run_options`.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command("run")
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The station.toml.",
)
@click.option("--quiet", is_flag=True, help="Log warnings only.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def run_command(path: Path, quiet: bool, until_stdin_closes: bool) -> None:
    """Run the station that a station.toml describes, until SIGTERM or Ctrl-C."""
    from station.runtime.process import run_process

    run_process(path, quiet=quiet, until_stdin_closes=until_stdin_closes)
