"""Block B: booting, variables, reports, network profiles, reconnecting."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.certificates import make_root, make_server_certificate
from tests.conformance.octt.fresh import needs_fresh_station, with_root_check
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


def tc_b_01_cs(tester: Tester) -> None:
    states.reset_and_boot(tester)


def tc_b_02_cs(tester: Tester) -> None:
    tester.csms.responses.boot_status = "Pending"
    tester.csms.responses.boot_interval_s = 60
    tester.reset_station("manual action")
    tester.expect_boot_notification("step 1")
    status = set_variable(tester, "step 3", "OfflineThreshold", "300")
    check_fields("step 4", status, {"attributeStatus": "Accepted"})
    result = get_variable(tester, "step 5", "OfflineThreshold")
    check_fields("step 6", result, {"attributeStatus": "Accepted"})
    request_base_report(tester, "step 7", "FullInventory")
    request = {
        "idToken": {"idToken": VALID, "type": TOKEN_TYPE},
        "remoteStartId": tester.next_id(),
        "evseId": tester.evse_id,
    }
    tester.send_call("step 11", "RequestStartTransaction", request, {"status": "Rejected"})
    tester.csms.responses.boot_status = "Accepted"
    tester.csms.responses.boot_interval_s = 300
    answer = tester.send_call(
        "step 13",
        "TriggerMessage",
        {"requestedMessage": "BootNotification"},
        {"status": one_of("Accepted", "NotImplemented")},
    )
    triggered = answer["status"] == "Accepted"
    tester.expect_boot_notification(
        "step 15", {"reason": "Triggered"} if triggered else {}, timeout_s=70
    )
    tester.expect_statuses("step 17")


def tc_b_03_cs(tester: Tester) -> None:
    interval_s = tester.settings.heartbeat_interval_s
    tester.csms.responses.boot_status = "Rejected"
    tester.csms.responses.boot_interval_s = interval_s
    tester.reset_station("manual action")
    first = tester.take_call("step 1", "BootNotification", timeout_s=60)
    tester.csms.responses.boot_status = "Accepted"
    tester.csms.responses.boot_interval_s = 300
    second = tester.take_call("step 3", "BootNotification", timeout_s=interval_s + 20)
    waited_s = second.monotonic_s - first.monotonic_s
    require(
        "step 3",
        waited_s >= interval_s,
        f"must be sent after {interval_s} s, was sent after {waited_s:.2f} s",
    )
    between = [
        frame.action
        for frame in tester.csms.record.frames[first.number + 1 : second.number]
        if frame.incoming and frame.type == 2
    ]
    require("step 3", not between, f"nothing may be sent in between, got {between}")
    tester.expect_statuses("step 5")


def tc_b_30_cs(tester: Tester) -> None:
    tester.csms.responses.boot_status = "Rejected"
    tester.csms.responses.boot_interval_s = 5
    tester.reset_station("manual action")
    tester.expect_boot_notification("step 1")
    if tester.csms.is_connected:
        request = {"requestId": tester.next_id(), "reportBase": "FullInventory"}
        tester.expect_call_error("step 3", "GetBaseReport", request, "SecurityError")
    tester.csms.responses.boot_status = "Accepted"
    tester.csms.responses.boot_interval_s = 300
    tester.expect_boot_notification("afterwards")


# Status after an offline period (B04).


def tc_b_51_cs(tester: Tester) -> None:
    threshold_s = tester.settings.offline_threshold_s
    tester.configure_variable(COMM, "OfflineThreshold", threshold_s)
    tester.configure_variable(COMM, "RetryBackOffWaitMinimum", threshold_s + 2)
    tester.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    tester.go_offline()
    tester.plug_in()
    tester.wait(threshold_s + 1)
    tester.go_online()
    tester.expect_statuses("step 4", exceptions={tester.evse_id: "Occupied"})


def tc_b_52_cs(tester: Tester) -> None:
    threshold_s = tester.settings.offline_threshold_s + 4
    tester.configure_variable(COMM, "OfflineThreshold", threshold_s)
    tester.configure_variable(
        COMM, "RetryBackOffWaitMinimum", tester.settings.offline_threshold_s - 4
    )
    tester.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    tester.go_offline()
    tester.plug_in()
    tester.wait(1)
    tester.go_online()
    tester.expect_status("step 4", "Occupied")
    tester.expect_no_status("step 4", 2.0, tester.settings.second_evse_id)


# GetVariables and SetVariables (B05, B06).


def tc_b_06_cs(tester: Tester) -> None:
    tester.configure_variable(COMM, "OfflineThreshold", 300)
    result = get_variable(tester, "step 1", "OfflineThreshold", attributeType="Actual")
    check_fields("step 2", result, _expected_value("OfflineThreshold", COMM, "300"))


def tc_b_07_cs(tester: Tester) -> None:
    tester.configure_variable(COMM, "OfflineThreshold", 300)
    tester.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    expected = (("OfflineThreshold", COMM, "300"), ("LocalAuthorizeOffline", "AuthCtrlr", "true"))
    data = [
        {"variable": {"name": name}, "component": {"name": component}, "attributeType": "Actual"}
        for name, component, _ in expected
    ]
    response = tester.send_call("step 1", "GetVariables", {"getVariableData": data})
    for name, component, value in expected:
        result = _result_of(response["getVariableResult"], name)
        check_fields("step 2", result, _expected_value(name, component, value))


def tc_b_32_cs(tester: Tester) -> None:
    result = get_variable(tester, "step 1", "OfflineThreshold", "UnknownComponent")
    check_fields(
        "step 2",
        result,
        _expected_refusal("UnknownComponent", "UnknownComponent", "OfflineThreshold"),
    )


def tc_b_33_cs(tester: Tester) -> None:
    result = get_variable(tester, "step 1", "UnknownVariable")
    check_fields("step 2", result, _expected_refusal("UnknownVariable", COMM, "UnknownVariable"))


def tc_b_34_cs(tester: Tester) -> None:
    result = get_variable(tester, "step 1", "OfflineThreshold", attributeType="Target")
    expected = _expected_refusal("NotSupportedAttributeType", COMM, "OfflineThreshold")
    check_fields("step 2", result, expected | {"attributeType": "Target"})


def tc_b_09_cs(tester: Tester) -> None:
    tester.configure_variable(COMM, "OfflineThreshold", 299)
    result = set_variable(tester, "step 1", "OfflineThreshold", "300", attributeType="Actual")
    check_fields("step 2", result, _expected_change("OfflineThreshold", COMM))


def tc_b_10_cs(tester: Tester) -> None:
    tester.configure_variable(COMM, "OfflineThreshold", 299)
    tester.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=False)
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
    response = tester.send_call("step 1", "SetVariables", {"setVariableData": data})
    for name, component, _ in expected:
        result = _result_of(response["setVariableResult"], name)
        check_fields("step 2", result, _expected_change(name, component))


def tc_b_35_cs(tester: Tester) -> None:
    result = set_variable(tester, "step 1", "OfflineThreshold", "300", "UnknownComponent")
    check_fields(
        "step 2",
        result,
        _expected_refusal("UnknownComponent", "UnknownComponent", "OfflineThreshold"),
    )


def tc_b_36_cs(tester: Tester) -> None:
    result = set_variable(tester, "step 1", "UnknownVariable", "300")
    check_fields("step 2", result, _expected_refusal("UnknownVariable", COMM, "UnknownVariable"))


def tc_b_37_cs(tester: Tester) -> None:
    result = set_variable(tester, "step 1", "OfflineThreshold", "300", attributeType="Target")
    expected = _expected_refusal("NotSupportedAttributeType", COMM, "OfflineThreshold")
    check_fields("step 2", result, expected | {"attributeType": "Target"})


def tc_b_11_cs(tester: Tester) -> None:
    configured = 60  # within the range of a percentage too: LimitChangeSignificance
    tester.configure_variable(COMM, "OfflineThreshold", configured)
    whole, fraction = f"{configured}", f"{configured}.1"
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    values = (whole, fraction, "true", now, "abc")
    accepted_of = {  # (component, variable): values of its data type
        (COMM, "OfflineThreshold"): {whole},
        ("SmartChargingCtrlr", "LimitChangeSignificance"): {whole, fraction},
        ("AuthCtrlr", "AuthorizeRemoteStart"): {"true"},
        ("ClockCtrlr", "NextTimeOffsetTransitionDateTime"): {now},
    }
    for (component, variable), accepted in accepted_of.items():
        if not _is_writable(tester, component, variable):
            continue
        for value in values:
            result = set_variable(tester, f"set {value}", variable, value, component)
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


def tc_b_39_cs(tester: Tester) -> None:
    variable = {"name": "MessageTimeout", "instance": "Default"}
    data = {"component": {"name": COMM}, "variable": variable, "attributeValue": "60"}
    response = tester.send_call("step 1", "SetVariables", {"setVariableData": [data]})
    expected = _expected_refusal("Rejected", COMM, "MessageTimeout") | {
        "variable.instance": "Default"
    }
    check_fields("step 2", response["setVariableResult"][0], expected)


# Reports (B07).


def tc_b_12_cs(tester: Tester) -> None:
    rows = request_base_report(tester, "step 1", "ConfigurationInventory")
    for row in rows:
        for attribute in row["variableAttribute"]:
            check_fields(
                _variable_path(row),
                attribute,
                {"mutability": one_of("ReadWrite", "WriteOnly", OMITTED)},
            )
    missing = missing_of(tester.profile, rows, writable=True)
    require("afterwards", not missing, f"required variables must be reported, missing {missing}")


def tc_b_13_cs(tester: Tester) -> None:
    rows = request_base_report(tester, "step 1", "FullInventory")
    missing = missing_of(tester.profile, rows, writable=False)
    require("afterwards", not missing, f"required variables must be reported, missing {missing}")


def tc_b_53_cs(tester: Tester) -> None:
    rows = request_base_report(tester, "step 1", "FullInventory")
    missing = missing_of(tester.profile, rows, writable=False)
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


def tc_b_43_cs(tester: Tester) -> None:
    request = network_profile(tester.csms.url, slot=999)
    tester.send_call("step 1", "SetNetworkProfile", request, {"status": "Rejected"})


@needs_fresh_station
def tc_b_45_cs(tester: Tester) -> None:
    with tester.bench.make_csms(tester.bench.authorities.csms) as other:
        migrate_to(tester, other.url)
        tester.switch_to(other)
        states.reset_and_boot(tester, reset=False)
        _check_slot_in_use(tester)
        _check_disconnected(tester)


@needs_fresh_station
def tc_b_46_cs(tester: Tester) -> None:
    tester.configure_variable(COMM, "NetworkProfileConnectionAttempts", 2)
    with tester.bench.make_csms(tester.bench.authorities.csms) as other:
        other.refuse_with = tester.OFFLINE_STATUS
        handshakes_before = len(tester.csms.handshakes)
        migrate_to(tester, other.url)
        tester.wait_until(
            lambda: len(other.handshakes) >= 2, "step 7", "two attempts with the new profile"
        )
        tester.expect_boot_notification("step 8", timeout_s=60)
        attempts = len(other.handshakes)
        require("step 7", attempts == 2, f"there must be two attempts, got {attempts}")
        require(
            "step 8",
            len(tester.csms.handshakes) > handshakes_before,
            "the former profile must be used again",
        )
        tester.expect_statuses("step 9")
        tester.expect_security_event("step 9", *states.STARTUP)


@with_root_check
def tc_b_47_cs(tester: Tester) -> None:
    old_root = tester.bench.authorities.csms_root
    tester.configure_variable(COMM, "NetworkProfileConnectionAttempts", 1)
    states.replace_csms_root(tester, make_root("CSMS Root 2", signed_by=old_root))
    with tester.bench.make_csms(tester.bench.authorities.csms) as other:
        migrate_to(tester, other.url)
        states.reset_and_boot(tester, reset=False)
        require("step 8", not other.handshakes, "the old root may not verify another CSMS")
        states.check_installed_certificates(tester, ("CSMSRootCertificate", old_root))


@needs_fresh_station
def tc_b_49_cs(tester: Tester) -> None:
    wait_s = tester.settings.retry_wait_s
    tester.configure_variable(COMM, "NetworkProfileConnectionAttempts", 1)
    tester.configure_variable(COMM, "RetryBackOffRepeatTimes", 0)
    tester.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    tester.configure_variable(COMM, "RetryBackOffWaitMinimum", wait_s)
    with tester.bench.make_csms(tester.bench.authorities.csms) as other:
        other.refuse_with = tester.OFFLINE_STATUS
        tester.csms.refuse_with = tester.OFFLINE_STATUS
        handshakes_before = len(tester.csms.handshakes)
        migrate_to(tester, other.url)
        tester.wait_until(lambda: other.handshakes, "step 7", "attempt with the new profile")
        tester.wait_until(
            lambda: len(tester.csms.handshakes) > handshakes_before,
            "step 9",
            "attempt with the former profile",
        )
        refused_s = tester.csms.handshakes[handshakes_before].monotonic_s
        tester.csms.refuse_with = None
        tester.expect_boot_notification("step 12", timeout_s=60)
        waited_s = tester.csms.handshakes[-1].monotonic_s - refused_s
        require("step 11", waited_s >= wait_s, f"must wait {wait_s} s, waited {waited_s:.2f} s")
        tester.expect_statuses("step 13")
        tester.expect_security_event("step 13", *states.STARTUP)


@needs_fresh_station
def tc_b_50_cs(tester: Tester) -> None:
    new_root = make_root("CSMS Root 2")
    states.install_certificate(tester, "CSMSRootCertificate", new_root)
    with tester.bench.make_csms(make_server_certificate(new_root)) as other:
        migrate_to(tester, other.url)
        tester.switch_to(other)
        states.reset_and_boot(tester, reset=False)
        _check_slot_in_use(tester)
        _check_disconnected(tester)


def migrate_to(tester: Tester, url: str) -> None:
    """Steps 1 to 6: set the profile and its priority, then reset. Errata 6.2.17, 6.2.18."""
    active = int(tester.read_value(COMM, "ActiveNetworkProfile"))
    slot = 2 if active == 1 else 1
    tester.send_call(
        "step 1", "SetNetworkProfile", network_profile(url, slot), {"status": "Accepted"}
    )
    result = set_variable(tester, "step 3", "NetworkConfigurationPriority", f"{slot},{active}")
    check_fields("step 4", result, {"attributeStatus": one_of("Accepted", "RebootRequired")})
    tester.discard_received()
    tester.send_call("step 5", "Reset", {"type": "OnIdle"}, {"status": "Accepted"})


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


def _check_slot_in_use(tester: Tester) -> None:
    slot = tester.read_value(COMM, "ActiveNetworkProfile")
    require("afterwards", slot == "2", f"ActiveNetworkProfile must be 2, is {slot}")


def _check_disconnected(tester: Tester) -> None:
    require(
        "afterwards", not tester.bench.csms.is_connected, "the former CSMS must be disconnected"
    )  # B10.FR.06


# Reconnecting (Part 4 §5.3).


def tc_b_57_cs(tester: Tester) -> None:
    wait_s = tester.settings.retry_wait_s
    tester.configure_variable(COMM, "NetworkProfileConnectionAttempts", 3)
    tester.configure_variable(COMM, "RetryBackOffRepeatTimes", 2)
    tester.configure_variable(COMM, "RetryBackOffRandomRange", 0)
    tester.configure_variable(COMM, "RetryBackOffWaitMinimum", wait_s)
    attempts = tester.csms.handshakes
    closed_s = _close_websocket(tester)
    tester.csms.wait_connected(wait_s + 20)
    first_s = attempts[-1].monotonic_s - closed_s
    require("step 2", first_s >= wait_s, f"must wait {wait_s} s, waited {first_s:.2f} s")
    tester.bench.wait_settled()
    attempts_before = len(attempts)
    tester.csms.refuse_with = tester.OFFLINE_STATUS
    closed_s = _close_websocket(tester)
    tester.wait_until(lambda: len(attempts) > attempts_before, "step 5", "attempt to connect")
    refused_s = attempts[attempts_before].monotonic_s
    tester.csms.refuse_with = None
    tester.csms.wait_connected(2 * wait_s + 20)
    second_s = attempts[-1].monotonic_s - refused_s
    require(
        "step 7",
        second_s >= 2 * (refused_s - closed_s) - 0.5,  # the clocks of two processes
        f"must wait twice {refused_s - closed_s:.2f} s, waited {second_s:.2f} s",
    )


def _close_websocket(tester: Tester) -> float:
    """Close the WebSocket; returns the time of it."""
    moment_s = time.monotonic()
    tester.csms.close_connection()
    tester.csms.wait_disconnected(20)
    return moment_s


# Shared by these cases.


def get_variable(
    tester: Tester, step: str, variable: str, component: str = COMM, **more: Any
) -> Payload:
    data = {"component": {"name": component}, "variable": {"name": variable}} | more
    response = tester.send_call(step, "GetVariables", {"getVariableData": [data]})
    return dict(response["getVariableResult"][0])


def set_variable(
    tester: Tester, step: str, variable: str, value: str, component: str = COMM, **more: Any
) -> Payload:
    data = {
        "component": {"name": component},
        "variable": {"name": variable},
        "attributeValue": value,
    } | more
    response = tester.send_call(step, "SetVariables", {"setVariableData": [data]})
    return dict(response["setVariableResult"][0])


def request_base_report(tester: Tester, step: str, base: str) -> list[Payload]:
    """Request a base report and consume all its parts; returns the reported variables."""
    request_id = tester.next_id()
    request = {"requestId": request_id, "reportBase": base}
    tester.send_call(
        step, "GetBaseReport", request, {"status": "Accepted", "statusInfo": NO_ERROR_INFO}
    )
    return collect_report(tester, request_id)


def collect_report(tester: Tester, request_id: int) -> list[Payload]:
    """Consume all parts of a report; returns the reported variables."""
    rows: list[Payload] = []
    seq_no = 0
    more = True
    while more:
        expected = {"requestId": request_id, "seqNo": seq_no, "generatedAt": PRESENT}
        expect = tester.expect_triggered_call if seq_no == 0 else tester.expect_call
        report = expect(f"NotifyReport {seq_no}", "NotifyReport", expected)
        if seq_no == 0:  # the other parts may be sent any time later
            _check_clock(tester, report["generatedAt"])
        rows += report.get("reportData", [])
        more = bool(report.get("tbc", False))
        seq_no += 1
    for row in rows:
        check_fields(_variable_path(row), row, {"variableCharacteristics": PRESENT})
        if row["variableCharacteristics"]["dataType"] in LIST_TYPES:
            check_fields(_variable_path(row), row, {"variableCharacteristics.valuesList": PRESENT})
    return rows


def _check_clock(tester: Tester, moment: str) -> None:
    deviation_s = abs((datetime.now(UTC) - parse_instant(moment)).total_seconds())
    require(
        "NotifyReport",
        deviation_s < tester.settings.deviation_s,
        f"generatedAt is {deviation_s:.1f} s off",
    )


def _is_writable(tester: Tester, component: str, variable: str) -> bool:
    """Whether a variable exists and is writable; found out by setting its present value."""
    current = get_variable(tester, "preparation", variable, component)
    if current["attributeStatus"] != "Accepted" or "attributeValue" not in current:
        return False
    result = set_variable(tester, "preparation", variable, current["attributeValue"], component)
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
