"""Does `station forget` erase a person, and nothing that is still needed?"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal.observations import ForgettingOrdered, ValuesErased
from journal.reader import Reader
from journal.store import Store, rebuild
from journal.terms import Entry, IdToken
from journal.verify import verify
from station.runtime.clock import HostClock
from station.runtime.memory import registry
from tests.commands.journals import Command, opened, without
from tests.story import (
    JOURNAL_ID,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    accepting,
    charging,
    discharged,
    given,
    plugged,
    presented,
    read,
    unplugged,
)

UID = "04a224B2C3D4E5"


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Months after the story, whatever this machine's clock says."""
    monkeypatch.setattr(HostClock, "utc", lambda clock: datetime(2026, 12, 1, tzinfo=UTC))


def charges(station: Station, token: IdToken, *, done: bool = True) -> None:
    station.with_csms(accepting, plugged(1), presented(token, evse_id=1), charging(1))
    station.with_csms(accepting, read(1, "3000"))
    if done:
        station.with_csms(accepting, discharged(1), unplugged(1))


def told_of(store: Store, *, offline: bool = False, done: bool = True) -> tuple[Station, IdToken]:
    """A session of somebody, in the journal."""
    token = store.refer("ISO14443", UID)
    station = given(ONLINE, read(1, "1000"))
    if offline:
        station.with_csms(accepting, presented(token, evse_id=1), presented(token, evse_id=1))
        station.when(LINK_LOST)
    charges(station, token, done=done)
    store.append(station.entries)
    return station, token


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def found_in(directory: Path) -> list[str]:
    """Files that hold the value, however it is spelled."""
    value = UID.lower().encode()
    files = [file for file in directory.rglob("*") if file.is_file()]
    return [file.name for file in files if value in file.read_bytes().lower()]


@pytest.mark.parametrize("named", ["value", "spelling", "reference"])
def test_a_person_is_erased_and_the_chain_stays_whole(
    station: Command, tmp_path: Path, journal: Path, named: str
) -> None:
    with opened(journal) as store:
        past, token = told_of(store)
    assert found_in(tmp_path) == ["journal.db"]
    assert UID in station("export", journal, "transactions", "--values").out
    person = {"value": UID, "spelling": UID.upper(), "reference": token.ref}[named]
    done = station("forget", journal, person)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{token.ref}: erased.\n"
    assert found_in(tmp_path) == []
    assert list(verify(journal)) == []
    with Reader.open(journal, registry()) as reader:
        *before, ordered, erased = reader.entries()
    assert before == past.entries
    assert ordered.event == ForgettingOrdered((token.ref,))
    assert erased.event == ValuesErased((token.ref,))
    exported = station("export", journal, "transactions", "--values").out
    assert UID not in exported
    assert token.ref in exported
    assert station("forget", journal, UID).code == 1


def test_who_went_to_the_archive_is_erased_too(
    station: Command, tmp_path: Path, journal: Path
) -> None:
    with opened(journal) as store:
        _, token = told_of(store)
    assert station("archive", journal, "--days", "1").code == 0
    assert station("forget", journal, UID).code == 0
    assert found_in(tmp_path) == []
    assert list(verify(journal)) == []
    assert token.ref in station("export", journal, "transactions", "--values").out


def test_a_value_that_a_waiting_message_needs_stays_until_then_p2(
    station: Command, tmp_path: Path, journal: Path
) -> None:
    with opened(journal) as store:
        past, token = told_of(store, offline=True)
    assert len(past.state.outbox.transaction)
    done = station("forget", journal, UID)
    assert done.code == 0
    assert "no undelivered message needs it" in done.out
    assert found_in(tmp_path) == ["journal.db"]
    with Reader.open(journal, registry()) as reader:
        *_, last = reader.entries()
        assert last.event == ForgettingOrdered((token.ref,))
        assert reader.value_of(token.ref) == UID
    past.when(last.event)
    assert not past.level.erase
    past.when(LINK_OPENED)
    past.served(accepting)
    assert not len(past.state.outbox.transaction)
    assert past.level.erase == (token.ref,)


def test_whoever_charges_is_not_forgotten_by_hand(station: Command, journal: Path) -> None:
    with opened(journal) as store:
        told_of(store, done=False)
        head = store.head.seq
    done = station("forget", journal, UID)
    assert done.code == 2
    assert "Start the station" in done.err
    with opened(journal) as store:
        assert store.head.seq == head


def test_nobody_is_forgotten_who_is_not_known(station: Command, journal: Path) -> None:
    with opened(journal) as store:
        told_of(store)
    for person in ("04FFFFFF", "#0000000000000000", ""):
        done = station("forget", journal, person)
        assert (done.code, done.out) == (1, "")
        assert "knows nobody" in done.err


def test_a_copy_that_still_holds_the_value_is_named(
    station: Command, tmp_path: Path, journal: Path
) -> None:
    with opened(journal) as store:
        told_of(store)
    copy = tmp_path / "copies" / "journal.db"
    copy.parent.mkdir()
    copy.write_bytes(journal.read_bytes())
    done = station("forget", journal, UID)
    assert done.code == 1
    assert done.err == f"{copy}: still holds the value. Delete it, if nobody needs it.\n"
    assert found_in(tmp_path) == ["journal.db"]


def test_a_person_is_erased_from_a_journal_that_was_set_aside(
    station: Command, tmp_path: Path, journal: Path
) -> None:
    with opened(journal) as store:
        _, token = told_of(store)
    aside = rebuild(journal, JOURNAL_ID).aside / "journal.db"
    assert len(found_in(tmp_path)) == 2
    done = station("forget", journal, UID)
    assert (done.code, done.err) == (0, "")
    assert done.out == (f"{token.ref}: erased.\n1 rows erased in journals that were set aside.\n")
    assert found_in(tmp_path) == []
    assert station("verify", journal).code == 0
    assert token.ref in station("export", aside, "transactions", "--values").out
    assert station("forget", journal, UID).code == 1


def test_whoever_only_a_journal_that_was_set_aside_knows_is_erased_there(
    station: Command, tmp_path: Path, journal: Path
) -> None:
    with opened(journal) as store:
        told_of(store)
    aside = rebuild(journal, JOURNAL_ID).aside
    with opened(journal) as store:
        [token] = store.reader.tokens(UID)
        store.forget(token.ref)
    assert found_in(tmp_path) == ["journal.db"]
    done = station("forget", journal, UID.upper())
    assert (done.code, done.err) == (0, "")
    assert found_in(aside) == []
    done = station("forget", journal, UID)
    assert (done.code, done.out) == (1, "")


def test_a_journal_that_was_set_aside_and_cannot_be_reached_is_named(
    station: Command, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(journal) as store:
        told_of(store)
    aside = rebuild(journal, JOURNAL_ID).aside / "journal.db"
    pread = os.pread

    def refused(file: int, length: int, at: int) -> bytes:
        if os.path.samestat(os.fstat(file), aside.stat()):
            raise OSError(5, "Input/output error")
        return pread(file, length, at)

    monkeypatch.setattr(os, "pread", refused)
    done = station("forget", journal, UID)
    assert done.code == 1
    assert "erased" in done.out
    assert (
        done.err == f"{aside}: cannot be read: Input/output error. Delete it, if nobody needs it.\n"
    )
    monkeypatch.undo()
    assert found_in(tmp_path) == ["journal.db"]


def test_a_gap_in_the_journal_keeps_nobody_from_being_forgotten(
    station: Command, tmp_path: Path, journal: Path
) -> None:
    with opened(journal) as store:
        told_of(store)
    without(journal, 3)
    done = station("forget", journal, UID)
    assert (done.code, done.err) == (0, "")
    assert found_in(tmp_path) == []


@pytest.fixture
def running(tmp_path: Path, journal: Path) -> Iterator[tuple[Store, list[bytes]]]:
    """A journal in use, and what its station hears on the control socket; it obeys."""
    heard: list[bytes] = []
    with opened(journal) as store, socket.socket(socket.AF_UNIX) as listener:
        _, token = told_of(store)
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def obey() -> None:
            with listener.accept()[0] as line, line.makefile("rb") as asked:
                heard.append(asked.readline())
                line.sendall(b'{"ok": true}\n')
                store.forget(token.ref)
                last = store.entry(store.head.seq)
                erased = ValuesErased((token.ref,))
                store.append([Entry(last.seq + 1, last.at, last.uptime_ms, erased)])

        thread = threading.Thread(target=obey)
        thread.start()
        yield store, heard
        thread.join()


def test_a_running_station_is_asked(
    station: Command, tmp_path: Path, journal: Path, running: tuple[Store, list[bytes]]
) -> None:
    store, heard = running
    [token] = store.reader.tokens(UID)
    done = station("forget", journal, UID)
    assert (done.code, done.out) == (0, f"{token.ref}: erased.\n")
    assert heard == [f'{{"op": "forget", "refs": ["{token.ref}"]}}\n'.encode()]
    assert found_in(tmp_path) == []
