"""The options --config and --data, which name a station, for commands that ask a running one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

DEFAULT_CONFIG: Final = Path("station.toml")  # used without --config and --data

CONFIG_HELP: Final = "The station's station.toml."
DATA_HELP: Final = "The station's data directory."


def station_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config and --data to a command."""
    path = click.Path(path_type=Path)
    command = click.option("--data", type=path, help=DATA_HELP)(command)
    return click.option("--config", type=path, help=CONFIG_HELP)(command)


def find_data_directory(config: Path | None, data: Path | None) -> Path:
    """The data directory of the station named by --data, --config or ./station.toml.

    Raises:
        click.UsageError: none or two are named.
        ConfigError: station.toml cannot be used.
    """
    if data is not None:
        if config is not None:
            raise click.UsageError("--config and --data both name a station. Omit one.")
        return data
    if config is None and not DEFAULT_CONFIG.is_file():
        raise click.UsageError(
            f"No station named: no {DEFAULT_CONFIG} in this directory. Give --data or --config."
        )
    from station.config.station_toml import load_config

    return load_config(config or DEFAULT_CONFIG).data_directory
