"""The comparison of the demo finds every difference between CSMS, journal and meter."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace

from journal.events import Entry
from journal.observations import MeterRead
from journal.projections.outbox import CallDelivered, CallQueued
from journal.projections.transactions import TransactionStarted
from station.commands.demo.reconciliation import JournaledTransaction, find_differences
from station.ocpp.messages import decode_request
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_ledger import TransactionRecord
from tests.support.story import (
    ALICE,
    ONLINE,
    Station,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    csms_answers,
    given,
    meter_read,
    presented,
)

METER_WH = Decimal("1935.600")


@pytest.fixture
def session() -> Station:
    """A session from 1000 Wh to 2935.600 Wh, completely delivered."""
    station = given(
        ONLINE,
        meter_read(1, "1000"),
        cable_plugged(1),
        presented(ALICE, evse_id=1),
        charging_started(1),
        meter_read(1, "2935.600"),
        presented(ALICE, evse_id=1),
        charging_stopped(1),
        cable_unplugged(1),
        csms_answers(),
    )
    assert not station.state.transactions.open
    return station


def csms_account(session: Station, *, without: int | None = None) -> TransactionRecord:
    """The record of the CSMS, from the calls that the journal queued."""
    record = TransactionRecord(transaction_id_of(session))
    for entry in session.entries:
        match entry.event:
            case CallQueued(transaction_event=summary, payload=payload) if (
                summary and summary.seq_no != without
            ):
                event = decode_request("TransactionEvent", payload)
                assert isinstance(event, TransactionEventRequest)
                record.add_event(event)
    return record


def transaction_id_of(session: Station) -> str:
    [transaction_id] = {
        entry.event.transaction_id
        for entry in session.entries
        if isinstance(entry.event, TransactionStarted)
    }
    return transaction_id


def list_differences(
    session: Station, record: TransactionRecord, entries: list[Entry], meter_wh: Decimal = METER_WH
) -> list[str]:
    return list(
        find_differences(
            record, JournaledTransaction(transaction_id_of(session), entries), meter_wh
        )
    )


def test_a_session_without_differences(session: Station) -> None:
    assert list_differences(session, csms_account(session), session.entries) == []


def test_an_event_that_the_csms_did_not_receive(session: Station) -> None:
    differences = list_differences(session, csms_account(session, without=1), session.entries)
    assert differences[0] == "CSMS: seqNo 1 is missing"
    assert differences[1].startswith("the journal has seqNos 0-")
    assert ", the CSMS 0, 2" in differences[1]


Damage = Callable[[Entry], Entry | None]


def without_kinds(*kinds: type) -> Damage:
    return lambda entry: None if isinstance(entry.event, kinds) else entry


def shift_register(entry: Entry) -> Entry:
    if isinstance(entry.event, MeterRead) and entry.event.energy_wh > 2000:
        return replace(entry, event=replace(entry.event, energy_wh=Decimal(3000)))
    return entry


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (without_kinds(CallDelivered), "not delivered, by the journal"),
        (without_kinds(TransactionStarted), "the journal has 0 starts of the transaction"),
        (without_kinds(MeterRead), "energies differ: CSMS 1935.600 Wh, journal None Wh"),
        (shift_register, "energies differ: CSMS 1935.600 Wh, journal 2000 Wh, meter 1935.600 Wh"),
        (without_kinds(CallQueued), "the journal has seqNos none, the CSMS 0-"),
    ],
    ids=["undelivered", "never_began", "no_reading", "another_reading", "no_events"],
)
def test_a_journal_that_differs(session: Station, damage: Damage, text: str) -> None:
    entries = [changed for entry in session.entries if (changed := damage(entry))]
    differences = list_differences(session, csms_account(session), entries)
    assert any(text in difference for difference in differences), differences


def test_a_meter_that_differs(session: Station) -> None:
    differences = list_differences(session, csms_account(session), session.entries, Decimal(1))
    assert differences == ["energies differ: CSMS 1935.600 Wh, journal 1935.600 Wh, meter 1 Wh"]
