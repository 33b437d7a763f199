"""`station outbox` lists every unconfirmed call and retries parked ones."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.maintenance.verify import verify
from journal.projections.outbox import CallRetryRequested
from journal.state import State, apply_entry
from tests.commands.fixtures_journals import StationCommand, open_writable, write_journal
from tests.support.story import (
    ALICE,
    LINK_LOST,
    ONLINE,
    Station,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    error_received,
    given,
    in_transaction,
    meter_read,
    presented,
    time_passed,
    variable_preset,
)

ONE_ATTEMPT = (
    variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1"),
    variable_preset("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "1"),
)


@pytest.fixture
def story_with_parked_call() -> Station:
    """An ended transaction; its second event is parked because the CSMS refused it."""
    station = given(
        *ONE_ATTEMPT, ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1)
    )
    station.when(charging_started(1), error_received("InternalError", "no"))
    station.with_csms(
        lambda action, payload: {}, charging_stopped(1), cable_unplugged(1), time_passed(seconds=9)
    )
    assert len(station.state.outbox.parked) == 1
    assert not station.state.transactions.open
    assert not len(station.state.outbox.transaction)
    return station


@pytest.fixture
def story_with_waiting_calls() -> Station:
    """A transaction that continues offline."""
    station = given(ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1))
    station.when(LINK_LOST, charging_started(1), time_passed(seconds=75))
    assert len(station.state.outbox.transaction) >= 1
    return station


def test_an_empty_outbox_is_no_failure(run_station: StationCommand, journal: Path) -> None:
    listed = run_station("outbox", journal, "list")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert listed.stdout.startswith("nothing waits: the CSMS confirmed every call up to entry ")


def test_a_call_that_does_not_wait_is_exit_code_1(
    run_station: StationCommand, journal: Path
) -> None:
    listed = run_station("outbox", journal, "list", "7")
    assert (listed.exit_code, listed.stdout) == (1, "")
    assert "call 7: neither waiting nor parked" in listed.stderr


def test_what_waits_is_listed_oldest_first(
    run_station: StationCommand, tmp_path: Path, story_with_waiting_calls: Station
) -> None:
    listed = run_station(
        "outbox", write_journal(tmp_path / "journal.db", story_with_waiting_calls.entries), "list"
    )
    assert listed.exit_code == 0
    calls = [int(line.split()[2]) for line in listed.lines]
    assert calls == list(story_with_waiting_calls.state.outbox.transaction)
    first = listed.lines[0]
    transaction = story_with_waiting_calls.open_transaction.transaction_id
    assert first.startswith("waiting call")
    assert "TransactionEvent" in first
    assert f"{transaction} seqNo 1 Updated" in first
    assert "attempts 0" in first
    assert "1 min 15 s" in first


def test_an_unknown_call_is_exit_code_1_and_the_others_are_listed(
    run_station: StationCommand, tmp_path: Path, story_with_waiting_calls: Station
) -> None:
    path = write_journal(tmp_path / "journal.db", story_with_waiting_calls.entries)
    first, *_ = story_with_waiting_calls.state.outbox.transaction
    listed = run_station("outbox", path, "list", "1", str(first))
    assert (listed.exit_code, len(listed.lines)) == (1, 1)
    assert listed.lines[0].split()[2] == str(first)
    assert listed.stderr == "call 1: neither waiting nor parked.\n"


def test_a_parked_call_has_its_reason_and_attempts(
    run_station: StationCommand, tmp_path: Path, story_with_parked_call: Station
) -> None:
    [parked] = story_with_parked_call.state.outbox.parked
    listed = run_station(
        "outbox", write_journal(tmp_path / "journal.db", story_with_parked_call.entries), "list"
    )
    [line] = listed.lines
    assert line.startswith(f"parked  call {parked.call_seq}")
    assert parked.transaction_id is not None
    assert parked.transaction_id in line
    assert "attempts 1" in line
    assert "InternalError: no" in line


def test_retry_without_a_station_is_recorded(
    run_station: StationCommand, tmp_path: Path, story_with_parked_call: Station
) -> None:
    journal = write_journal(tmp_path / "journal.db", story_with_parked_call.entries)
    [parked] = story_with_parked_call.state.outbox.parked
    result = run_station("outbox", journal, "retry")
    assert result.exit_code == 0, result.stderr
    assert f"call {parked.call_seq}" in result.stdout
    assert "next start" in result.stdout
    with open_writable(journal) as store:
        *before, last = store.iter_entries()
    assert before == story_with_parked_call.entries
    assert last.event == CallRetryRequested((parked.call_seq,))
    assert list(verify(journal)) == []
    state = State(story_with_parked_call.state.journal_id)
    for entry in [*before, last]:
        state = apply_entry(state, entry)
    assert list(state.outbox.transaction) == [parked.call_seq]
    assert run_station("outbox", journal, "list").lines[0].startswith("waiting")


def test_retry_hides_no_interruption(
    run_station: StationCommand, tmp_path: Path, story_with_parked_call: Station
) -> None:
    """A new entry would make a long interruption look short to the next start. E17."""
    story_with_parked_call.when(in_transaction(1))
    journal = write_journal(tmp_path / "journal.db", story_with_parked_call.entries)
    result = run_station("outbox", journal, "retry")
    assert result.exit_code == 2
    assert "Start the station" in result.stderr
    with open_writable(journal) as store:
        assert store.head.seq == len(story_with_parked_call.entries)


def test_retry_of_a_call_that_is_not_parked_is_exit_code_1(
    run_station: StationCommand,
    tmp_path: Path,
    story_with_parked_call: Station,
    story_with_waiting_calls: Station,
) -> None:
    journal = write_journal(tmp_path / "journal.db", story_with_parked_call.entries)
    assert "call 3 is not parked" in run_station("outbox", journal, "retry", "3").stderr
    nothing = run_station(
        "outbox", write_journal(tmp_path / "other.db", story_with_waiting_calls.entries), "retry"
    )
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "no call is parked" in nothing.stderr


def test_retry_leaves_a_journal_in_use_alone(
    run_station: StationCommand, tmp_path: Path, story_with_parked_call: Station
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(story_with_parked_call.entries)
        result = run_station("outbox", path, "retry")
    assert result.exit_code == 2
    assert "another process" in result.stderr


@pytest.fixture
def control_socket_requests(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """Requests to the control socket of a station that accepts one."""
    requests: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as line, line.makefile("rb") as stream:
                requests.append(json.loads(stream.readline()))
                line.sendall(b'{"ok": true, "retried": 1}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        yield requests
        thread.join()


def test_retry_goes_through_the_running_station(
    run_station: StationCommand,
    tmp_path: Path,
    story_with_parked_call: Station,
    control_socket_requests: list[dict[str, Any]],
) -> None:
    path = tmp_path / "journal.db"
    [parked] = story_with_parked_call.state.outbox.parked
    with open_writable(path) as store:
        store.append(story_with_parked_call.entries)
        result = run_station("outbox", path, "retry", str(parked.call_seq))
    assert (result.exit_code, result.stderr) == (0, "")
    assert control_socket_requests == [{"op": "retry", "calls": [parked.call_seq]}]
