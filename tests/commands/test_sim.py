"""Each verb of `station sim` sends its request and prints the response."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.emulators.orders import ORDERS
from station.commands.sim import VERBS
from tests.commands.fixtures_journals import StationCommand

STATE = {
    "ok": True,
    "evses": [
        {
            "evse_id": 1,
            "plugged": True,
            "contactor": "closed",
            "transaction_id": "5f0c",
            "power_w": 96400.5,
            "energy_wh": 2935,
            "words": "Charging",
        },
        {
            "evse_id": 2,
            "plugged": False,
            "contactor": "open",
            "transaction_id": None,
            "power_w": 0,
            "energy_wh": 0,
            "words": "Out of order",
            "faults": ["emergency_stop pressed", "door open"],
        },
    ],
    "outbox": 3,
    "link": "up",
    "journal": {"seq": 12, "digest": "ab" * 32},
}

ControlSocketStarter = Callable[[bytes], list[dict[str, Any]]]


@pytest.fixture
def control_socket_answering(tmp_path: Path) -> Iterator[ControlSocketStarter]:
    """A control socket that gives this response once; returns the requests it receives."""
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        listener.settimeout(10)

        def start(answer: bytes) -> list[dict[str, Any]]:
            requests: list[dict[str, Any]] = []

            def serve() -> None:
                with listener.accept()[0] as line, line.makefile("rb") as stream:
                    requests.append(json.loads(stream.readline()))
                    line.sendall(answer)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return requests

        yield start
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("typed", "request_sent"),
    [
        (["state"], {"op": "state"}),
        (["plug-in"], {"op": "plug_in", "evse_id": 1}),
        (
            ["plug-in", "-e", "2", "--soc", "20", "--max-power-w", "150000", "--not-ready"],
            {
                "op": "plug_in",
                "evse_id": 2,
                "ready": False,
                "ev": {"soc": 20, "max_power_w": 150000},
            },
        ),
        (["unplug", "--evse-id", "2"], {"op": "unplug", "evse_id": 2}),
        (
            ["present-token", "04A224B2"],
            {"op": "present_token", "id_token": "04A224B2", "type": "ISO14443"},
        ),
        (
            ["present-token", "04A224B2", "-e", "1"],
            {"op": "present_token", "id_token": "04A224B2", "type": "ISO14443", "evse_id": 1},
        ),
        (["ev-ready"], {"op": "ev_ready", "evse_id": 1}),
        (["ev-pause"], {"op": "ev_pause", "evse_id": 1}),
        (["stop-button"], {"op": "stop_button", "evse_id": 1}),
        (["emergency-stop"], {"op": "emergency_stop"}),
        (["emergency-release"], {"op": "emergency_release"}),
        (
            ["fault", "cable", "over_temperature", "-e", "1"],
            {"op": "fault", "device": "cable", "kind": "over_temperature", "evse_id": 1},
        ),
        (["clear-fault", "door", "open"], {"op": "clear_fault", "device": "door", "kind": "open"}),
        (
            ["meter", "--energy-wh", "1234.5", "--soc", "50"],
            {"op": "meter", "evse_id": 1, "energy_wh": 1234.5, "soc": 50},
        ),
        (["link", "silent"], {"op": "link", "mode": "silent"}),
        (["clock", "-3600"], {"op": "clock", "step_s": -3600}),
        (["clock", "0.5"], {"op": "clock", "step_s": 0.5}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_each_verb_sends_its_request(
    run_station: StationCommand,
    tmp_path: Path,
    control_socket_answering: ControlSocketStarter,
    typed: list[str],
    request_sent: dict[str, Any],
) -> None:
    requests = control_socket_answering(
        json.dumps(STATE).encode() + b"\n" if typed == ["state"] else b'{"ok":true}\n'
    )
    result = run_station("sim", *typed, "--data", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert requests == [request_sent]
    assert typed == ["state"] or result.stdout == f"{typed[0]}: done\n"


def test_every_operation_of_the_emulation_has_a_verb() -> None:
    ops = {verb.replace("-", "_") for verb in VERBS}
    assert set(ORDERS) - {"world"} <= ops
    assert ops - set(ORDERS) == {"state", "link", "clock", "external_limit"}


def test_the_state_is_printed_for_a_person(
    run_station: StationCommand, tmp_path: Path, control_socket_answering: ControlSocketStarter
) -> None:
    control_socket_answering(json.dumps(STATE).encode() + b"\n")
    assert run_station("sim", "state", "--data", tmp_path).lines == [
        "EVSE 1: plugged in, contactors closed, 96400.5 W, 2935 Wh, transaction 5f0c,"
        " words Charging",
        "EVSE 2: free, contactors open, 0 W, 0 Wh, words Out of order,"
        " faults emergency_stop pressed; door open",
        "link up, outbox 3",
        f"journal 12:{'ab' * 32}",
    ]


def test_json_is_the_response_of_the_station(
    run_station: StationCommand, tmp_path: Path, control_socket_answering: ControlSocketStarter
) -> None:
    control_socket_answering(json.dumps(STATE).encode() + b"\n")
    assert json.loads(run_station("sim", "state", "--json", "--data", tmp_path).stdout) == STATE


def test_a_refusal_is_one_line_and_1(
    run_station: StationCommand, tmp_path: Path, control_socket_answering: ControlSocketStarter
) -> None:
    control_socket_answering(b'{"ok": false, "error": "EVSE 1 has no EV plugged in"}\n')
    refused = run_station("sim", "unplug", "--data", tmp_path)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "unplug: EVSE 1 has no EV plugged in\n"


def test_without_a_station_one_line_names_the_socket(
    run_station: StationCommand, tmp_path: Path
) -> None:
    silent = run_station("sim", "state", "--data", tmp_path)
    assert (silent.exit_code, silent.stdout) == (2, "")
    assert silent.stderr.startswith(
        f"station sim state: {tmp_path / 'control.sock'}: no station answers"
    )
    assert silent.stderr.count("\n") == 1


def test_a_closed_connection_is_one_line(
    run_station: StationCommand, tmp_path: Path, control_socket_answering: ControlSocketStarter
) -> None:
    control_socket_answering(b"")
    assert (
        "closed without a response to state"
        in run_station("sim", "state", "--data", tmp_path).stderr
    )


def test_a_path_too_long_for_a_socket_names_the_limit(
    run_station: StationCommand, tmp_path: Path
) -> None:
    long = run_station("sim", "state", "--data", tmp_path / ("x" * 120))
    assert long.exit_code == 2
    assert "107 bytes" in long.stderr


def test_devices_can_be_addressed_directly(run_station: StationCommand, tmp_path: Path) -> None:
    silent = run_station("sim", "unplug", "--devices", "--data", tmp_path)
    assert str(tmp_path / "emulator.sock") in silent.stderr


CONFIG = """
[station]
identity = "CS001"
data = "here"
[csms]
url = "ws://127.0.0.1:1"
password = "0123456789abcdef"
"""


def test_the_station_is_found_by_its_station_toml(
    run_station: StationCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No station named" in run_station("sim", "state").stderr
    config = tmp_path / "station.toml"
    config.write_text(CONFIG)
    assert "here/control.sock: no station" in run_station("sim", "state").stderr
    assert "here/control.sock: no station" in run_station("sim", "state", "--config", config).stderr
    both = run_station("sim", "state", "--config", config, "--data", tmp_path)
    assert both.exit_code == 2
    assert "Omit one" in both.stderr
