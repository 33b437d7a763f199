"""`station page`: where it listens, and errors in one line."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.commands.fixtures_journals import StationCommand


@pytest.mark.parametrize(
    "listen", ["8180", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:http", "::1:8180", ":8180"]
)
def test_an_address_that_is_none_is_a_usage_error(
    run_station: StationCommand, tmp_path: Path, listen: str
) -> None:
    result = run_station("page", "--data", tmp_path, "--listen", listen)
    assert result.exit_code == 2
    assert "is not ADDRESS:PORT" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_port_in_use_is_a_usage_error(run_station: StationCommand, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run_station("page", "--data", tmp_path, "--listen", f"127.0.0.1:{port}")
    assert result.exit_code == 2
    assert "Give another --listen" in result.stderr


def test_without_the_extra_it_says_what_to_install(
    run_station: StationCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("station.page.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = run_station("page", "--data", tmp_path)
    assert result.exit_code == 2
    assert "pip install 'ocpp-station[page]'" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_addresses_and_ends_with_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "station", "page", "--data", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    ) as page:
        assert page.stdout is not None
        address = page.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=30) as response:
            assert b"<title>" in response.read()
        page.send_signal(number)
        assert page.wait(20) == 0
    assert (tmp_path / "page.token").stat().st_mode & 0o777 == 0o600
