"""`station run`: the station itself, until it is asked to end."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path

import trio

from drivers.emulators.line_socket import SocketPathError
from journal.store import JournalFailed
from station.config import Config, ConfigError, load_config
from station.runtime.devices import DevicesFailed, emulated
from station.runtime.supervise import run_station

log = logging.getLogger("station")


def run_command(path: Path) -> int:
    """Run the station that `path` (station.toml) describes.

    Returns:
        Exit code: 0 asked to end; 1 the journal or the devices failed; 2 the file or a path of it
        cannot be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        config = load_config(path)
        config.data.mkdir(parents=True, exist_ok=True)
        return _lives(config)
    except (ConfigError, SocketPathError) as error:
        log.error("%s", error)
        return 2
    except (JournalFailed, DevicesFailed, OSError) as error:
        log.error("%s", error)
        return 1


def _lives(config: Config) -> int:
    """One life after the other, until one ends without wanting another. B11.FR.03."""
    with nullcontext() if config.hardware else emulated(config.data):
        if not config.hardware:
            log.warning("emulated hardware: no [hardware] in the configuration")
        while trio.run(_one_life, config) is not None:
            pass
    return 0


async def _one_life(config: Config) -> str | None:
    try:
        return await run_station(config)
    except* (JournalFailed, SocketPathError) as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
