"""`station emulate`: the emulated devices of a station, as a process of their own."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio

from drivers.emulators.process import run_emulated_station
from station.commands.shared.control_client import DEVICES_SOCKET, check_socket_path

EMULATOR_DIRECTORY: Final = "emulated"  # below the data directory: what the world remembers


@click.command("emulate")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The data directory of the station they belong to.",
)
@click.option(
    "--evses", type=click.IntRange(1, 2), default=2, show_default=True, help="How many there are."
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def emulate_command(data: Path, evses: int, until_stdin_closes: bool) -> None:
    """Emulate the devices of a station until SIGTERM or Ctrl-C.

    `station run` with the same data directory finds them there. A car that is plugged in stays
    so when the station is killed; orders are taken on emulator.sock too.
    """
    trio.run(_run_emulators, data, evses, until_stdin_closes)


async def _run_emulators(data: Path, evses: int, until_stdin_closes: bool) -> None:
    sock = check_socket_path(data / DEVICES_SOCKET)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(run_emulated_station, data / EMULATOR_DIRECTORY, sock, evse_count=evses)
            )
            if until_stdin_closes:
                nursery.start_soon(_cancel_on_stdin_close, nursery.cancel_scope)
            else:
                click.echo(f"{evses} EVSEs emulated; orders at {sock}.", err=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return


async def _cancel_on_stdin_close(scope: trio.CancelScope) -> None:
    """End when whoever holds the other end of our stdin ends, however that is."""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        async for _ in stdin:
            continue
    scope.cancel()
