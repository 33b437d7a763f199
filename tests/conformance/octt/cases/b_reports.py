"""Block B: GetReport, and the SummaryInventory of GetBaseReport (Advanced Device Management)."""

from __future__ import annotations

from typing import Any

from tests.conformance.octt.cases.b_provisioning import collect_report, request_base_report
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import NO_ERROR_INFO, OMITTED, check_fields, one_of, require
from tests.support.csms import Payload

AVAILABILITY = "AvailabilityState"
CONDITIONS = ("Problem", "Tripped", "Overload", "Fallback")
READ_AT_ONCE = 10  # variables of a GetVariables: its BytesPerMessage may be small
AVAILABILITY_VARIABLE = {
    "variable.name": AVAILABILITY,
    "variableCharacteristics.dataType": "OptionList",
    "variableCharacteristics.valuesList": "Available,Occupied,Reserved,Unavailable,Faulted",
}


def _request_report(tester: Tester, step: str, **criteria: Any) -> list[Payload]:
    """A GetReport that is accepted; returns the reported variables."""
    request = {"requestId": tester.next_id()} | criteria
    expected = {"status": "Accepted", "statusInfo": NO_ERROR_INFO}
    tester.send_call(step, "GetReport", request, expected)
    return collect_report(tester, request["requestId"])


def _component_variable(
    component: str, variable: str, instance: str | None = None, evse_id: int | None = None
) -> Payload:
    evse = {"evse": {"id": evse_id}} if evse_id is not None else {}
    named = {"name": variable} | ({"instance": instance} if instance else {})
    return {"component": {"name": component} | evse, "variable": named}


def _actual_of(row: Payload) -> Payload:
    """The Actual attribute of a reported variable."""
    [attribute] = [
        each for each in row["variableAttribute"] if each.get("type", "Actual") == "Actual"
    ]
    return dict(attribute)


def _place_of(row: Payload) -> tuple[str, int | None, int | None]:
    evse = row["component"].get("evse", {})
    return row["component"]["name"], evse.get("id"), evse.get("connectorId")


def _key_of(row: Payload) -> str:
    return f"{row['component']} {row['variable']}"


def tc_b_14_cs(tester: Tester) -> None:
    """One EVSE is occupied, so that the states to report differ."""
    tester.plug_in()
    tester.expect_status("preparation", "Occupied")
    rows = request_base_report(tester, "step 1", "SummaryInventory")
    states_by_place = {
        _place_of(row): _actual_of(row).get("value")
        for row in rows
        if row["variable"]["name"] == AVAILABILITY
    }
    require(
        "afterwards",
        ("ChargingStation", None, None) in states_by_place,
        "the state of the station must be reported",
    )
    for evse_id, _ in tester.connectors:
        place = ("EVSE", evse_id, None)
        require("afterwards", place in states_by_place, f"EVSE {evse_id} must be reported")
    connected = states_by_place["EVSE", tester.evse_id, None]
    require("afterwards", connected == "Occupied", f"the EVSE is Occupied, got {connected}")
    for row in rows:
        if row["variable"]["name"] in CONDITIONS:
            check_fields(_key_of(row), _actual_of(row), {"value": "true"})
    settable = [_key_of(row) for row in rows if _actual_of(row).get("mutability") != "ReadOnly"]
    require("afterwards", not settable, f"{settable} are no conditions of the station")


def tc_b_16_cs(tester: Tester) -> None:
    # Without a component that is disabled, a report of all components would pass.
    tester.configure_variable("LocalAuthListCtrlr", "Enabled", "false")
    every = request_base_report(tester, "preparation", "FullInventory")
    rows = _request_report(tester, "step 1", componentCriteria=["Enabled"])
    enabled = {_key_of(row): row for row in rows if row["variable"]["name"] == "Enabled"}
    for key, row in enabled.items():
        if "instance" not in row["variable"]:
            check_fields(key, _actual_of(row), {"value": "true"})
    missing = [
        _key_of(row)
        for row in every
        if row["variable"] == {"name": "Enabled"}
        and _actual_of(row).get("value") == "true"
        and _key_of(row) not in enabled
    ]
    require("afterwards", not missing, f"{missing} must be reported")
    _check_readable(tester, rows)


def _check_readable(tester: Tester, rows: list[Payload]) -> None:
    """GetVariables accepts each reported variable, except WriteOnly ones. Errata 6.2.12."""
    for start in range(0, len(rows), READ_AT_ONCE):
        part = rows[start : start + READ_AT_ONCE]
        data = [{"component": row["component"], "variable": row["variable"]} for row in part]
        response = tester.send_call("step 5", "GetVariables", {"getVariableData": data})
        for row, result in zip(part, response["getVariableResult"], strict=True):
            attribute = _actual_of(row)
            if attribute.get("mutability") == "WriteOnly":
                expected: dict[str, Any] = {
                    "attributeStatus": "Rejected",
                    "attributeValue": OMITTED,
                }
            else:
                expected = {"attributeStatus": "Accepted"}
                if row["variable"]["name"] == "Enabled":
                    expected["attributeValue"] = attribute["value"]
            check_fields(_key_of(row), result, expected)


def _check_availability(step: str, rows: list[Payload]) -> None:
    """The report is the AvailabilityState of EVSE 1."""
    require(step, len(rows) == 1, f"one variable must be reported, got {len(rows)}")
    [row] = rows
    expected = AVAILABILITY_VARIABLE | {"component.name": "EVSE", "component.evse.id": 1}
    check_fields(step, row, expected)
    check_fields(
        step, _actual_of(row), {"mutability": "ReadOnly", "type": one_of("Actual", OMITTED)}
    )


def tc_b_17_cs(tester: Tester) -> None:
    item = _component_variable("EVSE", AVAILABILITY, evse_id=1)
    _check_availability("step 3", _request_report(tester, "step 1", componentVariable=[item]))


def tc_b_18_cs(tester: Tester) -> None:
    item = _component_variable("EVSE", AVAILABILITY, evse_id=1)
    rows = _request_report(
        tester, "step 1", componentCriteria=["Available"], componentVariable=[item]
    )
    _check_availability("step 3", rows)
    request = {
        "requestId": tester.next_id(),
        "componentCriteria": ["Problem"],
        "componentVariable": [item],
    }
    expected = {"status": "EmptyResultSet", "statusInfo.reasonCode": one_of("NotFound", OMITTED)}
    tester.send_call("step 5", "GetReport", request, expected)


def _instances_of_items_per_message(tester: Tester, instance: str | None) -> set[str]:
    item = _component_variable("DeviceDataCtrlr", "ItemsPerMessage", instance)
    rows = _request_report(tester, "step 1", componentVariable=[item])
    for row in rows:
        expected = {"component.name": "DeviceDataCtrlr", "variable.name": "ItemsPerMessage"}
        check_fields("step 3", row, expected)
    return {row["variable"].get("instance", "") for row in rows}


def tc_b_54_cs(tester: Tester) -> None:
    instances = _instances_of_items_per_message(tester, None)
    missing = {"GetReport", "GetVariables"} - instances
    require("step 3", not missing, f"instances {missing} must be reported")


def tc_b_55_cs(tester: Tester) -> None:
    instances = _instances_of_items_per_message(tester, "GetReport")
    require("step 3", instances == {"GetReport"}, f"only GetReport was requested, got {instances}")


def tc_b_56_cs(tester: Tester) -> None:
    item = _component_variable("EVSE", AVAILABILITY)
    rows = _request_report(tester, "step 1", componentVariable=[item])
    for row in rows:
        check_fields("step 3", row, {"component.name": "EVSE", "variable.name": AVAILABILITY})
    places = {_place_of(row)[1] for row in rows}
    expected = {evse.id for evse in tester.profile.evse}
    require("step 3", places == expected, f"EVSEs {expected} must be reported, got {places}")
