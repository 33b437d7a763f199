"""Does `station outbox` name every call the CSMS has not confirmed, and try parked ones again?"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.projections.outbox import RetryRequested
from journal.state import State, evolve
from journal.verify import verify
from tests.commands.journals import Command, opened, written
from tests.story import (
    ALICE,
    LINK_LOST,
    ONLINE,
    Station,
    after,
    charging,
    discharged,
    errs,
    given,
    in_transaction,
    plugged,
    presented,
    preset,
    read,
    unplugged,
)

IMPATIENT = (
    preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1"),
    preset("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "1"),
)


@pytest.fixture
def parked() -> Station:
    """A closed transaction whose second event the CSMS refused for good."""
    station = given(*IMPATIENT, ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.when(charging(1), errs("InternalError", "no"))
    station.with_csms(lambda action, payload: {}, discharged(1), unplugged(1), after(seconds=9))
    assert len(station.state.outbox.parked) == 1
    assert not station.state.transactions.open
    assert not len(station.state.outbox.transaction)
    return station


@pytest.fixture
def waiting() -> Station:
    """A transaction goes on offline."""
    station = given(ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.when(LINK_LOST, charging(1), after(seconds=75))
    assert len(station.state.outbox.transaction) >= 1
    return station


def test_an_empty_outbox_says_so_with_1(station: Command, journal: Path) -> None:
    listed = station("outbox", journal, "list")
    assert (listed.code, listed.out) == (1, "")
    assert listed.err.startswith("nothing waits")


def test_what_waits_is_listed_oldest_first(
    station: Command, tmp_path: Path, waiting: Station
) -> None:
    listed = station("outbox", written(tmp_path / "journal.db", waiting.entries), "list")
    assert listed.code == 0
    calls = [int(each.split()[2]) for each in listed.lines]
    assert calls == list(waiting.state.outbox.transaction)
    first = listed.lines[0]
    transaction = waiting.transaction.transaction_id
    assert first.startswith("waiting call")
    assert "TransactionEvent" in first
    assert f"{transaction} seqNo 1 Updated" in first
    assert "attempts 0" in first
    assert "1 min 15 s" in first


def test_a_call_that_does_not_wait_is_the_answer_no_and_the_others_are_listed(
    station: Command, tmp_path: Path, waiting: Station
) -> None:
    path = written(tmp_path / "journal.db", waiting.entries)
    first, *_ = waiting.state.outbox.transaction
    listed = station("outbox", path, "list", "1", str(first))
    assert (listed.code, len(listed.lines)) == (1, 1)
    assert listed.lines[0].split()[2] == str(first)
    assert listed.err == "call 1: not among what waits or is parked.\n"


def test_what_is_parked_says_why_and_how_often_it_was_tried(
    station: Command, tmp_path: Path, parked: Station
) -> None:
    [one] = parked.state.outbox.parked
    listed = station("outbox", written(tmp_path / "journal.db", parked.entries), "list")
    [told] = listed.lines
    assert told.startswith(f"parked  call {one.call}")
    assert one.transaction_id is not None
    assert one.transaction_id in told
    assert "attempts 1" in told
    assert "InternalError: no" in told


def test_retry_without_a_station_is_written_down(
    station: Command, tmp_path: Path, parked: Station
) -> None:
    journal = written(tmp_path / "journal.db", parked.entries)
    [one] = parked.state.outbox.parked
    told = station("outbox", journal, "retry")
    assert told.code == 0, told.err
    assert f"call {one.call}" in told.out
    assert "next start" in told.out
    with opened(journal) as store:
        *before, last = store.entries()
    assert before == parked.entries
    assert last.event == RetryRequested((one.call,))
    assert list(verify(journal)) == []
    state = State(parked.state.journal_id)
    for entry in [*before, last]:
        state = evolve(state, entry)
    assert list(state.outbox.transaction) == [one.call]
    assert station("outbox", journal, "list").lines[0].startswith("waiting")


def test_retry_hides_no_interruption(station: Command, tmp_path: Path, parked: Station) -> None:
    """An entry of now would make a long absence look short to the next start. E17."""
    parked.when(in_transaction(1))
    journal = written(tmp_path / "journal.db", parked.entries)
    told = station("outbox", journal, "retry")
    assert told.code == 2
    assert "Start the station" in told.err
    with opened(journal) as store:
        assert store.head.seq == len(parked.entries)


def test_retry_of_what_is_not_parked_is_no(
    station: Command, tmp_path: Path, parked: Station, waiting: Station
) -> None:
    journal = written(tmp_path / "journal.db", parked.entries)
    assert "call 3 is not parked" in station("outbox", journal, "retry", "3").err
    nothing = station("outbox", written(tmp_path / "other.db", waiting.entries), "retry")
    assert (nothing.code, nothing.out) == (1, "")
    assert "nothing is parked" in nothing.err


def test_retry_leaves_a_journal_in_use_alone(
    station: Command, tmp_path: Path, parked: Station
) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        store.append(parked.entries)
        told = station("outbox", path, "retry")
    assert told.code == 2
    assert "another process" in told.err


@pytest.fixture
def control(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """A station's control socket that says yes once; what it was asked."""
    heard: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as line, line.makefile("rb") as asked:
                heard.append(json.loads(asked.readline()))
                line.sendall(b'{"ok": true, "retried": 1}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        yield heard
        thread.join()


def test_retry_goes_through_the_running_station(
    station: Command, tmp_path: Path, parked: Station, control: list[dict[str, Any]]
) -> None:
    path = tmp_path / "journal.db"
    [one] = parked.state.outbox.parked
    with opened(path) as store:
        store.append(parked.entries)
        told = station("outbox", path, "retry", str(one.call))
    assert (told.code, told.err) == (0, "")
    assert control == [{"op": "retry", "calls": [one.call]}]
