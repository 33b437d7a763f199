"""GetVariables, SetVariables and reports: what the station answers. B05 to B08.

The device model and its reports have tests of their own.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.projections.variables import VariableChanged
from station.core.blocks.b_variables import INVALID_SECRET
from tests.support.story import (
    ONLINE,
    Json,
    Station,
    accept_everything,
    called,
    csms_answers,
    error_code_in,
    frame_received,
    given,
    in_transaction,
    meter_read,
    of_kind,
    queued_payloads,
    response_payload_in,
    station_restarted,
    time_passed,
)

HEARTBEAT: Json = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "HeartbeatInterval"},
}


def variable_json(component: str, variable: str, **more: str) -> Json:
    return {"component": {"name": component}, "variable": {"name": variable}, **more}


def get_variables(station: Station, *items: Json) -> list[Json]:
    answer = response_payload_in(station.when(called("GetVariables", getVariableData=list(items))))
    results: list[Json] = answer["getVariableResult"]
    return results


def set_variables(station: Station, *items: Json) -> list[Json]:
    answer = response_payload_in(station.when(called("SetVariables", setVariableData=list(items))))
    results: list[Json] = answer["setVariableResult"]
    return results


# --- B05 -----------------------------------------------------------------------------------------


def test_each_attribute_gets_its_result_b05_fr_01_b05_fr_02() -> None:
    results = set_variables(
        given(ONLINE),
        {**HEARTBEAT, "attributeValue": "77"},
        variable_json("NoComponent", "NoVariable", attributeValue="1"),
        variable_json("OCPPCommCtrlr", "Nothing", attributeValue="1"),
        {**HEARTBEAT, "attributeValue": "5m"},
    )
    assert [result["attributeStatus"] for result in results] == [
        "Accepted",  # B05.FR.10
        "UnknownComponent",  # B05.FR.04
        "UnknownVariable",  # B05.FR.05
        "Rejected",  # B05.FR.07
    ]
    assert [result["component"]["name"] for result in results] == [
        "OCPPCommCtrlr",
        "NoComponent",
        "OCPPCommCtrlr",
        "OCPPCommCtrlr",
    ]
    assert {result["attributeType"] for result in results} == {"Actual"}  # B05.FR.12


@pytest.mark.parametrize("kind", ["Target", "MinSet", "MaxSet"])
def test_an_attribute_type_it_does_not_have_b05_fr_03_b05_fr_06(kind: str) -> None:
    [result] = set_variables(
        given(ONLINE), {**HEARTBEAT, "attributeValue": "7", "attributeType": kind}
    )
    assert result["attributeStatus"] == "NotSupportedAttributeType"
    assert result["attributeType"] == kind


@pytest.mark.parametrize("value", ["0", "-1", "99999999999999999999"])
def test_out_of_range_b05_fr_08(value: str) -> None:
    [result] = set_variables(given(ONLINE), {**HEARTBEAT, "attributeValue": value})
    assert result["attributeStatus"] == "Rejected"


def test_read_only_b05_fr_09() -> None:
    station = given(ONLINE)
    [result] = set_variables(station, variable_json("ClockCtrlr", "DateTime", attributeValue="x"))
    assert result["attributeStatus"] == "Rejected"
    assert not station.state.variables.values.get("ClockCtrlr.DateTime")


def test_a_value_that_is_set_takes_effect_at_once_b05_fr_10() -> None:
    station = given(ONLINE, in_transaction(1))
    set_variables(
        station, variable_json("SampledDataCtrlr", "TxUpdatedInterval", attributeValue="7")
    )
    decisions = station.with_csms(accept_everything, time_passed(seconds=70))
    assert len(queued_payloads(decisions, "TransactionEvent")) == 10


def test_a_value_that_was_set_outlives_a_restart_b05_fr_10() -> None:
    station = given(ONLINE)
    set_variables(station, {**HEARTBEAT, "attributeValue": "77"})
    station.when(station_restarted(boot_id="boot-2"))
    assert get_variables(station, HEARTBEAT)[0]["attributeValue"] == "77"


def test_a_refused_value_changes_nothing_b05_fr_07() -> None:
    station = given(ONLINE)
    decisions = station.when(
        called("SetVariables", setVariableData=[{**HEARTBEAT, "attributeValue": "x"}])
    )
    assert not of_kind(decisions, VariableChanged)


def test_a_value_that_needs_a_restart_is_answered_reboot_required_b05_fr_10() -> None:
    priority = variable_json("OCPPCommCtrlr", "NetworkConfigurationPriority", attributeValue="1")
    assert set_variables(given(ONLINE), priority)[0]["attributeStatus"] == "RebootRequired"


def test_too_many_at_once_b05_fr_11() -> None:
    many = [{**HEARTBEAT, "attributeValue": "7"}] * 101
    decisions = given(ONLINE).when(called("SetVariables", setVariableData=many))
    assert error_code_in(decisions) == "OccurrenceConstraintViolation"
    assert not of_kind(decisions, VariableChanged)


# --- B06 -----------------------------------------------------------------------------------------


def test_each_attribute_asked_for_gets_its_result_b06_fr_01_b06_fr_02() -> None:
    results = get_variables(
        given(ONLINE),
        HEARTBEAT,
        variable_json("NoComponent", "NoVariable"),
        variable_json("OCPPCommCtrlr", "Nothing"),
        {**HEARTBEAT, "attributeType": "MaxSet"},
    )
    assert [result["attributeStatus"] for result in results] == [
        "Accepted",  # B06.FR.10
        "UnknownComponent",  # B06.FR.06
        "UnknownVariable",  # B06.FR.07
        "NotSupportedAttributeType",  # B06.FR.08
    ]
    assert results[0]["attributeValue"] == "300"
    assert not any("attributeValue" in result for result in results[1:])
    assert [result["attributeType"] for result in results] == ["Actual"] * 3 + ["MaxSet"]


def test_a_secret_is_not_reported_b06_fr_09() -> None:
    [result] = get_variables(given(ONLINE), variable_json("SecurityCtrlr", "BasicAuthPassword"))
    assert result["attributeStatus"] == "Rejected"
    assert "attributeValue" not in result


def test_an_instance_must_be_named_b06_fr_15() -> None:
    station = given(ONLINE)
    [result] = get_variables(station, variable_json("OCPPCommCtrlr", "MessageAttempts"))
    assert result["attributeStatus"] == "UnknownVariable"
    requested = {
        "component": {"name": "OCPPCommCtrlr"},
        "variable": {"name": "MessageAttempts", "instance": "TransactionEvent"},
    }
    [result] = get_variables(station, requested)
    assert result["attributeStatus"] == "Accepted"
    assert result["variable"] == requested["variable"]  # B06.FR.14


@pytest.mark.parametrize(
    ("component", "code"),
    [("EVSE", "OccurrenceConstraintViolation"), ("E" * 50, "FormatViolation")],
)
def test_a_report_of_too_many_variables_or_bytes_is_refused_b08_fr_06_b08_fr_17_b08_fr_18(
    component: str, code: str
) -> None:
    station = given(ONLINE)
    count = 101 if component == "EVSE" else 100
    variables = [{"component": {"name": component, "instance": "I" * 50}}] * count
    decisions = station.when(called("GetReport", requestId=3, componentVariable=variables))
    assert error_code_in(decisions) == code
    assert not queued_payloads(decisions, "NotifyReport")


def test_too_many_asked_for_b06_fr_16() -> None:
    decisions = given(ONLINE).when(called("GetVariables", getVariableData=[HEARTBEAT] * 101))
    assert error_code_in(decisions) == "OccurrenceConstraintViolation"


def test_too_long_a_question_b06_fr_17() -> None:
    long = {"component": {"name": "N" * 50}, "variable": {"name": "V" * 50}}
    decisions = given(ONLINE).when(called("GetVariables", getVariableData=[long] * 20))
    assert error_code_in(decisions) == "FormatViolation"


@pytest.mark.parametrize(("size", "fits"), [(2048, True), (2049, False)])
def test_a_question_may_fill_the_bytes_there_are_b06_fr_17(size: int, fits: bool) -> None:
    body = json.dumps({"getVariableData": [HEARTBEAT]})
    body = body[:-1] + " " * (size - len(body)) + "}"
    decisions = given(ONLINE).when(frame_received(f'[2,"m-1","GetVariables",{body}]'))
    assert bool(of_kind(decisions, CallResultQueued)) is fits
    assert bool(of_kind(decisions, CallErrorQueued)) is not fits


@pytest.mark.parametrize(
    ("value", "attribute_type", "status"),
    [
        ("<secret 0123456789abcdef0123456789abcdef>", "Actual", "Accepted"),
        (INVALID_SECRET, "Actual", "Rejected"),
        (INVALID_SECRET, "Target", "NotSupportedAttributeType"),
    ],
)
def test_a_password_is_set_where_it_is_fit_a01_fr_01(
    value: str, attribute_type: str, status: str
) -> None:
    requested = variable_json(
        "SecurityCtrlr", "BasicAuthPassword", attributeValue=value, attributeType=attribute_type
    )
    decisions = given(ONLINE).when(called("SetVariables", setVariableData=[requested]))
    assert response_payload_in(decisions)["setVariableResult"][0]["attributeStatus"] == status
    assert bool(of_kind(decisions, VariableChanged)) is (status == "Accepted")


@pytest.mark.parametrize("of", ["development", "evs-flash-300"])
def test_every_variable_can_be_read_or_is_refused_with_a_reason_b06_fr_04(of: str) -> None:
    station = given(ONLINE, in_transaction(1), meter_read(2, "5", voltage_v="1"), profile_name=of)
    for definition in station.product.device_model.definitions:
        component, key = definition.key.component, definition.key
        requested: Json = {"component": {"name": component.name}, "variable": {"name": key.name}}
        if component.instance:
            requested["component"]["instance"] = component.instance
        if component.evse_id is not None:
            requested["component"]["evse"] = {"id": component.evse_id}
        if component.connector_id is not None:
            requested["component"]["evse"]["connectorId"] = component.connector_id
        if key.instance:
            requested["variable"]["instance"] = key.instance
        [result] = get_variables(station, requested)
        expected = "Rejected" if definition.secret else "Accepted"
        assert result["attributeStatus"] == expected, definition.path


@pytest.mark.parametrize(
    ("component", "evse", "variable", "value"),
    [
        ("EVSE", {"id": 1}, "AvailabilityState", "Occupied"),
        ("EVSE", {"id": 2}, "AvailabilityState", "Available"),
        ("Connector", {"id": 1, "connectorId": 1}, "AvailabilityState", "Occupied"),
        ("ChargingStation", None, "AvailabilityState", "Available"),
    ],
)
def test_what_is_measured_is_reported_as_it_is_b06_fr_04(
    component: str, evse: Json | None, variable: str, value: str
) -> None:
    part: Json = {"name": component}
    if evse:
        part["evse"] = evse
    requested = {"component": part, "variable": {"name": variable}}
    [result] = get_variables(given(ONLINE, in_transaction(1)), requested)
    assert result["attributeValue"] == value


# --- B07, B08 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["ConfigurationInventory", "FullInventory", "SummaryInventory"])
def test_a_base_report_follows_its_answer_b07_fr_01(base: str) -> None:
    station = given(ONLINE)
    decisions = station.when(called("GetBaseReport", requestId=12, reportBase=base))
    assert isinstance(decisions[0], CallResultQueued)
    assert response_payload_in(decisions) == {"status": "Accepted"}
    parts = queued_payloads(decisions + station.when(csms_answers()), "NotifyReport")
    assert {part["requestId"] for part in parts} == {12}
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))  # B07.FR.10
    assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]
    if base == "FullInventory":
        reported = sum(len(part["reportData"]) for part in parts)
        assert reported == len(station.product.device_model.definitions)


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("GetBaseReport", {"reportBase": "ConfigurationInventory"}),  # B07.FR.13
        ("GetReport", {"componentVariable": [HEARTBEAT]}),  # B08.FR.16
    ],
)
def test_one_report_at_a_time_b07_fr_13_b08_fr_16(action: str, fields: dict[str, Any]) -> None:
    station = given(ONLINE)
    station.when(called("GetBaseReport", requestId=1, reportBase="FullInventory"))
    refused = station.when(called(action, requestId=2, **fields))
    assert response_payload_in(refused)["status"] == "Rejected"
    assert not queued_payloads(refused, "NotifyReport")
    station.when(csms_answers())
    accepted = station.when(called(action, requestId=3, **fields))
    assert response_payload_in(accepted)["status"] == "Accepted"


def test_a_flood_of_report_requests_queues_one_report_p6() -> None:
    station = given(ONLINE)
    for number in range(50):
        station.when(called("GetBaseReport", requestId=number, reportBase="FullInventory"))
    requested = station.state.outbox.general_count("NotifyReport")
    assert 0 < requested < 40


def test_a_report_has_what_was_requested_b08_fr_01() -> None:
    station = given(ONLINE)
    decisions = station.when(called("GetReport", requestId=3, componentVariable=[HEARTBEAT]))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    [part] = queued_payloads(decisions, "NotifyReport")
    [data] = part["reportData"]
    assert data["variable"] == {"name": "HeartbeatInterval"}
    assert data["variableAttribute"][0]["value"] == "300"
    assert part["tbc"] is False


def test_a_report_of_nothing_b08_fr_15() -> None:
    decisions = given(ONLINE).when(
        called(
            "GetReport", requestId=3, componentVariable=[variable_json("NoComponent", "NoVariable")]
        )
    )
    assert response_payload_in(decisions)["status"] == "EmptyResultSet"
    assert not queued_payloads(decisions, "NotifyReport")


def test_a_report_by_criteria_b08() -> None:
    decisions = given(ONLINE).when(called("GetReport", requestId=3, componentCriteria=["Problem"]))
    assert response_payload_in(decisions)["status"] == "EmptyResultSet"


def test_a_report_never_holds_a_secret_b07_fr_03() -> None:
    station = given(ONLINE)
    decisions = station.when(called("GetBaseReport", requestId=1, reportBase="FullInventory"))
    secrets = [
        data
        for part in queued_payloads(decisions, "NotifyReport")
        for data in part["reportData"]
        if data["variable"]["name"] == "BasicAuthPassword"
    ]
    assert secrets
    assert not any(
        "value" in attribute for data in secrets for attribute in data["variableAttribute"]
    )
