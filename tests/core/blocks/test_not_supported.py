"""Every action of OCPP 2.0.1 is answered, supported or not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from station.core import decide
from station.core.blocks import not_supported
from station.ocpp.messages import ACTIONS
from tests.ocpp.messages.schemas import example_payload, schema_of
from tests.support.story import (
    BOOTED,
    IDLE,
    LINK_OPENED,
    Json,
    Station,
    accept_everything,
    answer_boot_only,
    called,
    csms_answers,
    error_code_in,
    given,
    in_transaction,
    of_kind,
    payload_of,
    response_payload_in,
)


def csms_with_boot_status(word: str) -> Any:
    """A CSMS that answers the boot with that status."""

    def csms(action: str, payload: Json) -> Json | None:
        answer = accept_everything(action, payload)
        return {**(answer or {}), "status": word} if action == "BootNotification" else answer

    return csms


STATES = {
    "Accepted": accept_everything,
    "Pending": csms_with_boot_status("Pending"),
    "Rejected": csms_with_boot_status("Rejected"),
    "Unknown": lambda action, payload: None,
}


def station_in_state(word: str, profile_name: str) -> Station:
    station = given(BOOTED, IDLE, LINK_OPENED, profile_name=profile_name, csms=STATES[word])
    assert station.state.registration.status == word
    return station


def full_request(action: str) -> Json:
    """A CALL with every field the schema allows."""
    schema = schema_of(f"{action}Request")
    payload = json.loads(json.dumps(example_payload(schema, schema), default=float))
    assert isinstance(payload, dict)
    return payload


def minimal_request(action: str) -> Json:
    """A CALL with only the required fields."""
    required = schema_of(f"{action}Request").get("required", ())
    return {key: value for key, value in full_request(action).items() if key in required}


@pytest.mark.parametrize("of", ["development", "evs-flash-300"])
@pytest.mark.parametrize("word", STATES)
def test_every_message_gets_an_answer_that_fits_its_schema(word: str, of: str) -> None:
    """The stories check each answer against its schema, and that there is one."""
    for action in ACTIONS:
        for payload in (full_request(action), minimal_request(action)):
            station = station_in_state(word, of)
            decisions = station.when(called(action, **payload))
            replies = [
                decision
                for decision in decisions
                if isinstance(decision, CallResultQueued | CallErrorQueued)
            ]
            assert len(replies) == 1, action


def test_every_order_of_the_csms_has_one_handler() -> None:
    orders = {action for action, known in ACTIONS.items() if known.sender != "station"}
    assert decide.CALLS.keys() == orders


def test_what_a_block_handles_is_no_longer_unsupported() -> None:
    handled = {
        action
        for name in vars(decide)
        if name[:2] in {f"{letter}_" for letter in "abcdefghijklmnop"}
        for action in getattr(getattr(decide, name), "CALLS", {})
    }
    assert handled
    assert not handled & not_supported.CALLS.keys()


def test_a_rejected_station_refuses_every_call_b03_fr_08() -> None:
    for action in ACTIONS:
        decisions = station_in_state("Rejected", "development").when(
            called(action, **full_request(action))
        )
        assert error_code_in(decisions) == "SecurityError", action


def test_actions_of_a_station_are_not_supported_from_a_csms() -> None:
    for action, known in ACTIONS.items():
        if known.sender == "station":
            decisions = station_in_state("Accepted", "development").when(
                called(action, **full_request(action))
            )
            assert error_code_in(decisions) == "NotSupported", action


def test_an_unknown_action_is_not_implemented() -> None:
    decisions = station_in_state("Accepted", "development").when(called("MakeCoffee"))
    assert error_code_in(decisions) == "NotImplemented"


def response_to(action: str, profile_name: str = "development") -> Json:
    return response_payload_in(
        station_in_state("Accepted", profile_name).when(called(action, **full_request(action)))
    )


def test_without_a_local_list_its_version_is_zero_d02_fr_03() -> None:
    assert response_to("GetLocalListVersion") == {"versionNumber": 0}


def test_without_reservations_each_is_rejected_h01_fr_01() -> None:
    assert response_to("ReserveNow")["status"] == "Rejected"


def test_an_unknown_reservation_cannot_be_cancelled_h02_fr_01() -> None:
    assert response_to("CancelReservation")["status"] == "Rejected"


def test_without_smart_charging_a_profile_is_a_call_error_k01_fr_29() -> None:
    decisions = station_in_state("Accepted", "evs-flash-300").when(
        called("SetChargingProfile", **full_request("SetChargingProfile"))
    )
    assert error_code_in(decisions) == "NotSupported"


def test_a_composite_schedule_is_rejected_k08_fr_05() -> None:
    assert response_to("GetCompositeSchedule", "evs-flash-300")["status"] == "Rejected"


def test_where_no_profile_is_none_can_be_cleared_k10_fr_01() -> None:
    assert response_to("ClearChargingProfile", "evs-flash-300")["status"] == "Unknown"
    assert response_to("GetChargingProfiles", "evs-flash-300")["status"] == "NoProfiles"


def test_each_monitor_is_refused_by_itself_n04_fr_01() -> None:
    payload = full_request("SetVariableMonitoring")
    [one] = payload["setMonitoringData"]
    other = {**one, "type": "Delta", "severity": 3}
    decisions = station_in_state("Accepted", "evs-flash-300").when(
        called("SetVariableMonitoring", setMonitoringData=[one, other])
    )
    results = response_payload_in(decisions)["setMonitoringResult"]
    assert [result["status"] for result in results] == ["Rejected", "Rejected"]
    assert [result["type"] for result in results] == [one["type"], "Delta"]
    assert results[1]["component"] == one["component"]


def test_a_monitor_that_does_not_exist_is_not_found_n06_fr_02() -> None:
    decisions = station_in_state("Accepted", "evs-flash-300").when(
        called("ClearVariableMonitoring", id=[4, 5])
    )
    results = response_payload_in(decisions)["clearMonitoringResult"]
    assert results == [{"status": "NotFound", "id": 4}, {"status": "NotFound", "id": 5}]


def test_an_unknown_vendor_is_answered_unknown_p01_fr_05() -> None:
    assert response_to("DataTransfer") == {"status": "UnknownVendorId"}


def test_no_refusal_touches_what_runs() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, in_transaction(1))
    before = station.state
    for action in not_supported.CALLS:
        station.when(called(action, **full_request(action)), csms_answers(answer_boot_only))
    assert station.state.transactions == before.transactions
    assert station.state.variables == before.variables
    assert station.state.outbox == before.outbox


def test_a_refusal_names_its_reason() -> None:
    station = station_in_state("Accepted", "evs-flash-300")
    [reply] = of_kind(station.when(called("SetMonitoringLevel", severity=4)), CallResultQueued)
    assert payload_of(reply) == {
        "status": "Rejected",
        "statusInfo": {"reasonCode": "UnsupportedRequest"},
    }
