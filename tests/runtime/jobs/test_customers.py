"""Is a value erased only when nothing on its way to the journal can need it? (N10)"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from journal.events import IdToken
from journal.observations import FrameReceived, IdTokenPresented, VariablePreset
from journal.storage.errors import JournalFailed
from journal.storage.store import Store
from station.runtime.jobs.customers import CustomerDataJob
from station.runtime.loop.recorder import Recorder
from station.runtime.loop.startup import event_registry
from tests.runtime.fixtures_recorder import IDLE_REPORTS, STATION_STARTED, open_recorder
from tests.support.story import frame_received, id_token_payload

UID = "04A224B2"


def make_worker(scribe: Recorder, store: Store, directory: Path) -> CustomerDataJob:
    return CustomerDataJob(
        store,
        directory / "journal.db",
        event_registry(),
        observe=scribe.observe,
        current_state=lambda: scribe.state,
        wait_until_idle=scribe.wait_until_idle,
    )


async def order_erasure(scribe: Recorder, store: Store) -> IdToken:
    """Somebody the journal knows, and whom the CSMS wants forgotten."""
    token = store.reference_for("ISO14443", UID)
    everybody = VariablePreset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    at_once = VariablePreset("TxCtrlr.TxBeforeAcceptedEnabled", "true")
    for observation in (everybody, at_once, STATION_STARTED, *IDLE_REPORTS, _clear_request(token)):
        scribe.observe(observation)
    await scribe.commit_now()
    assert scribe.desired_state.value.references_to_erase == (token.ref,)
    return token


def _clear_request(token: IdToken) -> FrameReceived:
    """CustomerInformation of the CSMS, as it comes out of the intake."""
    asked = {"requestId": 1, "report": False, "clear": True, "idToken": id_token_payload(token)}
    return frame_received(json.dumps([2, "csms-1", "CustomerInformation", asked]))


async def run_until_erased(scribe: Recorder, store: Store, directory: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scribe.run)
        nursery.start_soon(make_worker(scribe, store, directory).run, scribe.desired_state)
        while scribe.state.customer_requests.refs_to_erase:
            await scribe.committed.wait()
        nursery.cancel_scope.cancel()


async def test_who_is_cleared_is_erased(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        token = await order_erasure(scribe, store)
        await run_until_erased(scribe, store, tmp_path)
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
    with open_recorder(tmp_path) as (scribe, store, _):
        token = await order_erasure(scribe, store)
        store.checkpoint()
        shutil.copy(tmp_path / "journal.db", aside)
        assert UID.encode() in aside.read_bytes()
        if not readable:
            monkeypatch.setattr(os, "pread", raise_io_error)
        await run_until_erased(scribe, store, tmp_path)
        assert store.value_of(token.ref) is None
    assert (UID.encode() in aside.read_bytes()) is not readable
    assert (f"{aside}: cannot be read" in caplog.text) is not readable


def raise_io_error(*_: int) -> bytes:
    raise OSError(5, "Input/output error")


async def test_who_is_on_the_way_to_the_journal_is_not_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        token = await order_erasure(scribe, store)
        left: list[tuple[str, ...]] = []
        monkeypatch.setattr(store, "mark_for_erasure", left.append)
        scribe.observe(IdTokenPresented(store.reference_for("ISO14443", UID), evse_id=1), lazy=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_worker(scribe, store, tmp_path).run, scribe.desired_state)
            await trio.testing.wait_all_tasks_blocked()
            await scribe.commit_now()  # they may charge now
            assert scribe.desired_state.value.references_to_erase == ()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert left == []
        assert store.value_of(token.ref) == UID


async def test_who_holds_on_to_the_file_only_delays_it(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_recorder(tmp_path) as (scribe, store, _):
        token = await order_erasure(scribe, store)
        forget, refusals = store.erase, iter([True, True])

        def busy(ref: str) -> bool:
            if next(refusals, False):
                raise JournalFailed("another program still reads.")
            return forget(ref)

        monkeypatch.setattr(store, "erase", busy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scribe.run)
            nursery.start_soon(make_worker(scribe, store, tmp_path).run, scribe.desired_state)
            began = trio.current_time()
            while scribe.state.customer_requests.refs_to_erase:
                await scribe.committed.wait()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began >= 120
        assert store.value_of(token.ref) is None
