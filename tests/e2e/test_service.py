"""The station as a service of systemd: ready, watchdog, restart of a process that hangs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import EmulatedDevices, StationProcess, wait_until
from tests.e2e.steps import ALICE, check_journal, wait_booted
from tests.support.csms import Csms

WATCHDOG_S = 3


class Systemd:
    """The receiving end of sd_notify, and the rule of its watchdog."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.received: list[tuple[float, str]] = []

    def read_states(self) -> list[str]:
        """Everything received so far."""
        self.socket.setblocking(False)
        while True:
            try:
                self.received.append((time.monotonic(), self.socket.recv(4096).decode()))
            except BlockingIOError:
                return [state for _, state in self.received]

    def is_watchdog_expired(self) -> bool:
        self.read_states()
        pings = [at for at, state in self.received if state == "WATCHDOG=1"]
        return bool(pings) and time.monotonic() - pings[-1] > WATCHDOG_S


@pytest.fixture
def systemd(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    systemd = Systemd(short_directory / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(short_directory / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(WATCHDOG_S * 1_000_000))
    yield systemd
    systemd.socket.close()


def test_a_process_that_hangs_is_restarted_with_the_contactors_open_meanwhile(
    systemd: Systemd, devices: EmulatedDevices, csms: Csms, short_directory: Path
) -> None:
    station = StationProcess(short_directory, csms.url)
    try:
        station.start()
        wait_booted(station, csms)
        station.request_operation("plug_in", evse_id=1)
        station.request_operation("present_token", id_token=ALICE, type="ISO14443", evse_id=1)
        wait_until(lambda: station.read_emulated_evse(1)["contactor"] == "closed", 20, "charging")
        assert systemd.read_states()[0] == "READY=1"
        wait_until(
            lambda: "STATUS=connected; transaction on EVSE 1" in systemd.read_states(), 10, "status"
        )

        os.kill(station.pid, signal.SIGSTOP)
        wait_until(systemd.is_watchdog_expired, 2 * WATCHDOG_S + 5, "end of the pings")
        assert devices.request_operation("world")["evses"][0]["contactor"] == "open"
        os.kill(station.pid, signal.SIGABRT)  # as systemd does when its watchdog expires
        os.kill(station.pid, signal.SIGCONT)
        wait_until(lambda: not station.is_alive, 10, "end of the process")

        systemd.received.clear()
        station.restart()
        wait_booted(station, csms, after=1)
        assert systemd.read_states()[0] == "READY=1"
        assert station.terminate() == 0
        assert systemd.read_states()[-1] == "STOPPING=1"
        check_journal(station)
    finally:
        station.close()
