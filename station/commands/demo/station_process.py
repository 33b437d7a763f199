"""The real station that the demo runs as a separate process: start, requests, orderly stop."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from station.commands.shared.control_client import (
    DEVICES_SOCKET,
    STATION_SOCKET,
    StationUnreachable,
    check_socket_path,
    find_listener_pid,
    send_request,
)
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import JOURNAL_FILE
from station.config.data_directory import prepare_data_directory

IDENTITY: Final = "DEMO-1"
READY_TIMEOUT_S: Final = 40.0  # imports on a loaded machine included
STOP_TIMEOUT_S: Final = 12.0  # SIGTERM promises 10
POLL_INTERVAL_S: Final = 0.05
SAMPLE_INTERVAL_S: Final = 5  # between two MeterValues sent to the CSMS

# Actual values before the first start: frequent samples, so that the demo has something to show.
VARIABLES: Final = (
    ("SampledDataCtrlr", "TxUpdatedInterval", str(SAMPLE_INTERVAL_S)),
    (
        "SampledDataCtrlr",
        "TxUpdatedMeasurands",
        "Energy.Active.Import.Register,Power.Active.Import,SoC",
    ),
)


class DemoStation:
    """`station run` in a directory, with emulated devices."""

    def __init__(self, directory: Path) -> None:
        """Prepare the directory.

        Raises:
            click.UsageError: the paths of its sockets would be too long.
            DataDirectoryError: it cannot be made or written.
            CommandFailed: a station is running in it.
        """
        self.directory = directory
        self.journal = directory / JOURNAL_FILE
        self.log = directory / "station.log"
        self.config = directory / "station.toml"
        self.password = secrets.token_hex(16)
        self._process: trio.Process | None = None
        check_socket_path(directory / STATION_SOCKET)
        check_socket_path(directory / DEVICES_SOCKET)
        prepare_data_directory(directory)
        pid = find_listener_pid(directory / STATION_SOCKET)
        if pid is not None:
            raise CommandFailed(
                f"{directory}: a station is already running there, process {pid}. "
                f"End it with `kill {pid}`, or give another --data."
            )

    # --- Running ---------------------------------------------------------------------------------

    async def start(self, csms_url: str) -> None:
        """Write its station.toml, start it and wait until it answers.

        Raises:
            CommandFailed: it ended, or did not answer in time.
        """
        self._write_config(csms_url)
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "station", "run", "--config", str(self.config),
                 "--until-stdin-closes"],
                stdin=subprocess.PIPE,  # closes when the demo ends, even when it is killed
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which ends the station itself
            )  # fmt: skip
        await self.wait_until(self._is_answering, READY_TIMEOUT_S, "answered")

    async def wait_until(
        self, condition: Callable[[], Awaitable[object]], seconds: float, outcome: str
    ) -> None:
        """Wait until the condition is true.

        Raises:
            CommandFailed: the station ended, or the time is over.
        """
        with trio.move_on_after(seconds):
            while not await condition():
                self._require_running()
                await trio.sleep(POLL_INTERVAL_S)
            return
        raise CommandFailed(
            f"demo: the station has not {outcome} within {seconds:.0f} s. See {self.log}."
        )

    async def stop(self) -> int:
        """Send SIGTERM, then SIGKILL after a timeout; returns the exit code."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.terminate()
        with trio.move_on_after(STOP_TIMEOUT_S, shield=True):
            await process.wait()
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            return await process.wait()
        raise AssertionError("a shielded wait ends with the process")

    async def wait_for_exit(self) -> int:
        """Wait until it ends by itself; returns the exit code."""
        assert self._process is not None, "never started"
        return await self._process.wait()

    def _require_running(self) -> None:
        if self._process is not None and (code := self._process.poll()) is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise CommandFailed(
                f"demo: the station ended with exit code {code}: {lines[0]}. See {self.log}."
            )

    async def _is_answering(self) -> bool:
        return await trio.to_thread.run_sync(
            _station_answers, self.directory / STATION_SOCKET, abandon_on_cancel=True
        )

    # --- Requests --------------------------------------------------------------------------------

    async def send_operation(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Send one operation over its control socket."""
        return await _send_request(self.directory / STATION_SOCKET, operation, **arguments)

    async def read_emulated_evse(self, evse_id: int) -> dict[str, Any]:
        """The actual state of an EVSE, from the emulated devices."""
        evses = (await _send_request(self.directory / DEVICES_SOCKET, "world"))["evses"]
        return next(dict(evse) for evse in evses if evse["evse_id"] == evse_id)

    # --- Its station.toml ------------------------------------------------------------------------

    def _write_config(self, csms_url: str) -> None:
        """Write station.toml, readable by its owner only: it has a password."""
        lines = [
            "# Written by `station demo` at every start; changes are lost.",
            "[station]",
            f"identity = {_toml_string(IDENTITY)}",
            'profile = "development"',
            'data = "."',
            "[csms]",
            f"url = {_toml_string(csms_url)}",
            f"password = {_toml_string(self.password)}",
        ]
        for component, variable, value in VARIABLES:
            lines += [
                "[[variable]]",
                f"component = {_toml_string(component)}",
                f"variable = {_toml_string(variable)}",
                f"value = {_toml_string(value)}",
            ]
        file = os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as config:
            config.write("\n".join(lines) + "\n")


def _toml_string(text: str) -> str:
    return json.dumps(text)  # a JSON string is a TOML string


def _station_answers(path: Path) -> bool:
    """Whether a station answers on the socket."""
    try:
        send_request(path, "state")
    except StationUnreachable:
        return False
    return True


async def _send_request(path: Path, operation: str, **arguments: Any) -> dict[str, Any]:
    return await trio.to_thread.run_sync(
        partial(send_request, path, operation, **arguments), abandon_on_cancel=True
    )
