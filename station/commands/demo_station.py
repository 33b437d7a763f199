"""How does the demo run a real station as a process of its own, and end it in good order?"""

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

from station.commands.answers import No
from station.commands.control import DEVICES, STATION, NobodyThere, asked, fitting
from station.commands.journals import FILE

IDENTITY: Final = "DEMO-1"
READY_S: Final = 40.0  # imports on a loaded machine included
END_S: Final = 12.0  # SIGTERM promises 10
POLL_S: Final = 0.05
SAMPLE_S: Final = 2  # between two readings told to the CSMS

# Actual values before the first start, so that a person sees something happen.
VARIABLES: Final = (
    ("SampledDataCtrlr", "TxUpdatedInterval", str(SAMPLE_S)),
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
            Misused: sockets in it would have too long a path.
            No: it cannot be made, or a station runs in it already.
        """
        self.directory = directory
        self.journal = directory / FILE
        self.log = directory / "station.log"
        self.config = directory / "station.toml"
        self.password = secrets.token_hex(16)
        self._process: trio.Process | None = None
        fitting(directory / STATION)
        fitting(directory / DEVICES)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise No(f"{directory}: {error.strerror}. Give another --data.") from error
        if _answers(directory / STATION):
            raise No(f"{directory}: a station runs there already. End it, or give another --data.")

    # --- Running ---------------------------------------------------------------------------------

    async def start(self, csms_url: str) -> None:
        """Write its station.toml, start it, and wait until it answers.

        Raises:
            No: it ended instead, or said nothing.
        """
        self._write_config(csms_url)
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "station", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which ends the station itself
            )
        await self.until(self._answers, READY_S, "answered")

    async def until(
        self, condition: Callable[[], Awaitable[object]], seconds: float, what: str
    ) -> None:
        """Wait for something the station does.

        Raises:
            No: it ended, or did not do it in time.
        """
        with trio.move_on_after(seconds):
            while not await condition():
                self._alive()
                await trio.sleep(POLL_S)
            return
        raise No(f"demo: the station never {what} within {seconds:.0f} s. See {self.log}.")

    async def end(self) -> int:
        """SIGTERM, and kill if that does not help; the exit code."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.terminate()
        with trio.move_on_after(END_S, shield=True):
            await process.wait()
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            return await process.wait()
        raise AssertionError("a shielded wait ends with the process")

    async def ended(self) -> int:
        """Wait for its end, which nobody asked for; the exit code."""
        assert self._process is not None, "never started"
        return await self._process.wait()

    def _alive(self) -> None:
        if self._process is not None and (code := self._process.poll()) is not None:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise No(f"demo: the station ended with exit code {code}: {last[0]}. See {self.log}.")

    async def _answers(self) -> bool:
        return await trio.to_thread.run_sync(
            _answers, self.directory / STATION, abandon_on_cancel=True
        )

    # --- Asking ----------------------------------------------------------------------------------

    async def does(self, op: str, **arguments: Any) -> dict[str, Any]:
        """One operation of its control socket."""
        return await _asked(self.directory / STATION, op, **arguments)

    async def world(self, evse_id: int) -> dict[str, Any]:
        """What is really so at an EVSE, by the emulated world itself."""
        evses = (await _asked(self.directory / DEVICES, "world"))["evses"]
        return next(dict(evse) for evse in evses if evse["evse_id"] == evse_id)

    # --- Its station.toml ------------------------------------------------------------------------

    def _write_config(self, csms_url: str) -> None:
        """For its owner's eyes only: there is a password in it."""
        lines = [
            "# Written by `station demo` at each of its starts; changes do not last.",
            "[station]",
            f"identity = {_toml(IDENTITY)}",
            'profile = "development"',
            'data = "."',
            "[csms]",
            f"url = {_toml(csms_url)}",
            f"password = {_toml(self.password)}",
        ]
        for component, variable, value in VARIABLES:
            lines += [
                "[[variable]]",
                f"component = {_toml(component)}",
                f"variable = {_toml(variable)}",
                f"value = {_toml(value)}",
            ]
        file = os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as config:
            config.write("\n".join(lines) + "\n")


def _toml(text: str) -> str:
    return json.dumps(text)  # JSON's strings are TOML's too


def _answers(path: Path) -> bool:
    """Whether a station answers there."""
    try:
        asked(path, "state")
    except NobodyThere:
        return False
    return True


async def _asked(path: Path, op: str, **arguments: Any) -> dict[str, Any]:
    return await trio.to_thread.run_sync(
        partial(asked, path, op, **arguments), abandon_on_cancel=True
    )
