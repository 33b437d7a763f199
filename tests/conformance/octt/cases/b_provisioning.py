"""Block B: booting, variables, reports, network profiles, reconnecting."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.certificates import make_root, make_server_certificate
from tests.conformance.octt.fresh import needs_fresh_station
from tests.conformance.octt.required import missing_of
from tests.conformance.octt.tester import TOKEN_TYPE, Tester
from tests.conformance.octt.verify import (
    NO_ERROR_INFO,
    OMITTED,
    PRESENT,
    check_fields,
    one_of,
    require,
)
from tests.support.csms import Payload
from tests.support.csms.ledger import parse_instant

COMM = "OCPPCommCtrlr"
LIST_TYPES = ("OptionList", "SequenceList", "MemberList")
NOT_A_NUMBER = ("true", "abc")


# Booting (B01 to B03).


def tc_b_01_cs(t: Tester) -> None:
    states.reset_and_boot(t)


def tc_b_02_cs(t: Tester) -> None:
    t.csms.responses.boot_status = "Pending"
    t.csms.responses.boot_interval_s = 60
    t.reset_station("manual action")
    t.expect_boot_notification("step 1")
    status = set_variable(t, "step 3", "OfflineThreshold", "300")
    check_fields("step 4", status, {"attributeStatus": "Accepted"})
    result = get_variable(t, "step 5", "OfflineThreshold")
    check_fields("step 6", result, {"attributeStatus": "Accepted"})
    request_base_report(t, "step 7", "FullInventory")
    request = {
        "idToken": {"idToken": VALID, "type": TOKEN_TYPE},
        "remoteStartId": t.next_id(),
        "evseId": t.evse_id,
    }
    t.send_call("step 11", "RequestStartTransaction", request, {"status": "Rejected"})
    t.csms.responses.boot_status = "Accepted"
    t.csms.responses.boot_interval_s = 300
    answer = t.send_call(
        "step 13",
        "TriggerMessage",
        {"requestedMessage": "BootNotification"},
        {"status": one_of("Accepted", "NotImplemented")},
    )
    triggered = answer["status"] == "Accepted"
    t.expect_boot_notification(
        "step 15", {"reason": "Triggered"} if triggered else {}, timeout_s=70
    )
    t.expect_statuses("step 17")


def tc_b_03_cs(t: Tester) -> None:
    interval_s = t.settings.heartbeat_interval_s
    t.csms.responses.boot_status = "Rejected"
    t.csms.responses.boot_interval_s = interval_s
    t.reset_station("manual action")
    first = t.take_call("step 1", "BootNotification", timeout_s=60)
    t.csms.responses.boot_status = "Accepted"
    t.csms.responses.boot_interval_s = 300
    second = t.take_call("step 3", "BootNotification", timeout_s=interval_s + 20)
    waited_s = second.monotonic_s - first.monotonic_s
    require(
        "step 3",
        waited_s >= interval_s,
        f"must be sent after {interval_s} s, was sent after {waited_s:.2f} s",
    )
    between = [
        frame.action
        for frame in t.csms.record.frames[first.number + 1 : second.number]
        if frame.incoming and frame.type == 2
    ]
    require("step 3", not between, f"nothing may be sent in between, got {between}")
    t.expect_statuses("step 5")


def tc_b_30_cs(t: Tester) -> None:
    t.csms.responses.boot_status = "Rejected"
    t.csms.responses.boot_interval_s = 5
    t.reset_station("manual action")
    t.expect_boot_notification("step 1")
    if t.csms.is_connected:
        request = {"requestId": t.next_id(), "reportBase": "FullInventory"}
        t.expect_call_error("step 3", "GetBaseReport", request, "SecurityError")
    t.csms.responses.boot_status = "Accepted"
    t.csms.responses.boot_interval_s = 300
    t.expect_boot_notification("afterwards")


# Status after an offline period (B04).


def tc_b_51_cs(t: Tester) -> None:
    threshold_s = t.settings.offline_threshold_s
    t.configure_variable(COMM, "OfflineThreshold", threshold_s)
    t.configure_variable(COMM, "RetryBackOffWaitMinimum", threshold_s + 2)
    t.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    t.go_offline()
    t.plug_in()
    t.wait(threshold_s + 1)
    t.go_online()
    t.expect_statuses("step 4", exceptions={t.evse_id: "Occupied"})


def tc_b_52_cs(t: Tester) -> None:
    threshold_s = t.settings.offline_threshold_s + 4
    t.configure_variable(COMM, "OfflineThreshold", threshold_s)
    t.configure_variable(COMM, "RetryBackOffWaitMinimum", t.settings.offline_threshold_s - 4)
    t.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    t.go_offline()
    t.plug_in()
    t.wait(1)
    t.go_online()
    t.expect_status("step 4", "Occupied")
    t.expect_no_status("step 4", 2.0, t.settings.second_evse_id)


# GetVariables and SetVariables (B05, B06).


def tc_b_06_cs(t: Tester) -> None:
    t.configure_variable(COMM, "OfflineThreshold", 300)
    result = get_variable(t, "step 1", "OfflineThreshold", attributeType="Actual")
    check_fields("step 2", result, _expected_value("OfflineThreshold", COMM, "300"))


def tc_b_07_cs(t: Tester) -> None:
    t.configure_variable(COMM, "OfflineThreshold", 300)
    t.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    expected = (("OfflineThreshold", COMM, "300"), ("LocalAuthorizeOffline", "AuthCtrlr", "true"))
    data = [
        {"variable": {"name": name}, "component": {"name": component}, "attributeType": "Actual"}
        for name, component, _ in expected
    ]
    response = t.send_call("step 1", "GetVariables", {"getVariableData": data})
    for name, component, value in expected:
        result = _result_of(response["getVariableResult"], name)
        check_fields("step 2", result, _expected_value(name, component, value))


def tc_b_32_cs(t: Tester) -> None:
    result = get_variable(t, "step 1", "OfflineThreshold", "UnknownComponent")
    check_fields(
        "step 2",
        result,
        _expected_refusal("UnknownComponent", "UnknownComponent", "OfflineThreshold"),
    )


def tc_b_33_cs(t: Tester) -> None:
    result = get_variable(t, "step 1", "UnknownVariable")
    check_fields("step 2", result, _expected_refusal("UnknownVariable", COMM, "UnknownVariable"))


def tc_b_34_cs(t: Tester) -> None:
    result = get_variable(t, "step 1", "OfflineThreshold", attributeType="Target")
    expected = _expected_refusal("NotSupportedAttributeType", COMM, "OfflineThreshold")
    check_fields("step 2", result, expected | {"attributeType": "Target"})


def tc_b_09_cs(t: Tester) -> None:
    t.configure_variable(COMM, "OfflineThreshold", 299)
    result = set_variable(t, "step 1", "OfflineThreshold", "300", attributeType="Actual")
    check_fields("step 2", result, _expected_change("OfflineThreshold", COMM))


def tc_b_10_cs(t: Tester) -> None:
    t.configure_variable(COMM, "OfflineThreshold", 299)
    t.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=False)
    expected = (("OfflineThreshold", COMM, "300"), ("LocalAuthorizeOffline", "AuthCtrlr", "true"))
    data = [
        {
            "variable": {"name": name},
            "component": {"name": component},
            "attributeValue": value,
            "attributeType": "Actual",
        }
        for name, component, value in expected
    ]
    response = t.send_call("step 1", "SetVariables", {"setVariableData": data})
    for name, component, _ in expected:
        result = _result_of(response["setVariableResult"], name)
        check_fields("step 2", result, _expected_change(name, component))


def tc_b_35_cs(t: Tester) -> None:
    result = set_variable(t, "step 1", "OfflineThreshold", "300", "UnknownComponent")
    check_fields(
        "step 2",
        result,
        _expected_refusal("UnknownComponent", "UnknownComponent", "OfflineThreshold"),
    )


def tc_b_36_cs(t: Tester) -> None:
    result = set_variable(t, "step 1", "UnknownVariable", "300")
    check_fields("step 2", result, _expected_refusal("UnknownVariable", COMM, "UnknownVariable"))


def tc_b_37_cs(t: Tester) -> None:
    result = set_variable(t, "step 1", "OfflineThreshold", "300", attributeType="Target")
    expected = _expected_refusal("NotSupportedAttributeType", COMM, "OfflineThreshold")
    check_fields("step 2", result, expected | {"attributeType": "Target"})


def tc_b_11_cs(t: Tester) -> None:
    t.configure_variable(COMM, "OfflineThreshold", 60)  # so that the bench restores it
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    values = ("300", "300.1", "true", now, "abc")
    accepted_of = {  # (component, variable): values of its data type
        (COMM, "OfflineThreshold"): {"300"},
        ("SmartChargingCtrlr", "LimitChangeSignificance"): {"300", "300.1"},
        ("AuthCtrlr", "AuthorizeRemoteStart"): {"true"},
        ("ClockCtrlr", "NextTimeOffsetTransitionDateTime"): {now},
    }
    for (component, variable), accepted in accepted_of.items():
        if not _is_writable(t, component, variable):
            continue
        for value in values:
            result = set_variable(t, f"set {value}", variable, value, component)
            status = "Accepted" if value in accepted else "Rejected"
            reasons = one_of(OMITTED, *(() if status == "Accepted" else ("InvalidValue",)))
            check_fields(
                f"{component}.{variable} = {value}",
                result,
                {
                    "attributeStatus": status,
                    "attributeType": one_of("Actual", OMITTED),
                    "component.name": component,
                    "variable.name": variable,
                    "attributeStatusInfo.reasonCode": (
                        one_of(OMITTED, "NoError") if status == "Accepted" else PRESENT
                    )
                    if result.get("attributeStatusInfo")
                    else reasons,
                },
            )


def tc_b_39_cs(t: Tester) -> None:
    variable = {"name": "MessageTimeout", "instance": "Default"}
    data = {"component": {"name": COMM}, "variable": variable, "attributeValue": "60"}
    response = t.send_call("step 1", "SetVariables", {"setVariableData": [data]})
    expected = _expected_refusal("Rejected", COMM, "MessageTimeout") | {
        "variable.instance": "Default"
    }
    check_fields("step 2", response["setVariableResult"][0], expected)


# Reports (B07).


def tc_b_12_cs(t: Tester) -> None:
    rows = request_base_report(t, "step 1", "ConfigurationInventory")
    for row in rows:
        for attribute in row["variableAttribute"]:
            check_fields(
                _variable_path(row),
                attribute,
                {"mutability": one_of("ReadWrite", "WriteOnly", OMITTED)},
            )
    missing = missing_of(t.profile, rows, writable=True)
    require("afterwards", not missing, f"required variables must be reported, missing {missing}")


def tc_b_13_cs(t: Tester) -> None:
    rows = request_base_report(t, "step 1", "FullInventory")
    missing = missing_of(t.profile, rows, writable=False)
    require("afterwards", not missing, f"required variables must be reported, missing {missing}")


def tc_b_53_cs(t: Tester) -> None:
    rows = request_base_report(t, "step 1", "FullInventory")
    missing = missing_of(t.profile, rows, writable=False)
    require("afterwards", not missing, f"required variables must be reported, missing {missing}")
    for row in rows:
        _check_values(row)


def _check_values(row: Payload) -> None:
    """Values are reported, except of WriteOnly variables, and are in their valuesList."""
    path = _variable_path(row)
    allowed = row["variableCharacteristics"].get("valuesList", "").split(",")
    for attribute in row["variableAttribute"]:
        value = attribute.get("value")
        if attribute.get("mutability") == "WriteOnly":
            require(path, value is None, "a WriteOnly variable has no value")
        elif path.startswith("EVSE") and path.endswith(".Power"):
            check_fields(path, row["variableCharacteristics"], {"maxLimit": PRESENT})
        else:
            require(path, value is not None, "the value must be reported")
        if value and row["variableCharacteristics"]["dataType"] in LIST_TYPES:
            unlisted = [member for member in value.split(",") if member not in allowed]
            require(path, not unlisted, f"{unlisted} must be in the valuesList {allowed}")


# Network connection profiles (B09, B10).


def tc_b_43_cs(t: Tester) -> None:
    request = network_profile(t.csms.url, slot=999)
    t.send_call("step 1", "SetNetworkProfile", request, {"status": "Rejected"})


@needs_fresh_station
def tc_b_45_cs(t: Tester) -> None:
    with t.bench.make_csms(t.bench.authorities.csms) as other:
        migrate_to(t, other.url)
        t.switch_to(other)
        states.reset_and_boot(t, reset=False)
        _check_slot_in_use(t)
        _check_disconnected(t)


@needs_fresh_station
def tc_b_46_cs(t: Tester) -> None:
    t.configure_variable(COMM, "NetworkProfileConnectionAttempts", 2)
    with t.bench.make_csms(t.bench.authorities.csms) as other:
        other.refuse_with = t.OFFLINE_STATUS
        handshakes_before = len(t.csms.handshakes)
        migrate_to(t, other.url)
        t.wait_until(
            lambda: len(other.handshakes) >= 2, "step 7", "two attempts with the new profile"
        )
        t.expect_boot_notification("step 8", timeout_s=60)
        attempts = len(other.handshakes)
        require("step 7", attempts == 2, f"there must be two attempts, got {attempts}")
        require(
            "step 8",
            len(t.csms.handshakes) > handshakes_before,
            "the former profile must be used again",
        )
        t.expect_statuses("step 9")
        t.expect_security_event("step 9", *states.STARTUP)


@needs_fresh_station
def tc_b_49_cs(t: Tester) -> None:
    wait_s = t.settings.retry_wait_s
    t.configure_variable(COMM, "NetworkProfileConnectionAttempts", 1)
    t.configure_variable(COMM, "RetryBackOffRepeatTimes", 0)
    t.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    t.configure_variable(COMM, "RetryBackOffWaitMinimum", wait_s)
    with t.bench.make_csms(t.bench.authorities.csms) as other:
        other.refuse_with = t.OFFLINE_STATUS
        t.csms.refuse_with = t.OFFLINE_STATUS
        handshakes_before = len(t.csms.handshakes)
        migrate_to(t, other.url)
        t.wait_until(lambda: other.handshakes, "step 7", "attempt with the new profile")
        t.wait_until(
            lambda: len(t.csms.handshakes) > handshakes_before,
            "step 9",
            "attempt with the former profile",
        )
        refused_s = t.csms.handshakes[handshakes_before].monotonic_s
        t.csms.refuse_with = None
        t.expect_boot_notification("step 12", timeout_s=60)
        waited_s = t.csms.handshakes[-1].monotonic_s - refused_s
        require("step 11", waited_s >= wait_s, f"must wait {wait_s} s, waited {waited_s:.2f} s")
        t.expect_statuses("step 13")
        t.expect_security_event("step 13", *states.STARTUP)


@needs_fresh_station
def tc_b_50_cs(t: Tester) -> None:
    new_root = make_root("CSMS Root 2")
    states.install_certificate(t, "CSMSRootCertificate", new_root)
    with t.bench.make_csms(make_server_certificate(new_root)) as other:
        migrate_to(t, other.url)
        t.switch_to(other)
        states.reset_and_boot(t, reset=False)
        _check_slot_in_use(t)
        _check_disconnected(t)


def migrate_to(t: Tester, url: str) -> None:
    """Steps 1 to 6: set the profile and its priority, then reset. Errata 6.2.17, 6.2.18."""
    active = int(t.read_value(COMM, "ActiveNetworkProfile"))
    slot = 2 if active == 1 else 1
    t.send_call("step 1", "SetNetworkProfile", network_profile(url, slot), {"status": "Accepted"})
    result = set_variable(t, "step 3", "NetworkConfigurationPriority", f"{slot},{active}")
    check_fields("step 4", result, {"attributeStatus": one_of("Accepted", "RebootRequired")})
    t.discard_received()
    t.send_call("step 5", "Reset", {"type": "OnIdle"}, {"status": "Accepted"})


def network_profile(url: str, slot: int, security_profile: int = 2) -> Payload:
    return {
        "configurationSlot": slot,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": url,
            "messageTimeout": 30,
            "securityProfile": security_profile,
            "ocppInterface": "Wired0",
        },
    }


def _check_slot_in_use(t: Tester) -> None:
    slot = t.read_value(COMM, "ActiveNetworkProfile")
    require("afterwards", slot == "2", f"ActiveNetworkProfile must be 2, is {slot}")


def _check_disconnected(t: Tester) -> None:
    require(
        "afterwards", not t.bench.csms.is_connected, "the former CSMS must be disconnected"
    )  # B10.FR.06


# Reconnecting (Part 4 §5.3).


def tc_b_57_cs(t: Tester) -> None:
    wait_s = t.settings.retry_wait_s
    t.configure_variable(COMM, "NetworkProfileConnectionAttempts", 3)
    t.configure_variable(COMM, "RetryBackOffRepeatTimes", 2)
    t.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    t.configure_variable(COMM, "RetryBackOffWaitMinimum", wait_s)
    attempts = t.csms.handshakes
    closed_s = _close_websocket(t)
    t.csms.wait_connected(wait_s + 20)
    first_s = attempts[-1].monotonic_s - closed_s
    require("step 2", first_s >= wait_s, f"must wait {wait_s} s, waited {first_s:.2f} s")
    t.bench.wait_settled()
    attempts_before = len(attempts)
    t.csms.refuse_with = t.OFFLINE_STATUS
    closed_s = _close_websocket(t)
    t.wait_until(lambda: len(attempts) > attempts_before, "step 5", "attempt to connect")
    refused_s = attempts[attempts_before].monotonic_s
    t.csms.refuse_with = None
    t.csms.wait_connected(2 * wait_s + 20)
    second_s = attempts[-1].monotonic_s - refused_s
    require(
        "step 7",
        second_s >= 2 * (refused_s - closed_s) - 0.5,  # the clocks of two processes
        f"must wait twice {refused_s - closed_s:.2f} s, waited {second_s:.2f} s",
    )


def _close_websocket(t: Tester) -> float:
    """Close the WebSocket; returns the time of it."""
    moment_s = time.monotonic()
    t.csms.close_connection()
    t.csms.wait_disconnected(20)
    return moment_s


# Shared by these cases.


def get_variable(
    t: Tester, step: str, variable: str, component: str = COMM, **more: Any
) -> Payload:
    data = {"component": {"name": component}, "variable": {"name": variable}} | more
    response = t.send_call(step, "GetVariables", {"getVariableData": [data]})
    return dict(response["getVariableResult"][0])


def set_variable(
    t: Tester, step: str, variable: str, value: str, component: str = COMM, **more: Any
) -> Payload:
    data = {
        "component": {"name": component},
        "variable": {"name": variable},
        "attributeValue": value,
    } | more
    response = t.send_call(step, "SetVariables", {"setVariableData": [data]})
    return dict(response["setVariableResult"][0])


def request_base_report(t: Tester, step: str, base: str) -> list[Payload]:
    """Request a base report and consume all its parts; returns the reported variables."""
    request_id = t.next_id()
    request = {"requestId": request_id, "reportBase": base}
    t.send_call(step, "GetBaseReport", request, {"status": "Accepted", "statusInfo": NO_ERROR_INFO})
    rows: list[Payload] = []
    seq_no = 0
    more = True
    while more:
        expected = {"requestId": request_id, "seqNo": seq_no, "generatedAt": PRESENT}
        expect = t.expect_triggered_call if seq_no == 0 else t.expect_call
        report = expect(f"NotifyReport {seq_no}", "NotifyReport", expected)
        _check_clock(t, report["generatedAt"])
        rows += report.get("reportData", [])
        more = bool(report.get("tbc", False))
        seq_no += 1
    for row in rows:
        check_fields(_variable_path(row), row, {"variableCharacteristics": PRESENT})
        if row["variableCharacteristics"]["dataType"] in LIST_TYPES:
            check_fields(_variable_path(row), row, {"variableCharacteristics.valuesList": PRESENT})
    return rows


def _check_clock(t: Tester, moment: str) -> None:
    deviation_s = abs((datetime.now(UTC) - parse_instant(moment)).total_seconds())
    require(
        "NotifyReport",
        deviation_s < t.settings.deviation_s,
        f"generatedAt is {deviation_s:.1f} s off",
    )


def _is_writable(t: Tester, component: str, variable: str) -> bool:
    """Whether a variable exists and is writable; found out by setting its present value."""
    current = get_variable(t, "preparation", variable, component)
    if current["attributeStatus"] != "Accepted" or "attributeValue" not in current:
        return False
    result = set_variable(t, "preparation", variable, current["attributeValue"], component)
    return result["attributeStatus"] in ("Accepted", "RebootRequired")


def _result_of(results: list[Payload], variable: str) -> Payload:
    matching = [result for result in results if result["variable"]["name"] == variable]
    require(
        "step 2",
        len(matching) == 1,
        f"there must be one result for {variable}, got {len(matching)}",
    )
    return matching[0]


def _expected_value(variable: str, component: str, value: str) -> dict[str, Any]:
    return _expected_change(variable, component) | {"attributeValue": value}


def _expected_change(variable: str, component: str) -> dict[str, Any]:
    return {
        "attributeStatus": "Accepted",
        "attributeType": "Actual",
        "component.name": component,
        "variable.name": variable,
        "attributeStatusInfo": NO_ERROR_INFO,
    }


def _expected_refusal(status: str, component: str, variable: str) -> dict[str, Any]:
    return {
        "attributeStatus": status,
        "component.name": component,
        "variable.name": variable,
    }


def _variable_path(row: Payload) -> str:
    evse = row["component"].get("evse", {})
    place = "".join(f"[{number}]" for number in evse.values() if isinstance(number, int))
    return f"{row['component']['name']}{place}.{row['variable']['name']}"
