"""What systemd receives, on a datagram socket as it makes one."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.runtime.service.notify import ServiceManager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def environment_of(systemd: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "30000000", **more}


def test_states_are_sent_as_systemd_reads_them(systemd: socket.socket) -> None:
    manager = ServiceManager.from_environment(environment_of(systemd))
    assert manager.watchdog_s == 30
    manager.report_ready()
    manager.report_status("connected;\nWATCHDOG=1")
    manager.feed_watchdog()
    manager.report_stopping()
    received = [systemd.recv(1000).decode() for _ in range(4)]
    assert received == ["READY=1", "STATUS=connected; WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_status_is_sent_once(systemd: socket.socket) -> None:
    manager = ServiceManager.from_environment(environment_of(systemd))
    for text in ("offline", "offline", "connected"):
        manager.report_status(text)
    assert [systemd.recv(1000) for _ in range(2)] == [b"STATUS=offline", b"STATUS=connected"]


def test_an_abstract_address_is_used() -> None:
    name = f"station-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        receiver.settimeout(5)
        ServiceManager(f"@{name}", None).report_ready()
        assert receiver.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "variables",
    [
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_PID": "1"},
    ],
)
def test_without_a_watchdog_for_this_process_there_is_no_limit(
    systemd: socket.socket, variables: dict[str, str]
) -> None:
    manager = ServiceManager.from_environment(environment_of(systemd, **variables))
    assert manager.watchdog_s is None


def test_children_do_not_inherit_the_socket_but_a_new_release_does(systemd: socket.socket) -> None:
    environment = environment_of(systemd, WATCHDOG_PID=str(os.getpid()))
    manager = ServiceManager.from_environment(environment)
    assert environment == {}
    again = ServiceManager.from_environment(manager.to_environment())
    again.report_ready()
    assert systemd.recv(100) == b"READY=1"
    assert again.watchdog_s == 30


def test_a_manager_that_is_gone_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ServiceManager(str(tmp_path / "absent"), None)
    with caplog.at_level(logging.ERROR):
        manager.report_ready()
        manager.feed_watchdog()
    assert len(caplog.records) == 1
    assert "cannot notify: No such file or directory" in caplog.text


def test_without_systemd_nothing_is_sent() -> None:
    manager = ServiceManager.from_environment({})
    manager.report_ready()
    assert manager.to_environment() == {}
