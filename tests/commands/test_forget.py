"""`station forget` erases an idToken everywhere, unless a message still needs it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal.events import Entry, IdToken
from journal.maintenance.rebuild import rebuild
from journal.maintenance.verify import verify
from journal.observations import ErasureRequested, PersonalValuesErased
from journal.storage.reader import Reader
from journal.storage.store import Store
from station.runtime.clock import HostClock
from station.runtime.loop.startup import event_registry
from tests.commands.fixtures_journals import StationCommand, delete_entry, open_writable
from tests.support.story import (
    JOURNAL_ID,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    given,
    meter_read,
    presented,
)

UID = "04a224B2C3D4E5"


@pytest.fixture(autouse=True)
def fix_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed date months after the story, independent of the host's clock."""
    monkeypatch.setattr(HostClock, "utc", lambda clock: datetime(2026, 12, 1, tzinfo=UTC))


def run_session(run_station: Station, token: IdToken, *, done: bool = True) -> None:
    run_station.with_csms(
        accept_everything, cable_plugged(1), presented(token, evse_id=1), charging_started(1)
    )
    run_station.with_csms(accept_everything, meter_read(1, "3000"))
    if done:
        run_station.with_csms(accept_everything, charging_stopped(1), cable_unplugged(1))


def write_session(
    store: Store, *, offline: bool = False, done: bool = True
) -> tuple[Station, IdToken]:
    """Write a session with the idToken `UID` to the journal."""
    token = store.reference_for("ISO14443", UID)
    station = given(ONLINE, meter_read(1, "1000"))
    if offline:
        station.with_csms(
            accept_everything, presented(token, evse_id=1), presented(token, evse_id=1)
        )
        station.when(LINK_LOST)
    run_session(station, token, done=done)
    store.append(station.entries)
    return station, token


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def files_with_value(directory: Path) -> list[str]:
    """Files that contain the value, in any case."""
    value = UID.lower().encode()
    files = [file for file in directory.rglob("*") if file.is_file()]
    return [file.name for file in files if value in file.read_bytes().lower()]


@pytest.mark.parametrize("named", ["value", "spelling", "reference"])
def test_a_person_is_erased_and_the_chain_stays_whole(
    run_station: StationCommand, tmp_path: Path, journal: Path, named: str
) -> None:
    with open_writable(journal) as store:
        past, token = write_session(store)
    assert files_with_value(tmp_path) == ["journal.db"]
    assert UID in run_station("export", journal, "transactions", "--values").stdout
    person = {"value": UID, "spelling": UID.upper(), "reference": token.ref}[named]
    result = run_station("forget", journal, person)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{token.ref}: erased.\n"
    assert files_with_value(tmp_path) == []
    assert list(verify(journal)) == []
    with Reader.open(journal, event_registry()) as reader:
        *before, ordered, erased = reader.iter_entries()
    assert before == past.entries
    assert ordered.event == ErasureRequested((token.ref,))
    assert erased.event == PersonalValuesErased((token.ref,))
    exported = run_station("export", journal, "transactions", "--values").stdout
    assert UID not in exported
    assert token.ref in exported
    assert run_station("forget", journal, UID).exit_code == 1


def test_an_idtoken_in_the_archive_is_erased(
    run_station: StationCommand, tmp_path: Path, journal: Path
) -> None:
    with open_writable(journal) as store:
        _, token = write_session(store)
    assert run_station("archive", journal, "--days", "1").exit_code == 0
    assert run_station("forget", journal, UID).exit_code == 0
    assert files_with_value(tmp_path) == []
    assert list(verify(journal)) == []
    assert token.ref in run_station("export", journal, "transactions", "--values").stdout


def test_a_value_that_a_waiting_message_needs_stays_until_then_p2(
    run_station: StationCommand, tmp_path: Path, journal: Path
) -> None:
    with open_writable(journal) as store:
        past, token = write_session(store, offline=True)
    assert len(past.state.outbox.transaction)
    result = run_station("forget", journal, UID)
    assert result.exit_code == 0
    assert "no undelivered message needs it" in result.stdout
    assert files_with_value(tmp_path) == ["journal.db"]
    with Reader.open(journal, event_registry()) as reader:
        *_, last = reader.iter_entries()
        assert last.event == ErasureRequested((token.ref,))
        assert reader.value_of(token.ref) == UID
    past.when(last.event)
    assert not past.desired.references_to_erase
    past.when(LINK_OPENED)
    past.answer_calls(accept_everything)
    assert not len(past.state.outbox.transaction)
    assert past.desired.references_to_erase == (token.ref,)


def test_an_idtoken_in_a_transaction_is_not_erased_offline(
    run_station: StationCommand, journal: Path
) -> None:
    with open_writable(journal) as store:
        write_session(store, done=False)
        head = store.head.seq
    result = run_station("forget", journal, UID)
    assert result.exit_code == 2
    assert "Start the station" in result.stderr
    with open_writable(journal) as store:
        assert store.head.seq == head


def test_an_unknown_idtoken_is_exit_code_1(run_station: StationCommand, journal: Path) -> None:
    with open_writable(journal) as store:
        write_session(store)
    for person in ("04FFFFFF", "#0000000000000000", ""):
        result = run_station("forget", journal, person)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "no value for" in result.stderr


def test_another_file_with_the_value_is_named(
    run_station: StationCommand, tmp_path: Path, journal: Path
) -> None:
    with open_writable(journal) as store:
        write_session(store)
    copy = tmp_path / "copies" / "journal.db"
    copy.parent.mkdir()
    copy.write_bytes(journal.read_bytes())
    result = run_station("forget", journal, UID)
    assert result.exit_code == 1
    assert result.stderr == f"{copy}: contains the value. Delete the file if it is not needed.\n"
    assert files_with_value(tmp_path) == ["journal.db"]


def test_a_value_is_erased_from_a_quarantined_journal(
    run_station: StationCommand, tmp_path: Path, journal: Path
) -> None:
    with open_writable(journal) as store:
        _, token = write_session(store)
    quarantine = rebuild(journal, JOURNAL_ID).quarantine / "journal.db"
    assert len(files_with_value(tmp_path)) == 2
    result = run_station("forget", journal, UID)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"{token.ref}: erased.\n1 rows erased in journals that were set aside.\n"
    )
    assert files_with_value(tmp_path) == []
    assert run_station("verify", journal).exit_code == 0
    assert token.ref in run_station("export", quarantine, "transactions", "--values").stdout
    assert run_station("forget", journal, UID).exit_code == 1


def test_a_value_that_only_a_quarantined_journal_has_is_erased(
    run_station: StationCommand, tmp_path: Path, journal: Path
) -> None:
    with open_writable(journal) as store:
        write_session(store)
    quarantine = rebuild(journal, JOURNAL_ID).quarantine
    with open_writable(journal) as store:
        [token] = store.reader.find_references(UID)
        store.erase(token.ref)
    assert files_with_value(tmp_path) == ["journal.db"]
    result = run_station("forget", journal, UID.upper())
    assert (result.exit_code, result.stderr) == (0, "")
    assert files_with_value(quarantine) == []
    result = run_station("forget", journal, UID)
    assert (result.exit_code, result.stdout) == (1, "")


def test_an_inaccessible_quarantined_journal_is_named(
    run_station: StationCommand, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writable(journal) as store:
        write_session(store)
    quarantine = rebuild(journal, JOURNAL_ID).quarantine / "journal.db"
    pread = os.pread

    def refused(file: int, length: int, at: int) -> bytes:
        if os.path.samestat(os.fstat(file), quarantine.stat()):
            raise OSError(5, "Input/output error")
        return pread(file, length, at)

    monkeypatch.setattr(os, "pread", refused)
    result = run_station("forget", journal, UID)
    assert result.exit_code == 1
    assert "erased" in result.stdout
    assert result.stderr == (
        f"{quarantine}: cannot be read: Input/output error. Delete the file if it is not needed.\n"
    )
    monkeypatch.undo()
    assert files_with_value(tmp_path) == ["journal.db"]


def test_a_gap_in_the_journal_does_not_prevent_erasure(
    run_station: StationCommand, tmp_path: Path, journal: Path
) -> None:
    with open_writable(journal) as store:
        write_session(store)
    delete_entry(journal, 3)
    result = run_station("forget", journal, UID)
    assert (result.exit_code, result.stderr) == (0, "")
    assert files_with_value(tmp_path) == []


@pytest.fixture
def station_in_use(tmp_path: Path, journal: Path) -> Iterator[tuple[Store, list[bytes]]]:
    """A journal in use, and the requests its station receives; it erases the values."""
    requests: list[bytes] = []
    with open_writable(journal) as store, socket.socket(socket.AF_UNIX) as listener:
        _, token = write_session(store)
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def obey() -> None:
            with listener.accept()[0] as line, line.makefile("rb") as stream:
                requests.append(stream.readline())
                line.sendall(b'{"ok": true}\n')
                store.erase(token.ref)
                last = store.read_entry(store.head.seq)
                erased = PersonalValuesErased((token.ref,))
                store.append([Entry(last.seq + 1, last.at, last.uptime_ms, erased)])

        thread = threading.Thread(target=obey)
        thread.start()
        yield store, requests
        thread.join()


def test_a_running_station_gets_the_request(
    run_station: StationCommand,
    tmp_path: Path,
    journal: Path,
    station_in_use: tuple[Store, list[bytes]],
) -> None:
    store, requests = station_in_use
    [token] = store.reader.find_references(UID)
    result = run_station("forget", journal, UID)
    assert (result.exit_code, result.stdout) == (0, f"{token.ref}: erased.\n")
    assert requests == [f'{{"op": "forget", "refs": ["{token.ref}"]}}\n'.encode()]
    assert files_with_value(tmp_path) == []
