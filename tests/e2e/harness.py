"""The station as a process, for tests: start, kill, control socket, journal, log."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.process_guard import guard_group, release_group

IDENTITY = "CS001"
PASSWORD = "correct-horse-battery-staple"  # 16 to 40 characters: SecurityCtrlr.BasicAuthPassword
POLL_S = 0.02
READY_TIMEOUT_S = 60  # a loaded machine of two cores, imports included
STOP_TIMEOUT_S = 15  # SIGTERM promises 10
LOG_TAIL_LINES = 60

T = TypeVar("T")


class ControlRefused(Exception):
    """A control socket answered `"ok": false`."""


@dataclass(frozen=True)
class Variable:
    """One `[[variable]]` of `station.toml`."""

    component: str
    variable: str
    value: str
    instance: str | None = None
    variable_instance: str | None = None
    evse: int | None = None


@dataclass(frozen=True)
class JournalRow:
    """One entry as stored in the journal's file."""

    seq: int
    at: str
    uptime_ms: int
    kind: str
    version: int
    cause: int | None
    body: dict[str, Any]
    digest: bytes


def wait_until(condition: Callable[[], T], timeout_s: float, description: str) -> T:
    """Poll until the condition returns a true value, and return that.

    Raises:
        TimeoutError: not in time; names `description`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {description} within {timeout_s} s")
        time.sleep(POLL_S)


def request_control(
    path: Path, operation: str, timeout_s: float = 10, **arguments: Any
) -> dict[str, Any]:
    """One request over a control socket: one line of JSON sent, one line received.

    Numbers are returned as int or Decimal.

    Raises:
        ControlRefused: the answer is an error.
        OSError: no process listens there, or it closed the connection.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_s)
        line.connect(str(path))
        line.sendall(json.dumps({"op": operation, **arguments}).encode() + b"\n")
        answer = line.makefile("rb").readline()
    if not answer:
        raise ConnectionResetError(f"{path}: closed without an answer to {operation}")
    reply: dict[str, Any] = json.loads(answer, parse_float=Decimal)
    if reply["ok"] is not True:
        raise ControlRefused(f"{operation}: {reply['error']}")
    return reply


class Process:
    """A `station` command that runs until it is stopped, with its output in a log file."""

    PROGRAM: tuple[str, ...] = (sys.executable, "-m", "station")

    def __init__(self, *arguments: str, log: Path) -> None:
        self.arguments = arguments
        self.log_path = log
        self._popen: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def is_alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        assert self._popen is not None, "never started"
        return self._popen.pid

    def mapped_files(self) -> set[str]:
        """The files in its memory, among them the shared libraries it has loaded."""
        lines = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        return {fields[5] for line in lines if len(fields := line.split(maxsplit=5)) == 6}

    def spawn(self) -> None:
        assert not self.is_alive, "already runs"
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [*self.PROGRAM, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        guard_group(self._popen.pid)
        self._started.append(self._popen)

    def kill(self) -> None:
        """kill -9 of this process only, not of processes it started."""
        assert self._popen is not None
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> int:
        """Send SIGTERM; returns the exit code."""
        assert self._popen is not None
        self._popen.terminate()
        return self._popen.wait(STOP_TIMEOUT_S)

    def wait(self, timeout_s: float) -> int:
        """Wait for it to end on its own; returns the exit code."""
        assert self._popen is not None
        return self._popen.wait(timeout_s)

    def close(self) -> None:
        """Kill it and all processes it started, of every start."""
        for popen in self._started:
            try:
                os.killpg(popen.pid, signal.SIGKILL)  # each start has a session of its own
            except ProcessLookupError:
                continue  # the whole group has ended already
            finally:
                popen.wait()
                release_group(popen.pid)

    def read_log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self) -> str:
        return "\n".join(self.read_log().splitlines()[-LOG_TAIL_LINES:])


class EmulatedDevices(Process):
    """`station emulate`: the EV stays plugged in while the station is killed."""

    def __init__(self, data: Path, evse_count: int = 2) -> None:
        data.mkdir(parents=True, exist_ok=True)
        arguments = ("--data", str(data), "--evses", str(evse_count))
        super().__init__("emulate", *arguments, log=data.parent / "emulate.log")
        self.socket = data / "emulator.sock"

    def start(self) -> None:
        self.spawn()
        wait_until(
            lambda: _is_serving(self, self.socket, "world"), READY_TIMEOUT_S, "emulated devices"
        )

    def request_operation(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return request_control(self.socket, operation, **arguments)


class StationProcess(Process):
    """`station run` in a directory of its own, with its configuration, data and log.

    Args:
        directory: a short path, because socket paths are limited to 107 bytes.
        csms_url: without the identity.
        variables: Actual values before the first start.
        extra_toml: appended to `station.toml` unchanged.
    """

    def __init__(
        self,
        directory: Path,
        csms_url: str,
        *,
        variables: Sequence[Variable] = (),
        profile: str = "development",
        security_profile: int = 1,
        ca_file: Path | None = None,
        extra_toml: str = "",
    ) -> None:
        self.config = directory / "station.toml"
        self.data = directory / "data"
        super().__init__("run", "--config", str(self.config), log=directory / "station.log")
        self.config.write_text(
            _render_toml(
                ("[station]", {"identity": IDENTITY, "profile": profile, "data": str(self.data)}),
                (
                    "[csms]",
                    {
                        "url": csms_url,
                        "security_profile": security_profile,
                        "password": PASSWORD,
                        "ca_file": None if ca_file is None else str(ca_file),
                    },
                ),
                *(("[[variable]]", vars(variable)) for variable in variables),
            )
            + extra_toml
        )

    @property
    def journal(self) -> Path:
        return self.data / "journal.db"

    def start(self) -> None:
        """Start it and wait until it answers on its control socket."""
        self.spawn()
        wait_until(
            lambda: _is_serving(self, self.data / "control.sock", "state"),
            READY_TIMEOUT_S,
            "station",
        )

    def restart(self) -> None:
        """Start it again after it ended."""
        wait_until(lambda: not self.is_alive, STOP_TIMEOUT_S, "end of the station")
        self.start()

    def request_operation(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One operation on the station's control socket."""
        return request_control(self.data / "control.sock", operation, **arguments)

    def read_state(self) -> dict[str, Any]:
        return self.request_operation("state")

    def read_evse(self, evse_id: int) -> dict[str, Any]:
        """One EVSE in the answer to `state`."""
        [evse] = [evse for evse in self.read_state()["evses"] if evse["evse_id"] == evse_id]
        return dict(evse)

    def read_emulated_evse(self, evse_id: int) -> dict[str, Any]:
        """One EVSE of the emulated hardware, whatever the station reports."""
        evses = request_control(self.data / "emulator.sock", "world")["evses"]
        [evse] = [evse for evse in evses if evse["evse_id"] == evse_id]
        return dict(evse)

    def emulated_meter_wh(self, evse_id: int) -> Decimal:
        """The register of the emulated meter, in whole Wh as the meter reports it."""
        return Decimal(int(Decimal(self.read_emulated_evse(evse_id)["energy_wh"])))

    def read_entries(self, kind: str | None = None) -> list[JournalRow]:
        """The journal's entries in order, read while the station writes."""
        return list(read_rows(self.journal, kind))

    def run_verb(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run another `station` command to its end."""
        return run_command(*arguments, timeout_s=timeout_s)


def run_command(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a `station` command to its end; never raises for its exit code."""
    return subprocess.run(
        [*Process.PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def read_rows(journal: Path, kind: str | None = None) -> Iterator[JournalRow]:
    """Entries of a journal file in order, all or those of one kind."""
    columns = "seq, at, uptime_ms, kind, version, cause, body, digest"
    where = "" if kind is None else "WHERE kind = ?"
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        query = f"SELECT {columns} FROM entry {where} ORDER BY seq"
        for row in db.execute(query, () if kind is None else (kind,)):
            seq, at, uptime_ms, kind_, version, cause, text, digest = row
            body = json.loads(text, parse_float=Decimal)
            yield JournalRow(seq, at, uptime_ms, kind_, version, cause, body, digest)


def _is_serving(process: Process, path: Path, operation: str) -> bool:
    """Whether the process answers on its socket; AssertionError if it has ended."""
    if not process.is_alive:
        raise AssertionError(f"{process.arguments} ended at its start:\n{process.log_tail()}")
    try:
        request_control(path, operation)
    except OSError:
        return False
    return True


def _render_toml(*tables: tuple[str, dict[str, Any]]) -> str:
    """TOML of tables with plain values; None is omitted. JSON strings are valid TOML."""
    return "\n".join(
        "\n".join([header, *(f"{k} = {json.dumps(v)}" for k, v in keys.items() if v is not None)])
        + "\n"
        for header, keys in tables
    )
