"""The ledger reports every way in which the account of a transaction can be incomplete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.support.csms.ledger import Ledger

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def event_payload(
    seq_no: int,
    event_type: str = "Updated",
    *,
    wh: str | None = None,
    context: str = "Sample.Periodic",
    unit: dict[str, Any] | None = None,
    at_s: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    at = (START + timedelta(seconds=seq_no if at_s is None else at_s)).isoformat()
    payload: dict[str, Any] = {
        "eventType": event_type,
        "timestamp": at,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": "t"},
        "evse": {"id": 1},
        **more,
    }
    if wh is not None:
        sample: dict[str, Any] = {"value": Decimal(wh), "context": context}
        sample |= {"unitOfMeasure": unit} if unit is not None else {}
        payload["meterValue"] = [{"timestamp": at, "sampledValue": [sample]}]
    return payload


COMPLETE = (
    event_payload(0, "Started", wh="100.5", context="Transaction.Begin"),
    event_payload(1, wh="101"),
    event_payload(2, "Ended", wh="103.75", context="Transaction.End"),
)


def ledger_of(*payloads: dict[str, Any]) -> Ledger:
    ledger = Ledger()
    for payload in payloads:
        ledger.receive(payload, START)
    return ledger


def test_a_complete_account_has_no_problem() -> None:
    ledger = ledger_of(*COMPLETE)
    assert ledger.find_problems("t") == []
    assert ledger.is_closed("t")
    assert ledger.energy_wh("t") == Decimal("3.25")


def test_a_repeated_event_is_one_event_and_one_duplicate() -> None:
    ledger = ledger_of(COMPLETE[0], COMPLETE[1], COMPLETE[1] | {"offline": True}, COMPLETE[2])
    assert ledger.find_problems("t") == []
    assert ledger.count_duplicates("t") == 1
    assert [receipt.seq_no for receipt in ledger.receipts_of("t")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("payloads", "problem"),
    [
        ((COMPLETE[0], COMPLETE[2]), "seqNo missing: [1]"),
        ((COMPLETE[0], COMPLETE[2], COMPLETE[1]), "seqNo 1 arrived after 2"),
        ((*COMPLETE, event_payload(1, wh="102")), "seqNo 1 repeated with another payload"),
        (COMPLETE[:2], "Ended at seqNo [], expected at [1]"),
        ((event_payload(0), *COMPLETE[1:]), "Started at seqNo [], expected at [0]"),
        ((COMPLETE[0], event_payload(1, "Started"), COMPLETE[2]), "Started at seqNo [0, 1]"),
        ((COMPLETE[0], event_payload(1, "Ended"), COMPLETE[2]), "Ended at seqNo [1, 2]"),
        ((*COMPLETE[:2], event_payload(2, "Ended", evse={"id": 2})), "several EVSEs: [1, 2]"),
        ((COMPLETE[0], event_payload(1, at_s=-1), COMPLETE[2]), "timestamp of seqNo 1 is before"),
        ((COMPLETE[0], event_payload(1, wh="100"), COMPLETE[2]), "register runs backwards"),
    ],
)
def test_a_wrong_account_is_named(payloads: tuple[dict[str, Any], ...], problem: str) -> None:
    assert problem in "\n".join(ledger_of(*payloads).find_problems("t"))


def test_an_unknown_transaction_is_a_problem() -> None:
    assert Ledger().find_problems("t") == ["no TransactionEvent arrived"]


def test_a_stepped_clock_is_no_problem_when_it_was_stepped() -> None:
    ledger = ledger_of(COMPLETE[0], event_payload(1, at_s=-1), COMPLETE[2])
    assert ledger.find_problems("t", clock_stepped=True) == []


def test_an_account_with_a_gap_is_not_closed_though_it_ended() -> None:
    assert not ledger_of(COMPLETE[0], COMPLETE[2]).is_closed("t")


def test_registers_count_in_wh_whatever_unit_and_multiplier_say() -> None:
    ledger = ledger_of(
        event_payload(0, "Started", wh="1.5", context="Transaction.Begin", unit={"unit": "kWh"}),
        event_payload(1, "Ended", wh="2", context="Transaction.End", unit={"multiplier": 3}),
    )
    assert ledger.energy_wh("t") == Decimal(500)


def test_energy_without_a_begin_is_an_error() -> None:
    with pytest.raises(LookupError, match="no register"):
        ledger_of(COMPLETE[1], COMPLETE[2]).energy_wh("t")
