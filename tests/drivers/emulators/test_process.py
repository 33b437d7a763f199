"""The emulated devices as a process of their own, over real ptys and in real time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from drivers.emulators.json_lines_socket import SocketPathError
from drivers.emulators.process import AlreadyRunningError, run_emulated_station
from drivers.emulators.station import LINE_NAMES
from drivers.ports import SeccState
from tests.drivers.fixtures_charging import MiniatureStation

PROGRAM = """
import sys, trio
from pathlib import Path
from drivers.emulators.process import run_emulated_station

async def main():
    data = Path(sys.argv[1])
    with trio.open_signal_receiver(15) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_emulated_station, data / "emulated", data / "s")
            print("up", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()

trio.run(main)
"""
STATION = """
import sys, trio
from pathlib import Path
from tests.drivers.fixtures_charging import MiniatureStation

async def main():
    station = MiniatureStation(Path(sys.argv[1]) / "emulated")
    async with trio.open_nursery() as nursery:
        await nursery.start(station.run)
        station.allow_charging()
        print("up", flush=True)

trio.run(main)
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory with a short name: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="w") as directory:
        yield Path(directory)


@contextmanager
def run_program(program: str, data: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", program, str(data)], stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "up\n"
            yield started
        finally:
            started.kill()


def send_order(data: Path, op: str, **arguments: object) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(data / "s"))
        client.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
        response: dict[str, Any] = json.loads(client.makefile().readline())
        return response


def read_evse(data: Path) -> dict[str, Any]:
    evse: dict[str, Any] = send_order(data, "world")["evses"][0]
    return evse


def wait_until(data: Path, name: str, value: object, seconds: float = 20.0) -> None:
    """Wait until EVSE 1 has the value. The timeout is generous: the machine may be busy."""
    started_at = time.monotonic()
    while read_evse(data)[name] != value:
        assert time.monotonic() - started_at < seconds, read_evse(data)
        time.sleep(0.02)


async def test_a_session_over_ptys(data: Path) -> None:
    async with trio.open_nursery() as nursery:
        world = await nursery.start(run_emulated_station, data / "emulated", data / "s")
        station = MiniatureStation(data / "emulated")
        await nursery.start(station.run)
        station.allow_charging()
        await trio.sleep(0.2)
        response = await trio.to_thread.run_sync(lambda: send_order(data, "plug_in", evse_id=1))
        assert response == {"ok": True}
        plugged_at = trio.current_time()
        await station.wait_for_state(SeccState.CHARGING)
        assert trio.current_time() - plugged_at <= 3.0
        with trio.fail_after(10):
            while world.power_stages[1].current_a < 100:
                await trio.sleep(0.05)
        assert list(world.power_stages[1].violations) == []
        nursery.cancel_scope.cancel()


async def test_the_links_to_the_lines_are_removed_at_the_end(data: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(run_emulated_station, data / "emulated", data / "s")
        links = {name: data / "emulated" / f"{name}.tty" for name in LINE_NAMES}
        assert all(link.is_symlink() and link.exists() for link in links.values())
        nursery.cancel_scope.cancel()
    assert not any(link.is_symlink() for link in links.values())
    assert sorted(path.name for path in data.iterdir()) == ["emulated"]


async def test_a_directory_is_emulated_by_one_process_only(data: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(run_emulated_station, data / "emulated", data / "s")
        with pytest.raises(AlreadyRunningError, match=f"by process {os.getpid()} already"):
            await run_emulated_station(data / "emulated", data / "t")
        assert (data / "s").exists()
        nursery.cancel_scope.cancel()


async def test_no_links_remain_when_the_socket_path_is_too_long(data: Path) -> None:
    with pytest.raises(SocketPathError):
        await run_emulated_station(data / "emulated", data / ("x" * 108))
    assert not list((data / "emulated").glob("*.tty"))


def test_a_killed_station_leaves_the_ev_plugged_in_and_comes_back(data: Path) -> None:
    with run_program(PROGRAM, data):
        with run_program(STATION, data) as first:
            send_order(data, "plug_in", evse_id=1)
            wait_until(data, "secc_state", "CHARGING")
            first.send_signal(signal.SIGKILL)
            first.wait()
            wait_until(data, "current_a", 0.0)
            wait_until(data, "contactor", "open")
        soc = read_evse(data)["soc"]
        with run_program(STATION, data):
            wait_until(data, "secc_state", "CHARGING")
            deadline = time.monotonic() + 20
            while read_evse(data)["soc"] <= soc:
                assert time.monotonic() < deadline, read_evse(data)
                time.sleep(0.1)
            assert read_evse(data)["violations"] == []


def test_registers_do_not_run_backwards_when_the_emulation_is_killed(data: Path) -> None:
    with run_program(PROGRAM, data) as world, run_program(STATION, data):
        send_order(data, "plug_in", evse_id=1)
        wait_until(data, "secc_state", "CHARGING")
        time.sleep(1)
        shown = Decimal(read_evse(data)["energy_exact_wh"])
        assert shown > 1
        world.kill()
        world.wait()
    with run_program(PROGRAM, data):
        assert shown <= Decimal(read_evse(data)["energy_exact_wh"]) <= shown + 200
        assert not read_evse(data)["plugged"]


def test_registers_are_saved_exactly_on_sigterm(data: Path) -> None:
    with run_program(PROGRAM, data) as world:
        send_order(data, "meter", evse_id=1, energy_wh=1234.567)
        world.terminate()
        assert world.wait(5) == 0
    with run_program(PROGRAM, data):
        assert read_evse(data)["energy_exact_wh"] == "1234.567"
