"""The parts of the harness that need no station."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import (
    PASSWORD,
    ControlRefused,
    Process,
    StationProcess,
    Variable,
    request_control,
    wait_until,
)


@pytest.fixture
def listener(short_directory: Path) -> Iterator[Path]:
    """A socket that answers each request with the next of its answers."""
    path = short_directory / "s"
    answers = [b'{"ok": true, "x": 1.50}\n', b'{"ok": false, "error": "no such op"}\n', b""]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            for answer in answers:
                with server.accept()[0] as line, line.makefile("rb") as asked:
                    asked.readline()
                    line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def test_a_control_request_returns_the_answer_or_raises(listener: Path) -> None:
    assert str(request_control(listener, "meter")["x"]) == "1.50"
    with pytest.raises(ControlRefused, match="fly: no such op"):
        request_control(listener, "fly")
    with pytest.raises(ConnectionResetError, match="closed without an answer to state"):
        request_control(listener, "state")


def test_the_config_has_the_arguments_of_the_test(short_directory: Path) -> None:
    station = StationProcess(
        short_directory,
        "ws://127.0.0.1:1/ocpp",
        variables=[Variable("TxCtrlr", "TxStartPoint", 'a"b')],
    )
    config = tomllib.loads(station.config.read_text())
    assert config["csms"] == {
        "url": "ws://127.0.0.1:1/ocpp",
        "security_profile": 1,
        "password": PASSWORD,
    }
    assert config["station"]["data"] == str(short_directory / "data")
    assert config["variable"] == [
        {"component": "TxCtrlr", "variable": "TxStartPoint", "value": 'a"b'}
    ]


def test_socket_paths_fit_into_the_limit_of_the_kernel(short_directory: Path) -> None:
    station = StationProcess(short_directory, "ws://127.0.0.1:1")
    assert len(bytes(station.data / "emulator.sock")) <= 107


class ParentProcess(Process):
    """A program that starts another, prints its pid and waits."""

    PROGRAM = (
        sys.executable,
        "-c",
        "import subprocess, sys, time;"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid,"
        " flush=True); time.sleep(600)",
    )


def test_kill_ends_one_process_and_close_all_it_started(short_directory: Path) -> None:
    parent = ParentProcess(log=short_directory / "log")
    parent.spawn()
    child = int(wait_until(lambda: parent.read_log().strip(), 30, "pid of the child"))
    parent.kill()
    assert not parent.is_alive
    os.kill(child, 0)  # still running
    parent.spawn()
    second = int(
        wait_until(lambda: parent.read_log().split()[1:], 30, "pid of the second child")[0]
    )
    parent.close()
    wait_until(lambda: has_ended(child) and has_ended(second), 30, "end of the children")


def has_ended(pid: int) -> bool:
    """Whether a process has ended, collected by its parent or not."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_wait_until_returns_the_value_or_names_the_condition() -> None:
    values = [0, 0, 7]
    assert wait_until(lambda: values.pop(0), 10, "number") == 7
    with pytest.raises(TimeoutError, match="no rain within"):
        wait_until(lambda: False, 0.05, "rain")


STARTS_A_PROCESS = """
import sys, time
from pathlib import Path
from tests.e2e.harness import Process

class Sleeper(Process):
    PROGRAM = (sys.executable, "-c", "import time; time.sleep(600)")

ended, running = (Sleeper(log=Path(sys.argv[1])) for _ in range(2))
ended.spawn()
ended.close()
running.spawn()
print(running.pid, flush=True)
time.sleep(600)
"""


def test_a_killed_test_run_leaves_no_station(short_directory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_A_PROCESS, str(short_directory / "log")],
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert _is_running(pid)
        run.kill()
    wait_until(lambda: not _is_running(pid), 10, "end of the process")


def _is_running(pid: int) -> bool:
    """Whether a process runs; one that ended and is not reaped yet does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
