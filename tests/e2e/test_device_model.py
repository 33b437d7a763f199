"""The device model is reported completely, in order and consistently. B05 to B07."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import PASSWORD, StationProcess, wait_until
from tests.e2e.steps import STEP_TIMEOUT_S, check_journal, wait_booted
from tests.support.csms import Csms, Payload

# Required by Part 2 for every Charging Station; some of each required controller.
REQUIRED = {
    ("OCPPCommCtrlr", "HeartbeatInterval"),
    ("OCPPCommCtrlr", "NetworkConfigurationPriority"),
    ("OCPPCommCtrlr", "OfflineThreshold"),
    ("OCPPCommCtrlr", "ResetRetries"),
    ("OCPPCommCtrlr", "UnlockOnEVSideDisconnect"),
    ("AuthCtrlr", "LocalAuthorizeOffline"),
    ("AuthCtrlr", "LocalPreAuthorize"),
    ("AuthCtrlr", "AuthorizeRemoteStart"),
    ("TxCtrlr", "TxStartPoint"),
    ("TxCtrlr", "TxStopPoint"),
    ("TxCtrlr", "EVConnectionTimeOut"),
    ("TxCtrlr", "StopTxOnInvalidId"),
    ("SampledDataCtrlr", "TxUpdatedInterval"),
    ("AlignedDataCtrlr", "Interval"),
    ("SecurityCtrlr", "SecurityProfile"),
    ("SecurityCtrlr", "OrganizationName"),
    ("ClockCtrlr", "DateTime"),
    ("ClockCtrlr", "TimeSource"),
    ("DeviceDataCtrlr", "ItemsPerMessage"),
    ("DeviceDataCtrlr", "BytesPerMessage"),
    ("ChargingStation", "AvailabilityState"),
    ("EVSE", "AvailabilityState"),
    ("Connector", "ConnectorType"),
}


# Values that may change between two requests.
EMULATED_MODULES_C = "25"
MEASURED = {
    "DateTime", "DCCurrent", "DCVoltage", "EnergyExport", "EnergyImport", "Impedance", "Power",
    "State", "Storage", "Temperature",
}  # fmt: skip


def base_report_parts(csms: Csms, report_base: str, request_id: int) -> list[Payload]:
    """All parts of one base report in order of arrival; checks tbc and seqNo. B07."""
    after = csms.next_frame_number()
    answer = csms.call("GetBaseReport", {"requestId": request_id, "reportBase": report_base})
    assert answer["status"] == "Accepted"
    last = csms.wait_for_call(
        "NotifyReport",
        lambda part: part["requestId"] == request_id and not part.get("tbc", False),
        STEP_TIMEOUT_S,
        after=after,
    )
    parts = [frame.payload for frame in csms.calls_for("NotifyReport", after)]
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))
    assert [part.get("tbc", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert parts[-1] == last.payload
    assert all(part["requestId"] == request_id for part in parts)
    return [variable for part in parts for variable in part["reportData"]]


def variable_key(result: Payload) -> tuple[Any, ...]:
    """The identity of a variable."""
    component, variable = result["component"], result["variable"]
    evse = component.get("evse", {})
    return (
        component["name"],
        component.get("instance"),
        evse.get("id"),
        evse.get("connectorId"),
        variable["name"],
        variable.get("instance"),
    )


def get_variables(csms: Csms, *items: Payload) -> list[Payload]:
    """GetVariables with at most as many items as allowed; returns the results."""
    request = [{"component": item["component"], "variable": item["variable"]} for item in items]
    results: list[Payload] = csms.call("GetVariables", {"getVariableData": request})[
        "getVariableResult"
    ]
    return results


@pytest.mark.parametrize("report_base", ["FullInventory", "ConfigurationInventory"])
def test_a_base_report_is_complete_without_duplicates_b07(
    report_base: str, station: StationProcess, csms: Csms
) -> None:
    keys = [variable_key(row) for row in base_report_parts(csms, report_base, 17)]
    assert len(keys) == len(set(keys))
    if report_base == "FullInventory":
        assert {(key[0], key[4]) for key in keys} >= REQUIRED
        assert {key[2] for key in keys if key[0] == "EVSE"} == {1, 2}
        assert {key[2:4] for key in keys if key[0] == "Connector"} == {(1, 1), (2, 1)}


def test_a_report_and_getvariables_agree_b06_b07(station: StationProcess, csms: Csms) -> None:
    steady = [
        row
        for row in base_report_parts(csms, "FullInventory", 18)
        if row["variable"]["name"] not in MEASURED and row["component"]["name"] != "ConnectedEV"
    ]
    compared = 0
    for start in range(0, len(steady), 10):  # well within BytesPerMessageGetVariables
        batch = steady[start : start + 10]
        for reported, got in zip(batch, get_variables(csms, *batch), strict=True):
            [actual] = [
                attribute
                for attribute in reported["variableAttribute"]
                if attribute.get("type", "Actual") == "Actual"
            ] or [{"mutability": "WriteOnly"}]
            if actual.get("mutability") == "WriteOnly":
                assert got["attributeStatus"] == "Rejected", variable_key(reported)
                assert "value" not in actual, variable_key(reported)
            else:
                assert got["attributeStatus"] == "Accepted", variable_key(reported)
                assert got["attributeValue"] == actual.get("value"), variable_key(reported)
                compared += 1
    assert compared > 50


def test_a_measured_value_is_the_one_of_the_device_b06(station: StationProcess, csms: Csms) -> None:
    row = {
        "component": {"name": "AcDcConverter", "evse": {"id": 1}},
        "variable": {"name": "Temperature"},
    }

    def read_temperature() -> str:
        [result] = get_variables(csms, row)
        return str(result["attributeValue"])

    wait_until(
        lambda: read_temperature() == EMULATED_MODULES_C,
        STEP_TIMEOUT_S,
        "the temperature of the modules",
    )


def test_getvariables_answers_item_by_item_in_order_b06(
    station: StationProcess, csms: Csms
) -> None:
    def wanted(component: str, variable: str) -> Payload:
        return {"component": {"name": component}, "variable": {"name": variable}}

    results = get_variables(
        csms,
        wanted("OCPPCommCtrlr", "HeartbeatInterval"),
        wanted("Unknown", "HeartbeatInterval"),
        wanted("OCPPCommCtrlr", "Nothing"),
        wanted("txctrlr", "TXSTARTPOINT"),  # names are not case-sensitive
        wanted("SecurityCtrlr", "BasicAuthPassword"),
    )
    assert [result["attributeStatus"] for result in results] == [
        "Accepted",
        "UnknownComponent",
        "UnknownVariable",
        "Accepted",
        "Rejected",
    ]
    assert results[3]["attributeValue"] == "PowerPathClosed"


def test_a_set_value_is_kept_over_kill_9_b05(station: StationProcess, csms: Csms) -> None:
    interval = {
        "component": {"name": "SampledDataCtrlr"},
        "variable": {"name": "TxUpdatedInterval"},
    }
    [result] = csms.call(
        "SetVariables", {"setVariableData": [{**interval, "attributeValue": "37"}]}
    )["setVariableResult"]
    assert result["attributeStatus"] == "Accepted"
    after = csms.next_frame_number()
    station.kill()
    csms.wait_disconnected()
    station.start()
    wait_booted(station, csms, after)
    [value] = get_variables(csms, interval)
    assert value["attributeValue"] == "37"
    check_journal(station)


def test_no_password_is_written_to_journal_or_log(station: StationProcess, csms: Csms) -> None:
    secret = "a-new-password-of-the-station"
    csms.call(
        "SetVariables",
        {
            "setVariableData": [
                {
                    "component": {"name": "SecurityCtrlr"},
                    "variable": {"name": "BasicAuthPassword"},
                    "attributeValue": secret,
                }
            ]
        },
    )
    station.terminate()
    contents = {path: path.read_bytes() for path in station.data.rglob("*") if path.is_file()}
    contents[station.log_path] = station.log_path.read_bytes()
    assert station.journal in contents
    for path, content in contents.items():
        if "journal" in path.name or path == station.log_path:
            assert secret.encode() not in content, path
            assert PASSWORD.encode() not in content, path
