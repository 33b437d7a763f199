"""Does the ledger see every gap, copy and contradiction, and only those?"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest

from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_ledger import CsmsLedger, TransactionRecord, energy_in_wh
from tests.simulation.fixtures_events import SESSION_EVENTS, make_event


def account_of(events: Iterable[TransactionEventRequest]) -> TransactionRecord:
    taken = TransactionRecord("tx-1")
    for one in events:
        taken.add_event(one)
    return taken


def test_a_whole_session_has_no_complaint() -> None:
    whole = account_of(SESSION_EVENTS)
    assert whole.find_complaints() == []
    assert whole.is_complete
    assert (whole.missing_seq_nos, whole.duplicates, whole.evse_id) == ([], 0, 1)
    assert (whole.begin_wh, whole.end_wh) == (Decimal("1000"), Decimal("1500.5"))
    assert whole.energy_wh == Decimal("500.5")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_event_is_a_gap(lost: int) -> None:
    short = account_of(one for one in SESSION_EVENTS if one.seq_no != lost)
    assert short.missing_seq_nos == [lost]
    assert not short.is_complete
    assert f"seqNo {lost} is missing" in short.find_complaints()


def test_a_lost_end_leaves_it_open() -> None:
    short = account_of(SESSION_EVENTS[:-1])
    assert not short.is_complete
    assert short.energy_wh is None
    assert short.find_complaints() == ["Ended at seqNo none, expected at 2"]


def test_a_copy_is_counted_and_harmless_even_with_another_offline_e12() -> None:
    copied = account_of(
        [*SESSION_EVENTS, SESSION_EVENTS[1], make_event(1, "Updated", offline=True)]
    )
    assert copied.duplicates == 2
    assert copied.find_complaints() == []


def test_a_copy_that_says_something_else_is_told() -> None:
    other = account_of([*SESSION_EVENTS, make_event(1, "Updated", triggerReason="Trigger")])
    assert other.find_complaints() == ["seqNo 1 came again and said something else"]
    assert other.events[1] == SESSION_EVENTS[1]


def test_an_order_that_is_none_is_told() -> None:
    first, second, third, last = SESSION_EVENTS
    swapped = account_of([first, third, second, last])
    assert swapped.find_complaints() == ["seqNo 1 arrived after 2"]


def test_two_starts_are_told() -> None:
    twice = account_of([SESSION_EVENTS[0], make_event(1, "Started"), *SESSION_EVENTS[2:]])
    assert twice.find_complaints() == ["Started at seqNo [0, 1], expected at 0"]


def test_a_register_that_runs_backwards_is_told() -> None:
    backwards = account_of(
        [*SESSION_EVENTS[:2], make_event(2, "Updated", "1600"), SESSION_EVENTS[3]]
    )
    assert backwards.find_complaints() == [
        "the register runs backwards at seqNo 3: 1600.0, 1500.5 Wh"
    ]


def test_transactions_do_not_mix() -> None:
    ledger = CsmsLedger()
    ledger.add_event(SESSION_EVENTS[0])
    other = make_event(0, "Started", transactionInfo={"transactionId": "tx-2"})
    assert ledger.add_event(other).transaction_id == "tx-2"
    assert list(ledger.transactions) == ["tx-1", "tx-2"]
    assert [len(one.events) for one in ledger.transactions.values()] == [1, 1]


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
def test_an_energy_is_the_same_in_every_unit(unit: dict[str, object] | None, wh: str) -> None:
    sample: dict[str, object] = {"value": 2.5}
    if unit is not None:
        sample["unitOfMeasure"] = unit
    told = make_event(
        0, "Updated", meterValue=[{"timestamp": "2026-11-22T12:00:00Z", "sampledValue": [sample]}]
    )
    assert told.meter_value is not None
    [register] = told.meter_value[0].sampled_value
    assert energy_in_wh(register) == Decimal(wh)
