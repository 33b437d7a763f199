"""Erasure of personal values: when, where, and that no later entry needs them. N10."""

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


def make_worker(recorder: Recorder, store: Store, directory: Path) -> CustomerDataJob:
    return CustomerDataJob(
        store,
        directory / "journal.db",
        event_registry(),
        observe=recorder.observe,
        current_state=lambda: recorder.state,
        wait_until_idle=recorder.wait_until_idle,
    )


async def order_erasure(recorder: Recorder, store: Store) -> IdToken:
    """An idToken in the journal that the CSMS has requested to clear."""
    token = store.reference_for("ISO14443", UID)
    unknown_ids = VariablePreset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    at_once = VariablePreset("TxCtrlr.TxBeforeAcceptedEnabled", "true")
    for observation in (
        unknown_ids,
        at_once,
        STATION_STARTED,
        *IDLE_REPORTS,
        _clear_request(token),
    ):
        recorder.observe(observation)
    await recorder.commit_now()
    assert recorder.desired_state.value.references_to_erase == (token.ref,)
    return token


def _clear_request(token: IdToken) -> FrameReceived:
    """CustomerInformationRequest, as the frame filter records it."""
    payload = {"requestId": 1, "report": False, "clear": True, "idToken": id_token_payload(token)}
    return frame_received(json.dumps([2, "csms-1", "CustomerInformation", payload]))


async def run_until_erased(recorder: Recorder, store: Store, directory: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        nursery.start_soon(make_worker(recorder, store, directory).run, recorder.desired_state)
        while recorder.state.customer_requests.refs_to_erase:
            await recorder.committed.wait()
        nursery.cancel_scope.cancel()


async def test_a_cleared_customer_is_erased_n10(tmp_path: Path) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        token = await order_erasure(recorder, store)
        await run_until_erased(recorder, store, tmp_path)
        assert store.value_of(token.ref) is None


@pytest.mark.parametrize("readable", [True, False])
async def test_values_in_a_damaged_journal_are_erased_or_logged_n10_fr_01(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    readable: bool,
) -> None:
    quarantined = tmp_path / "journal.damaged-1" / "journal.db"
    quarantined.parent.mkdir()
    with open_recorder(tmp_path) as (recorder, store, _):
        token = await order_erasure(recorder, store)
        store.checkpoint()
        shutil.copy(tmp_path / "journal.db", quarantined)
        assert UID.encode() in quarantined.read_bytes()
        if not readable:
            monkeypatch.setattr(os, "pread", raise_io_error)
        await run_until_erased(recorder, store, tmp_path)
        assert store.value_of(token.ref) is None
    assert (UID.encode() in quarantined.read_bytes()) is not readable
    assert (f"{quarantined}: cannot be read" in caplog.text) is not readable


def raise_io_error(*_: int) -> bytes:
    raise OSError(5, "Input/output error")


async def test_a_value_that_a_queued_observation_uses_is_not_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        token = await order_erasure(recorder, store)
        marked: list[tuple[str, ...]] = []
        monkeypatch.setattr(store, "mark_for_erasure", marked.append)
        recorder.observe(
            IdTokenPresented(store.reference_for("ISO14443", UID), evse_id=1), lazy=True
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_worker(recorder, store, tmp_path).run, recorder.desired_state)
            await trio.testing.wait_all_tasks_blocked()
            await recorder.commit_now()  # the token is authorized now
            assert recorder.desired_state.value.references_to_erase == ()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert marked == []
        assert store.value_of(token.ref) == UID


async def test_a_program_that_reads_the_journal_delays_the_erasure(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_recorder(tmp_path) as (recorder, store, _):
        token = await order_erasure(recorder, store)
        erase, refusals = store.erase, iter([True, True])

        def erase_if_free(ref: str) -> bool:
            if next(refusals, False):
                raise JournalFailed("another program still reads.")
            return erase(ref)

        monkeypatch.setattr(store, "erase", erase_if_free)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.run)
            nursery.start_soon(make_worker(recorder, store, tmp_path).run, recorder.desired_state)
            started_at = trio.current_time()
            while recorder.state.customer_requests.refs_to_erase:
                await recorder.committed.wait()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - started_at >= 120
        assert store.value_of(token.ref) is None
