"""Does the ledger see every gap, copy and contradiction, and only those?"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest

from station.messages.e_transactions import TransactionEventRequest
from station.simulation.ledger import Account, Ledger, in_wh
from tests.simulation.events import SESSION, event


def account(events: Iterable[TransactionEventRequest]) -> Account:
    taken = Account("tx-1")
    for one in events:
        taken.take(one)
    return taken


def test_a_whole_session_has_no_complaint() -> None:
    whole = account(SESSION)
    assert whole.complaints() == []
    assert whole.closed
    assert (whole.gaps, whole.duplicates, whole.evse_id) == ([], 0, 1)
    assert (whole.begin_wh, whole.end_wh) == (Decimal("1000"), Decimal("1500.5"))
    assert whole.energy_wh == Decimal("500.5")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_event_is_a_gap(lost: int) -> None:
    short = account(one for one in SESSION if one.seq_no != lost)
    assert short.gaps == [lost]
    assert not short.closed
    assert f"seqNo {lost} is missing" in short.complaints()


def test_a_lost_end_leaves_it_open() -> None:
    short = account(SESSION[:-1])
    assert not short.closed
    assert short.energy_wh is None
    assert short.complaints() == ["Ended at seqNo none, expected at 2"]


def test_a_copy_is_counted_and_harmless_even_with_another_offline_e12() -> None:
    copied = account([*SESSION, SESSION[1], event(1, "Updated", offline=True)])
    assert copied.duplicates == 2
    assert copied.complaints() == []


def test_a_copy_that_says_something_else_is_told() -> None:
    other = account([*SESSION, event(1, "Updated", triggerReason="Trigger")])
    assert other.complaints() == ["seqNo 1 came again and said something else"]
    assert other.events[1] == SESSION[1]


def test_an_order_that_is_none_is_told() -> None:
    first, second, third, last = SESSION
    swapped = account([first, third, second, last])
    assert swapped.complaints() == ["seqNo 1 arrived after 2"]


def test_two_starts_are_told() -> None:
    twice = account([SESSION[0], event(1, "Started"), *SESSION[2:]])
    assert twice.complaints() == ["Started at seqNo [0, 1], expected at 0"]


def test_a_register_that_runs_backwards_is_told() -> None:
    backwards = account([*SESSION[:2], event(2, "Updated", "1600"), SESSION[3]])
    assert backwards.complaints() == ["the register runs backwards at seqNo 3: 1600.0, 1500.5 Wh"]


def test_transactions_do_not_mix() -> None:
    ledger = Ledger()
    ledger.take(SESSION[0])
    other = event(0, "Started", transactionInfo={"transactionId": "tx-2"})
    assert ledger.take(other).transaction_id == "tx-2"
    assert list(ledger.accounts) == ["tx-1", "tx-2"]
    assert [len(one.events) for one in ledger.accounts.values()] == [1, 1]


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
    told = event(
        0, "Updated", meterValue=[{"timestamp": "2026-11-22T12:00:00Z", "sampledValue": [sample]}]
    )
    assert told.meter_value is not None
    [register] = told.meter_value[0].sampled_value
    assert in_wh(register) == Decimal(wh)
