"""The ledger of the CSMS: gaps, duplicates and contradictions are complaints; nothing else is."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest

from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_ledger import CsmsLedger, TransactionRecord, energy_in_wh
from tests.simulation.fixtures_events import SESSION_EVENTS, make_event


def record_of(events: Iterable[TransactionEventRequest]) -> TransactionRecord:
    record = TransactionRecord("tx-1")
    for event in events:
        record.add_event(event)
    return record


def test_a_complete_session_has_no_complaint() -> None:
    record = record_of(SESSION_EVENTS)
    assert record.find_complaints() == []
    assert record.is_complete
    assert (record.missing_seq_nos, record.duplicates, record.evse_id) == ([], 0, 1)
    assert (record.begin_wh, record.end_wh) == (Decimal("1000"), Decimal("1500.5"))
    assert record.energy_wh == Decimal("500.5")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_event_is_a_gap(lost: int) -> None:
    record = record_of(event for event in SESSION_EVENTS if event.seq_no != lost)
    assert record.missing_seq_nos == [lost]
    assert not record.is_complete
    assert f"seqNo {lost} is missing" in record.find_complaints()


def test_a_transaction_without_its_end_is_not_complete() -> None:
    record = record_of(SESSION_EVENTS[:-1])
    assert not record.is_complete
    assert record.energy_wh is None
    assert record.find_complaints() == ["Ended at seqNo none, expected at 2"]


def test_a_duplicate_is_counted_and_may_differ_in_offline_e12() -> None:
    record = record_of([*SESSION_EVENTS, SESSION_EVENTS[1], make_event(1, "Updated", offline=True)])
    assert record.duplicates == 2
    assert record.find_complaints() == []


def test_a_duplicate_with_different_content_is_a_complaint() -> None:
    record = record_of([*SESSION_EVENTS, make_event(1, "Updated", triggerReason="Trigger")])
    assert record.find_complaints() == ["seqNo 1 was received again with different content"]
    assert record.events[1] == SESSION_EVENTS[1]


def test_events_out_of_order_are_a_complaint() -> None:
    first, second, third, last = SESSION_EVENTS
    record = record_of([first, third, second, last])
    assert record.find_complaints() == ["seqNo 1 arrived after 2"]


def test_two_starts_are_a_complaint() -> None:
    record = record_of([SESSION_EVENTS[0], make_event(1, "Started"), *SESSION_EVENTS[2:]])
    assert record.find_complaints() == ["Started at seqNo [0, 1], expected at 0"]


def test_a_register_that_runs_backwards_is_a_complaint() -> None:
    record = record_of([*SESSION_EVENTS[:2], make_event(2, "Updated", "1600"), SESSION_EVENTS[3]])
    assert record.find_complaints() == ["the register runs backwards at seqNo 3: 1600.0, 1500.5 Wh"]


def test_each_transaction_has_its_own_record() -> None:
    ledger = CsmsLedger()
    ledger.add_event(SESSION_EVENTS[0])
    other = make_event(0, "Started", transactionInfo={"transactionId": "tx-2"})
    assert ledger.add_event(other).transaction_id == "tx-2"
    assert list(ledger.transactions) == ["tx-1", "tx-2"]
    assert [len(record.events) for record in ledger.transactions.values()] == [1, 1]


@pytest.mark.parametrize(
    ("unit", "wh"),
    [
        (None, "2.5"),
        ({"unit": "Wh"}, "2.5"),
        ({"unit": "kWh"}, "2500"),
        ({"unit": "Wh", "multiplier": 3}, "2500"),
        ({"multiplier": -1}, "0.25"),
    ],
)
def test_energy_is_converted_to_wh(unit: dict[str, object] | None, wh: str) -> None:
    sample: dict[str, object] = {"value": 2.5}
    if unit is not None:
        sample["unitOfMeasure"] = unit
    event = make_event(
        0, "Updated", meterValue=[{"timestamp": "2026-11-22T12:00:00Z", "sampledValue": [sample]}]
    )
    assert event.meter_value is not None
    [register] = event.meter_value[0].sampled_value
    assert energy_in_wh(register) == Decimal(wh)
