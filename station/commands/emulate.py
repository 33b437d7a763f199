"""`station emulate`: the emulated devices of a station in their own process."""

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
from drivers.emulators.station import EVSES_MAX
from station.commands.shared.control_client import DEVICES_SOCKET, check_socket_path
from station.config.data_directory import prepare_data_directory, restrict_new_files

EMULATOR_DIRECTORY: Final = "emulated"  # in the data directory: state of the devices between runs


@click.command("emulate")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The data directory of the station.",
)
@click.option(
    "--evses",
    type=click.IntRange(1, EVSES_MAX),
    default=2,
    show_default=True,
    help="Number of EVSEs.",
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def emulate_command(data: Path, evses: int, until_stdin_closes: bool) -> None:
    """Emulate the devices of a station until SIGTERM or Ctrl-C.

    `station run` with the same data directory uses them. An EV stays plugged in when the station is
    killed. `station sim --devices` sends orders to them directly, over emulator.sock.
    """
    restrict_new_files()
    prepare_data_directory(data)
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
                click.echo(f"{evses} EVSEs emulated; control socket {sock}.", err=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return


async def _cancel_on_stdin_close(scope: trio.CancelScope) -> None:
    """End when the parent process ends, which closes the other end of stdin."""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        async for _ in stdin:
            continue
    scope.cancel()
