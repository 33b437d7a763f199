"""`station emulate` runs as a separate process and ends in good order."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.commands.shared.control_client import StationUnreachable, send_request
from tests.commands.fixtures_journals import StationCommand

READY_S = 30  # on a loaded machine, with imports


class EmulateCommand:
    """`station emulate` in a directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.socket = data / "emulator.sock"
        self.running: list[subprocess.Popen[bytes]] = []

    def start_process(self, *more: str) -> subprocess.Popen[bytes]:
        """Start it and wait until it answers."""
        process = subprocess.Popen(
            [sys.executable, "-m", "station", "emulate", "--data", str(self.data), *more],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.running.append(process)
        deadline = time.monotonic() + READY_S
        while process.poll() is None:
            try:
                send_request(self.socket, "world")
            except StationUnreachable:
                assert time.monotonic() < deadline, "emulated devices do not answer"
                time.sleep(0.02)
            else:
                return process
        raise AssertionError(process.communicate())

    def close(self) -> None:
        for process in self.running:
            with process:  # closes its pipes and waits
                process.kill()


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[EmulateCommand]:
    emulator = EmulateCommand(tmp_path)
    yield emulator
    emulator.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_the_emulation_in_good_order(
    devices: EmulateCommand, number: signal.Signals
) -> None:
    process = devices.start_process()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert not devices.socket.exists()


def test_the_emulation_ends_when_its_stdin_closes(devices: EmulateCommand) -> None:
    process = devices.start_process("--until-stdin-closes")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=10) == 0


def test_the_state_of_the_emulation_is_in_one_directory(devices: EmulateCommand) -> None:
    devices.start_process()
    assert {path.name for path in devices.data.iterdir()} == {"emulated", "emulator.sock"}


def test_one_process_emulates_a_directory(devices: EmulateCommand) -> None:
    process = devices.start_process()
    second = subprocess.run(
        [sys.executable, "-m", "station", "emulate", "--data", str(devices.data)],
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
    )
    assert second.returncode == 1
    assert f"by process {process.pid} already" in second.stderr
    assert second.stderr.count("\n") == 1


def test_sim_reaches_them_without_a_station(
    run_station: StationCommand, devices: EmulateCommand
) -> None:
    devices.start_process()
    data = ("--data", devices.data, "--devices")
    assert run_station("sim", "plug-in", "--soc", "20", *data).exit_code == 0
    twice = run_station("sim", "plug-in", *data)
    assert (twice.exit_code, twice.stderr) == (1, "plug_in: EVSE 1 has an EV plugged in already\n")


def test_a_path_too_long_for_a_socket_names_the_limit(
    run_station: StationCommand, tmp_path: Path
) -> None:
    long = run_station("emulate", "--data", tmp_path / ("x" * 120))
    assert long.exit_code == 2
    assert "107 bytes" in long.stderr
