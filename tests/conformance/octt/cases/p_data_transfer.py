"""Block P: DataTransfer and custom data."""

from __future__ import annotations

from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import OMITTED, check_fields, one_of

CUSTOM = {"vendorId": "org.openchargealliance.octt", "note": "without meaning for the station"}


def tc_p_01_cs(tester: Tester) -> None:
    request = {"vendorId": "org.openchargealliance.octt", "messageId": "unknown-message"}
    status = one_of("UnknownVendorId", "UnknownMessageId", "Rejected")
    tester.send_call("step 1", "DataTransfer", request, {"status": status})


def tc_p_03_cs(tester: Tester) -> None:
    tester.configure_variable("OCPPCommCtrlr", "OfflineThreshold", 60)
    data = {
        "component": {"name": "OCPPCommCtrlr"},
        "variable": {"name": "OfflineThreshold"},
        "attributeType": "Actual",
        "customData": CUSTOM,
    }
    request = {"setVariableData": [data | {"attributeValue": "200"}], "customData": CUSTOM}
    response = tester.send_call("step 1", "SetVariables", request)
    check_fields("step 2", response, {"setVariableResult[0].attributeStatus": "Accepted"})
    request = {"getVariableData": [data], "customData": CUSTOM}
    response = tester.send_call("step 3", "GetVariables", request)
    check_fields(
        "step 4",
        response["getVariableResult"][0],
        {
            "attributeStatus": "Accepted",
            "attributeType": one_of("Actual", OMITTED),
            "attributeValue": "200",
        },
    )
