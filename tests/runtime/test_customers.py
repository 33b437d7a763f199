"""Is a value erased only when nothing on its way to the journal can need it? (N10)"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from journal.observations import FrameReceived, IdTokenPresented, VariablePreset
from journal.store import JournalFailed, Store
from journal.terms import IdToken
from station.runtime.customers import CustomerWork
from station.runtime.memory import registry
from station.runtime.scribe import Scribe
from tests.runtime.bench import IDLE, STARTED, a_scribe
from tests.story import frame, id_token

UID = "04A224B2"


def worker(scribe: Scribe, store: Store, directory: Path) -> CustomerWork:
    return CustomerWork(
        store,
        directory / "journal.db",
        registry(),
        observe=scribe.observe,
        memory=lambda: scribe.state,
        settled=scribe.settled,
    )


async def known(scribe: Scribe, store: Store) -> IdToken:
    """Somebody the journal knows, and whom the CSMS wants forgotten."""
    token = store.refer("ISO14443", UID)
    everybody = VariablePreset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    at_once = VariablePreset("TxCtrlr.TxBeforeAcceptedEnabled", "true")
    for observation in (everybody, at_once, STARTED, *IDLE, _clearing(token)):
        scribe.observe(observation)
    await scribe.write_now()
    assert scribe.wanted.value.erase == (token.ref,)
    return token


def _clearing(token: IdToken) -> FrameReceived:
    """CustomerInformation of the CSMS, as it comes out of the intake."""
    asked = {"requestId": 1, "report": False, "clear": True, "idToken": id_token(token)}
    return frame(json.dumps([2, "csms-1", "CustomerInformation", asked]))


async def all_erased(scribe: Scribe, store: Store, directory: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scribe.run)
        nursery.start_soon(worker(scribe, store, directory).run, scribe.wanted)
        while scribe.state.customers.erasing:
            await scribe.committed.wait()
        nursery.cancel_scope.cancel()


async def test_who_is_cleared_is_erased(tmp_path: Path) -> None:
    with a_scribe(tmp_path) as (scribe, store, _):
        token = await known(scribe, store)
        await all_erased(scribe, store, tmp_path)
        assert store.value_of(token.ref) is None


@pytest.mark.parametrize("readable", [True, False])
async def test_who_is_cleared_is_erased_from_what_was_set_aside_or_it_is_named_n10_fr_01(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    readable: bool,
) -> None:
    aside = tmp_path / "journal.damaged-1" / "journal.db"
    aside.parent.mkdir()
    with a_scribe(tmp_path) as (scribe, store, _):
        token = await known(scribe, store)
        store.checkpoint()
        shutil.copy(tmp_path / "journal.db", aside)
        assert UID.encode() in aside.read_bytes()
        if not readable:
            monkeypatch.setattr(os, "pread", refused)
        await all_erased(scribe, store, tmp_path)
        assert store.value_of(token.ref) is None
    assert (UID.encode() in aside.read_bytes()) is not readable
    assert (f"{aside}: cannot be read" in caplog.text) is not readable


def refused(*_: int) -> bytes:
    raise OSError(5, "Input/output error")


async def test_who_is_on_the_way_to_the_journal_is_not_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_scribe(tmp_path) as (scribe, store, _):
        token = await known(scribe, store)
        left: list[tuple[str, ...]] = []
        monkeypatch.setattr(store, "leave", left.append)
        scribe.observe(IdTokenPresented(store.refer("ISO14443", UID), evse_id=1), lazy=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker(scribe, store, tmp_path).run, scribe.wanted)
            await trio.testing.wait_all_tasks_blocked()
            await scribe.write_now()  # they may charge now
            assert scribe.wanted.value.erase == ()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert left == []
        assert store.value_of(token.ref) == UID


async def test_who_holds_on_to_the_file_only_delays_it(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_scribe(tmp_path) as (scribe, store, _):
        token = await known(scribe, store)
        forget, refusals = store.forget, iter([True, True])

        def busy(ref: str) -> bool:
            if next(refusals, False):
                raise JournalFailed("another program still reads.")
            return forget(ref)

        monkeypatch.setattr(store, "forget", busy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scribe.run)
            nursery.start_soon(worker(scribe, store, tmp_path).run, scribe.wanted)
            began = trio.current_time()
            while scribe.state.customers.erasing:
                await scribe.committed.wait()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began >= 120
        assert store.value_of(token.ref) is None
