"""Answers of which some fields are unusable: each usable field counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from station.ocpp.messages.b_provisioning import BootNotificationResponse
from station.ocpp.messages.e_transactions import TransactionEventResponse
from station.ocpp.messages.usable_fields import UsableResponse, decode_usable_response


def usable(action: str, payload: Any) -> UsableResponse:
    return decode_usable_response(action, json.dumps(payload).encode())


def test_a_valid_answer_has_no_violation() -> None:
    response, violations = usable("TransactionEvent", {"totalCost": 1.5})
    assert isinstance(response, TransactionEventResponse)
    assert violations == ()


@pytest.mark.parametrize(
    ("surplus", "violation"),
    [
        ({"totalCost": "1.50"}, "$.totalCost: expected number, got string"),
        ({"totalCost": None}, "$.totalCost: is null"),
        ({"currency\n": "EUR"}, "$: has no field currency?"),
        ({"customData": {}}, "$.customData.vendorId: missing"),
        ({"updatedPersonalMessage": {"format": "ASCII"}}, "$.updatedPersonalMessage.content"),
        ({"updatedPersonalMessage": []}, "$.updatedPersonalMessage: is no object"),
    ],
)
def test_a_status_counts_beside_any_unusable_field(surplus: Any, violation: str) -> None:
    payload = {**surplus, "idTokenInfo": {"status": "Blocked", "language1": "en"}}
    response, violations = usable("TransactionEvent", payload)
    assert isinstance(response, TransactionEventResponse)
    assert response.id_token_info is not None
    assert response.id_token_info.status == "Blocked"
    assert response.id_token_info.language1 == "en"
    assert violations[0].startswith(violation)


def test_a_number_out_of_range_is_unusable() -> None:
    payload = b'{"totalCost": 1e999, "idTokenInfo": {"status": "Blocked"}}'
    response, violations = decode_usable_response("TransactionEvent", payload)
    assert isinstance(response, TransactionEventResponse)
    assert response.total_cost is None
    assert response.id_token_info
    assert violations


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("2026-03-01T12:00:00+0000", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01T12:00:00.5+02", "2026-03-01T12:00:00.5+02:00"),
        ("2026-03-01T12:00:00-0330", "2026-03-01T12:00:00-03:30"),
        ("2026-03-01", ""),
        (1772366400, ""),
    ],
)
def test_an_offset_as_iso_8601_has_it_is_read(written: Any, means: str) -> None:
    payload = {"status": "Accepted", "interval": "300", "currentTime": written}
    response, violations = usable("BootNotification", payload)
    assert isinstance(response, BootNotificationResponse)
    assert (response.current_time, response.interval) == (means, 300)
    assert len(violations) == 2


@pytest.mark.parametrize("payload", [[], "x", None, {"status": "Yes"}])
def test_a_required_field_without_a_substitute_makes_the_answer_unusable(payload: Any) -> None:
    response, violations = usable("BootNotification", payload)
    assert response is None
    assert violations


def test_violations_come_in_the_order_of_the_payload() -> None:
    """They are decided; a set of names would change its order between two runs."""
    names = [f"field{number}" for number in range(20)]
    _, violations = usable("Heartbeat", dict.fromkeys(names, 1))
    assert [violation.rpartition(" ")[2] for violation in violations[:20]] == names
