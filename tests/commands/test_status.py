"""`station status` and `station release`, with the response of a station."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from station.commands.status import describe_status
from tests.commands.fixtures_journals import StationCommand

LIVE: dict[str, Any] = {
    "ok": True,
    "at": "2026-11-22T12:00:00.000Z",
    "identity": "CS001",
    "release": "0.1.0",
    "profile": "development",
    "emulated": True,
    "running_s": 3723.4,
    "evses": [
        {
            "evse_id": 1,
            "status": "Occupied",
            "status_cause": "a transaction is open",
            "charging_state": "Charging",
            "plugged": True,
            "contactor": "closed",
            "transaction": {"id": "5f0c7c6e-3d0b-4b0e-9a51-0d6f1c2b3a49"},
            "power_w": 96400.5,
            "energy_wh": 2935,
            "soc": 55,
            "limit_w": 150000,
            "limit_a": 300,
            "limit_reason": "power of the EVSE",
        },
        {
            "evse_id": 2,
            "status": "Faulted",
            "status_cause": "a device fault blocks charging",
            "charging_state": "Idle",
            "plugged": False,
            "contactor": "open",
            "transaction": None,
            "power_w": None,
            "energy_wh": None,
            "soc": None,
            "limit_w": None,
            "limit_a": None,
            "limit_reason": "the devices are not running",
        },
    ],
    "faults": [
        {
            "evse_id": 2,
            "device": "contactor",
            "fault": "welded",
            "blocks_charging": True,
            "latched": True,
            "found": False,
            "age_s": 7200,
            "tech_code": "CX017",
            "info": "",
        }
    ],
    "link": {
        "online": True,
        "since_s": 90061,
        "url": "wss://csms.example/ocpp",
        "slot": 1,
        "security_profile": 2,
        "failed_attempts": 0,
        "registration": "Accepted",
    },
    "outbox": {
        "waiting": 3,
        "in_flight": {"seq": 40, "action": "TransactionEvent", "attempt": 2},
        "parked_count": 1,
    },
    "clock": {"synchronized": True, "offset_ms": -12, "corrections": 1},
    "certificates": [
        {
            "use": "CSMSRootCertificate",
            "subject": "CN=Test \u001b[31mRoot",
            "not_after": "2036-01-01T00:00:00Z",
        }
    ],
    "safe_mode": [],
    "damage": [],
    "failed_rule": "",
    "storage": "enough",
    "restart": None,
    "journal": {"seq": 12, "digest": "ab" * 32, "verified": None},
}

Answer = Callable[[dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture
def answering_station(tmp_path: Path) -> Iterator[Answer]:
    """A station that gives one response; returns the requests it receives."""
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        listener.settimeout(10)

        def start(answer: dict[str, Any]) -> list[dict[str, Any]]:
            requests: list[dict[str, Any]] = []

            def serve() -> None:
                with listener.accept()[0] as line, line.makefile("rb") as stream:
                    requests.append(json.loads(stream.readline()))
                    line.sendall(json.dumps(answer).encode() + b"\n")

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return requests

        yield start
        for thread in threads:
            thread.join()


def test_the_status_is_printed_for_a_person(
    run_station: StationCommand, tmp_path: Path, answering_station: Answer
) -> None:
    answering_station(LIVE)
    result = run_station("status", "--data", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "CS001        release 0.1.0, profile development, emulated devices, running for 1 h 2 min",
        "link         up for 1 d 1 h: wss://csms.example/ocpp, slot 1, security profile 2;"
        " registration Accepted",
        "EVSE 1       Occupied (a transaction is open), Charging, 96.4 kW, SoC 55 %, at most"
        " 150.0 kW (power of the EVSE), meter 2.935 kWh, transaction 5f0c7c6e…",
        "EVSE 2       Faulted (a device fault blocks charging)",
        "faults       EVSE 2: contactor welded (CX017), for 2 h 0 min, charging not allowed,"
        " needs `station release`",
        "outbox       3 waiting, TransactionEvent of entry 40 is sent (attempt 2); 1 parked, see"
        " `station outbox`",
        "clock        2026-11-22T12:00:00.000Z, synchronized, offset -0.012 s",
        f"journal      12:{'ab' * 32}, storage enough",
        "certificates CSMSRootCertificate CN=Test \\x1b[31mRoot, valid until 2036-01-01T00:00:00Z",
    ]


@pytest.mark.parametrize(
    ("changes", "is_shown"),
    [
        ({}, False),
        ({"plugged": True}, True),
        ({"limit_reason": "limit for the station"}, True),
    ],
    ids=["no EV, no share", "waits for a share", "a limit of 0 W"],
)
def test_an_evse_without_an_ev_shows_no_share_of_the_power(
    run_station: StationCommand,
    tmp_path: Path,
    answering_station: Answer,
    changes: dict[str, Any],
    is_shown: bool,
) -> None:
    share = {"limit_w": 0, "limit_reason": "power shared by the EVSEs", **changes}
    answering_station({**LIVE, "evses": [{**LIVE["evses"][1], **share}]})
    result = run_station("status", "--data", tmp_path)
    assert ("at most 0.0 kW" in result.stdout) is is_shown


def test_what_needs_attention_has_lines_of_its_own(
    run_station: StationCommand, tmp_path: Path, answering_station: Answer
) -> None:
    verified = {"at": "2026-11-22T11:00:00Z", "ok": False, "complaints": ["entry 7: missing"]}
    answering_station(
        {
            **LIVE,
            "faults": [],
            "certificates": [],
            "safe_mode": ["[csms] url: wrong"],
            "failed_rule": "start_transactions",
            "restart": "RemoteReset",
            "damage": ["entry 7: missing"],
            "link": {**LIVE["link"], "online": False, "failed_attempts": 4},
            "journal": {**LIVE["journal"], "verified": verified},
        }
    )
    lines = run_station("status", "--data", tmp_path).stdout.splitlines()
    assert lines[1] == "link         down for 1 d 1 h; failed attempts: 4"
    assert "faults       none" in lines
    assert lines[-5].endswith("entry 7: missing, damaged: entry 7: missing")
    assert lines[-3:] == [
        "safe mode    [csms] url: wrong",
        "program      error in start_transactions; see the log",
        "restart      ordered, RemoteReset",
    ]


def test_the_status_as_json_is_the_response(
    run_station: StationCommand, tmp_path: Path, answering_station: Answer
) -> None:
    requests = answering_station(LIVE)
    result = run_station("status", "--data", tmp_path, "--json")
    assert json.loads(result.stdout) == {key: LIVE[key] for key in LIVE if key != "ok"}
    assert requests == [{"op": "live"}]


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        (["contactor"], {"device": "contactor"}),
        (["door", "open"], {"device": "door", "kind": "open"}),
        (["output", "-e", "2"], {"device": "output", "evse_id": 2}),
    ],
    ids=["device", "kind", "evse"],
)
def test_a_release_names_who_gave_it(
    run_station: StationCommand,
    tmp_path: Path,
    answering_station: Answer,
    monkeypatch: pytest.MonkeyPatch,
    typed: list[str],
    sent: dict[str, Any],
) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    requests = answering_station({"ok": True, "released": ["door open"]})
    result = run_station("release", *typed, "--data", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "released: door open\n")
    assert requests == [{"op": "release", "requested_by": "ada", **sent}]


def test_a_refused_release_is_one_line_and_exit_code_1(
    run_station: StationCommand, tmp_path: Path, answering_station: Answer
) -> None:
    answering_station({"ok": False, "error": "release: door has no latched fault there"})
    result = run_station("release", "door", "--data", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == "release: door has no latched fault there\n"


def test_a_renewal_is_requested_from_a_running_station(
    run_station: StationCommand, tmp_path: Path, answering_station: Answer
) -> None:
    requests = answering_station({"ok": True, "online": True})
    result = run_station("renew-certificate", "--data", tmp_path)
    assert (result.exit_code, result.stdout) == (
        0,
        "ChargingStationCertificate: the request is sent now; `station status` shows its result\n",
    )
    assert requests == [{"op": "renew_certificate", "use": "ChargingStationCertificate"}]


def test_a_certificate_is_shown_with_its_next_renewal() -> None:
    certificate = {
        "use": "ChargingStationCertificate",
        "subject": "CN=EVS-1",
        "not_after": "2027-03-01T12:00:00Z",
        "next_renewal": "2027-01-30T12:00:00.000Z",
        "renewal": "requested from the CSMS",
    }
    lines = dict(describe_status({**LIVE, "certificates": [certificate]}))
    assert lines["certificates"] == (
        "ChargingStationCertificate CN=EVS-1, valid until 2027-03-01T12:00:00Z, next renewal "
        "2027-01-30T12:00:00.000Z; requested from the CSMS"
    )


def test_without_a_station_both_end_with_exit_code_2(
    run_station: StationCommand, tmp_path: Path
) -> None:
    for verb in (["status"], ["release", "door"]):
        result = run_station(*verb, "--data", tmp_path)
        assert result.exit_code == 2
        assert "no station answers" in result.stderr
