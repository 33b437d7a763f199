"""Block N: monitors of variables and their events.

A case begins with the monitors of FactoryDefault and MonitoringLevel 9: the bench sets them back.
Thresholds and numeric deltas are on the power of the EVSE, which energy transfer moves; the other
deltas on its AvailabilityState, which a cable moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from tests.conformance.octt import states
from tests.conformance.octt.fresh import needs_fresh_station
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import NO_ERROR_INFO, OMITTED, check_fields, one_of, require
from tests.support.csms import Payload

SEVERITY: Final = 5
UPPER_W: Final = 100  # a threshold that energy transfer exceeds
LOWER_W: Final = 10  # one that its end drops below
UNREACHED_W: Final = 299_999
EVENT: Final = "NotifyEvent"
REPORT: Final = "NotifyMonitoringReport"
AVAILABILITY: Final = "AvailabilityState"
NEW_PASSWORD: Final = "fedcba9876543210"
EVENT_S: Final = 30.0  # from a manual action to its event


# --- Set, clear, report --------------------------------------------------------------------------


def evse_component(evse_id: int) -> Payload:
    return {"name": "EVSE", "evse": {"id": evse_id}}


def monitor(
    tester: Tester,
    variable: str = AVAILABILITY,
    kind: str = "Delta",
    value: float = 1,
    severity: int = SEVERITY,
    **fields: Any,
) -> Payload:
    """A SetMonitoringDataType of the configured EVSE, or of `component`."""
    component = fields.pop("component", evse_component(tester.evse_id))
    return {
        "component": component,
        "variable": {"name": variable},
        "type": kind,
        "value": value,
        "severity": severity,
        **fields,
    }


def set_monitors(tester: Tester, step: str, *items: Payload) -> list[Payload]:
    """Send a SetVariableMonitoringRequest; its results in the order of the monitors."""
    response = tester.send_call(step, "SetVariableMonitoring", {"setMonitoringData": list(items)})
    results = list(response["setMonitoringResult"])
    require(step, len(results) == len(items), f"{len(items)} results: {results}")
    for item, result in zip(items, results, strict=True):
        for field in ("component", "variable", "type", "severity"):
            check_fields(step, result, {field: item[field]})
    return results


def set_monitor(tester: Tester, step: str, *args: Any, **fields: Any) -> int:
    """Set one monitor, which must be accepted; its id."""
    [result] = set_monitors(tester, step, monitor(tester, *args, **fields))
    check_fields(step, result, {"status": "Accepted", "statusInfo": NO_ERROR_INFO})
    return int(result["id"])


def refuse_monitor(tester: Tester, step: str, item: Payload, status: Any, *reasons: str) -> None:
    [result] = set_monitors(tester, step, item)
    check_fields(step, result, {"status": status, "id": OMITTED})
    if reasons:
        check_fields(step, result, {"statusInfo.reasonCode": one_of(OMITTED, *reasons)})


def get_monitors(tester: Tester, step: str, **request: Any) -> list[Payload]:
    """Request monitors and receive the whole report; one dict for each monitor."""
    request_id = tester.next_id()
    tester.send_call(
        step,
        "GetMonitoringReport",
        {"requestId": request_id, **request},
        {"status": "Accepted", "statusInfo": NO_ERROR_INFO},
    )
    monitors: list[Payload] = []
    seq_no = 0
    while True:
        part = tester.expect_call(step, REPORT, {"requestId": request_id, "seqNo": seq_no})
        for data in part["monitor"]:
            place = {"component": data["component"], "variable": data["variable"]["name"]}
            monitors += [{**each, **place} for each in data["variableMonitoring"]]
        if not part.get("tbc", False):
            return monitors
        seq_no += 1


def expect_no_monitors(tester: Tester, step: str, **request: Any) -> None:
    tester.send_call(
        step,
        "GetMonitoringReport",
        {"requestId": tester.next_id(), **request},
        {"status": "EmptyResultSet"},
    )


def component_variable(component: Payload, variable: str | None = None) -> Payload:
    return {"component": component, **({"variable": {"name": variable}} if variable else {})}


def availability_of(tester: Tester, *, station: bool = True, evse: bool = True) -> list[Payload]:
    """componentVariable: AvailabilityState of the station and of the configured EVSE."""
    items = []
    if station:
        items.append(component_variable({"name": "ChargingStation"}, AVAILABILITY))
    if evse:
        items.append(component_variable(evse_component(tester.evse_id), AVAILABILITY))
    return items


def set_availability_monitors(tester: Tester) -> list[int]:
    """Memory state: Delta monitors of AvailabilityState of the station and of the EVSE."""
    return [
        set_monitor(tester, "preparation", component={"name": "ChargingStation"}),
        set_monitor(tester, "preparation"),
    ]


def set_base(tester: Tester, step: str, base: str) -> None:
    tester.send_call(
        step,
        "SetMonitoringBase",
        {"monitoringBase": base},
        {"status": "Accepted", "statusInfo": NO_ERROR_INFO},
    )


def set_level(tester: Tester, step: str, severity: int) -> None:
    tester.send_call(step, "SetMonitoringLevel", {"severity": severity}, {"status": "Accepted"})


def types_of(monitors: list[Payload]) -> set[str]:
    return {each["type"] for each in monitors}


def tc_n_01_cs(tester: Tester) -> None:
    set_monitor(tester, "preparation", "Power", "LowerThreshold", LOWER_W)
    set_monitor(tester, "preparation", "Power", "UpperThreshold", UNREACHED_W)
    set_monitor(tester, "preparation")
    set_monitor(tester, "preparation", AVAILABILITY, "Periodic", 3600)
    set_monitor(tester, "preparation", AVAILABILITY, "PeriodicClockAligned", 3600)
    thresholds, periodic = (
        {"UpperThreshold", "LowerThreshold"},
        {"Periodic", "PeriodicClockAligned"},
    )
    wanted = {
        "step 1": (["ThresholdMonitoring"], thresholds),
        "step 5": (["ThresholdMonitoring", "DeltaMonitoring"], {*thresholds, "Delta"}),
        "step 9": (
            ["ThresholdMonitoring", "DeltaMonitoring", "PeriodicMonitoring"],
            {*thresholds, "Delta", *periodic},
        ),
        "step 13": (["DeltaMonitoring"], {"Delta"}),
        "step 17": (["PeriodicMonitoring"], periodic),
    }
    for step, (criteria, expected) in wanted.items():
        found = types_of(get_monitors(tester, step, monitoringCriteria=criteria))
        require(step, found == expected, f"types must be {expected}, are {found}")


def tc_n_02_cs(tester: Tester) -> None:
    ids = set(set_availability_monitors(tester))
    items = [
        component_variable({"name": "ChargingStation"}, AVAILABILITY),
        component_variable(evse_component(tester.evse_id)),
    ]
    monitors = get_monitors(tester, "step 1", componentVariable=items)
    require("step 3", ids <= {each["id"] for each in monitors}, f"both monitors: {monitors}")
    for each in monitors:
        require(
            "step 3",
            each["component"]["name"] in ("ChargingStation", "EVSE"),
            f"only what was requested: {each}",
        )
        if each["variable"] == AVAILABILITY:
            check_fields("step 3", each, {"type": "Delta"})


def tc_n_03_cs(tester: Tester) -> None:
    ids = set(set_availability_monitors(tester))
    request = {"componentVariable": availability_of(tester)}
    expect_no_monitors(tester, "step 1", monitoringCriteria=["ThresholdMonitoring"], **request)
    monitors = get_monitors(tester, "step 3", monitoringCriteria=["DeltaMonitoring"], **request)
    require("step 5", {each["id"] for each in monitors} == ids, f"both monitors: {monitors}")


def tc_n_47_cs(tester: Tester) -> None:
    ids = set(set_availability_monitors(tester))
    monitors = get_monitors(tester, "step 1")
    require("step 3", ids <= {each["id"] for each in monitors}, f"every monitor: {monitors}")


def tc_n_05_cs(tester: Tester) -> None:
    for step, base in (
        ("step 1", "All"),
        ("step 3", "FactoryDefault"),
        ("step 5", "HardWiredOnly"),
    ):
        set_base(tester, step, base)
        shown = tester.read_value("MonitoringCtrlr", "ActiveMonitoringBase")
        require(step, shown == base, f"ActiveMonitoringBase must be {base}, is {shown}")


def tc_n_06_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "preparation", component={"name": "ChargingStation"})
    request = {"componentVariable": availability_of(tester, evse=False)}
    [found] = get_monitors(tester, "step 1", **request)
    check_fields("step 3", found, {"id": monitor_id, "type": "Delta"})
    set_base(tester, "step 5", "HardWiredOnly")
    expect_no_monitors(tester, "step 7", **request)


def tc_n_08_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "step 1", severity=8)
    request = {"componentVariable": availability_of(tester, station=False)}
    [found] = get_monitors(tester, "step 3", **request)
    check_fields("step 5", found, {"id": monitor_id, "type": "Delta", "severity": 8})


def tc_n_09_cs(tester: Tester) -> None:
    results = set_monitors(
        tester, "step 1", monitor(tester), monitor(tester, component={"name": "ChargingStation"})
    )
    for result in results:
        check_fields("step 2", result, {"status": "Accepted", "statusInfo": NO_ERROR_INFO})
    monitors = get_monitors(tester, "step 3", componentVariable=availability_of(tester))
    ids = {each["id"] for each in monitors}
    require("step 5", ids == {each["id"] for each in results}, f"both monitors: {monitors}")


def tc_n_10_cs(tester: Tester) -> None:
    items = (monitor(tester, severity=8), monitor(tester, severity=7))
    results = set_monitors(tester, "step 1", *items)
    for result in results:
        check_fields("step 2", result, {"status": "Accepted", "statusInfo": NO_ERROR_INFO})
    require("step 2", results[0]["id"] != results[1]["id"], "each monitor has an id of its own")


def tc_n_11_cs(tester: Tester) -> None:
    item = monitor(tester, component=evse_component(99))
    refuse_monitor(
        tester, "step 1", item, one_of("UnknownComponent", "Rejected"), "UnknownEVSE", "NotFound"
    )
    item = monitor(tester, "Power", "UpperThreshold", 1234, component={"name": "NonExistent"})
    refuse_monitor(
        tester, "step 1", item, one_of("UnknownComponent", "UnknownVariable"), "NotFound"
    )


def tc_n_12_cs(tester: Tester) -> None:
    item = monitor(tester, "Power", "Delta", -1)
    refuse_monitor(tester, "step 1", item, "Rejected", "ValueOutOfRange", "ValuePositiveOnly")


def tc_n_13_cs(tester: Tester) -> None:
    most = next(each.power_max_w for each in tester.profile.evse if each.id == tester.evse_id)
    item = monitor(tester, "Power", "UpperThreshold", most + 1)
    refuse_monitor(tester, "step 1", item, "Rejected", "ValueOutOfRange")


def tc_n_15_cs(tester: Tester) -> None:
    first, second = set_monitors(tester, "step 1", monitor(tester), monitor(tester))
    check_fields("step 2", first, {"status": "Accepted", "statusInfo": NO_ERROR_INFO})
    check_fields("step 2", second, {"status": "Duplicate", "id": OMITTED})


def tc_n_37_cs(tester: Tester) -> None:
    refuse_monitor(tester, "step 1", monitor(tester, "unknownVariable"), "UnknownVariable")


def tc_n_39_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "step 1")
    item = monitor(tester, "Power", "Delta", 1, id=monitor_id)
    refuse_monitor(tester, "step 3", item, "Rejected")
    kept = next(each for each in get_monitors(tester, "step 5") if each["id"] == monitor_id)
    check_fields("step 7", kept, {"variable": AVAILABILITY, "value": 1, "type": "Delta"})


def tc_n_40_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "preparation", severity=5)
    changed = set_monitor(tester, "step 1", severity=4, id=monitor_id)
    require("step 2", changed == monitor_id, f"the id must stay {monitor_id}, is {changed}")
    [found] = get_monitors(
        tester,
        "step 3",
        monitoringCriteria=["DeltaMonitoring"],
        componentVariable=availability_of(tester, station=False),
    )
    check_fields("step 5", found, {"id": monitor_id, "severity": 4})


def tc_n_41_cs(tester: Tester) -> None:
    set_base(tester, "preparation", "FactoryDefault")
    [preconfigured, *_] = [
        each
        for each in get_monitors(tester, "step 1", monitoringCriteria=["DeltaMonitoring"])
        if each["component"]["name"] == "PowerContactor" and each["variable"] == "Problem"
    ]
    place = component_variable(preconfigured["component"], preconfigured["variable"])
    request = {"monitoringCriteria": ["DeltaMonitoring"], "componentVariable": [place]}
    monitor_id, severity = preconfigured["id"], preconfigured["severity"]
    set_monitor(
        tester,
        "step 5",
        preconfigured["variable"],
        severity=severity + 1,
        id=monitor_id,
        component=preconfigured["component"],
    )
    [found] = get_monitors(tester, "step 7", **request)
    check_fields("step 9", found, {"id": monitor_id, "severity": severity + 1})
    set_base(tester, "step 11", "FactoryDefault")
    [found] = get_monitors(tester, "step 13", **request)
    check_fields("step 15", found, {"id": monitor_id, "severity": severity})


def tc_n_43_cs(tester: Tester) -> None:
    results = set_monitors(
        tester,
        "step 1",
        monitor(tester, "Power", "UpperThreshold", UPPER_W),
        monitor(tester, "Power", "Delta", -1),
        monitor(tester, "Power", "LowerThreshold", LOWER_W),
    )
    statuses = [result["status"] for result in results]
    expected = ["Accepted", "Rejected", "Accepted"]
    require("step 2", statuses == expected, f"must be {expected}, are {statuses}")


def tc_n_17_cs(tester: Tester) -> None:
    for step, severity in (("step 1", 10), ("step 3", -1)):
        tester.send_call(step, "SetMonitoringLevel", {"severity": severity}, {"status": "Rejected"})


def clear_monitors(tester: Tester, step: str, expected: Mapping[int, str]) -> None:
    response = tester.send_call(step, "ClearVariableMonitoring", {"id": list(expected)})
    statuses = {each["id"]: each["status"] for each in response["clearMonitoringResult"]}
    require(step, statuses == dict(expected), f"must be {expected}, are {statuses}")


def tc_n_18_cs(tester: Tester) -> None:
    ids = set_availability_monitors(tester)
    clear_monitors(tester, "step 1", dict.fromkeys(ids, "Accepted"))
    expect_no_monitors(tester, "step 3", componentVariable=availability_of(tester))


def tc_n_19_cs(tester: Tester) -> None:
    unknown = max(each["id"] for each in get_monitors(tester, "preparation")) + 1
    clear_monitors(tester, "step 1", {unknown: "NotFound"})


def tc_n_44_cs(tester: Tester) -> None:
    set_base(tester, "preparation", "HardWiredOnly")
    hard_wired = get_monitors(tester, "preparation")[0]["id"]
    clear_monitors(tester, "step 1", {hard_wired: "Rejected"})


# --- Events --------------------------------------------------------------------------------------


def expect_event_of(
    tester: Tester,
    step: str,
    monitor_id: int,
    expected: Mapping[str, Any],
    *,
    cleared: bool = False,
    timeout_s: float = EVENT_S,
) -> Payload:
    """Wait for an event of a monitor and check it; other events are left out."""

    def is_meant(payload: Payload) -> bool:
        return any(map(is_of_monitor, payload["eventData"]))

    def is_of_monitor(event: Payload) -> bool:
        same = event.get("variableMonitoringId") == monitor_id
        return same and bool(event.get("cleared")) is cleared

    request = tester.expect_call(step, EVENT, {"seqNo": 0}, predicate=is_meant, timeout_s=timeout_s)
    event: Payload = next(filter(is_of_monitor, request["eventData"]))
    check_fields(step, event, expected)
    return event


def expect_no_event_of(
    tester: Tester, step: str, matches: Callable[[Payload], bool], wait_s: float | None = None
) -> None:
    """No event that matches is sent within a time."""
    deadline = time.monotonic() + (wait_s or tester.settings.message_timeout_s)
    while time.monotonic() < deadline:
        events = [
            event
            for request in tester.pending_calls(EVENT)
            for event in request["eventData"]
            if matches(event)
        ]
        require(step, not events, f"no such event may be sent, got {events[:1]}")
        time.sleep(0.05)


def of_evse(tester: Tester, variable: str) -> dict[str, Any]:
    """Fields of an event of a variable of the configured EVSE."""
    return {
        "component.name": "EVSE",
        "component.evse.id": tester.evse_id,
        "variable.name": variable,
        "eventNotificationType": "CustomMonitor",
    }


def end_session(tester: Tester) -> None:
    states.authorize_stop(tester)
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)
    states.parking_bay_unoccupied(tester)


def tc_n_16_cs(tester: Tester) -> None:
    set_monitor(tester, "preparation", severity=8)
    set_level(tester, "step 1", 7)
    tester.discard_received()
    tester.plug_in()
    tester.expect_status("step 3", "Occupied")
    expect_no_event_of(
        tester, "step 4", lambda event: event["component"] == evse_component(tester.evse_id)
    )


def tc_n_20_cs(tester: Tester) -> None:
    set_base(tester, "preparation", "All")
    upper_id = set_monitor(tester, "preparation", "Power", "UpperThreshold", UPPER_W)
    set_level(tester, "preparation", 8)
    tester.discard_received()
    transaction_id = states.start_energy_transfer(tester)
    event = expect_event_of(
        tester,
        "step 2",
        upper_id,
        {
            **of_evse(tester, "Power"),
            "trigger": "Alerting",
            "transactionId": transaction_id,
        },
    )
    power_w = Decimal(event["actualValue"])
    require("step 2", power_w > UPPER_W, f"more than {UPPER_W} W, is {power_w}")
    lower_id = set_monitor(tester, "step 4", "Power", "LowerThreshold", LOWER_W)
    states.authorize_stop(tester)
    cleared = expect_event_of(
        tester,
        "step 7",
        upper_id,
        {**of_evse(tester, "Power"), "trigger": "Alerting", "transactionId": transaction_id},
        cleared=True,
    )
    require("step 7", Decimal(cleared["actualValue"]) <= UPPER_W, f"{cleared}")
    dropped = expect_event_of(
        tester, "step 7", lower_id, {**of_evse(tester, "Power"), "trigger": "Alerting"}
    )
    require("step 7", Decimal(dropped["actualValue"]) < LOWER_W, f"{dropped}")
    ids = {each["eventId"] for each in (event, cleared, dropped)}
    require("step 7", len(ids) == 3, f"each event has an id of its own: {ids}")


def tc_n_21_cs(tester: Tester) -> None:
    tester.discard_received()
    tester.bench.station.request_operation("emergency_stop")
    try:
        tester.expect_call(
            "step 1",
            EVENT,
            {"seqNo": 0},
            predicate=lambda request: any(
                event["eventNotificationType"] == "HardWiredNotification"
                for event in request["eventData"]
            ),
        )
    finally:
        tester.bench.station.request_operation("emergency_release")
    tester.wait_until(
        lambda: not tester.bench.station.request_operation("live")["faults"],
        "afterwards",
        "no fault",
    )


def tc_n_24_cs(tester: Tester) -> None:
    interval_s = tester.settings.clock_aligned_interval_s
    set_level(tester, "preparation", 8)
    monitor_id = set_monitor(tester, "step 1", "Power", "Periodic", interval_s)
    set_at = time.monotonic()
    fields = {**of_evse(tester, "Power"), "trigger": "Periodic"}
    for count in (1, 2, 3):
        expect_event_of(tester, "step 3", monitor_id, fields, timeout_s=2 * interval_s)
        elapsed_s = time.monotonic() - set_at
        require(
            "step 3",
            elapsed_s > count * interval_s - tester.settings.deviation_s,
            f"event {count} after {count * interval_s} s, came after {elapsed_s:.1f}",
        )


def tc_n_45_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "preparation", "Power", "Delta", UPPER_W)
    set_level(tester, "preparation", 8)
    tester.discard_received()
    states.start_energy_transfer(tester)
    fields = {**of_evse(tester, "Power"), "trigger": "Delta"}
    expect_event_of(tester, "step 2", monitor_id, fields)


def tc_n_56_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "preparation")
    set_level(tester, "preparation", 8)
    tester.discard_received()
    tester.plug_in()
    fields = {**of_evse(tester, AVAILABILITY), "trigger": "Delta", "actualValue": "Occupied"}
    expect_event_of(tester, "step 1", monitor_id, fields)


@needs_fresh_station
def tc_n_48_cs(tester: Tester) -> None:
    item = monitor(tester, "BasicAuthPassword", component={"name": "SecurityCtrlr"})
    [result] = set_monitors(tester, "preparation", item)
    check_fields("preparation", result, {"status": "Accepted"})
    passwords = tester.csms.passwords
    assert passwords is not None  # set by the bench
    passwords.update(dict.fromkeys(passwords, NEW_PASSWORD))
    tester.discard_received()
    status = tester.set_variable("SecurityCtrlr", "BasicAuthPassword", NEW_PASSWORD)
    require("step 2", status in ("Accepted", "RebootRequired"), f"is {status}")
    expect_event_of(tester, "step 4", result["id"], {"actualValue": ""}, timeout_s=60)


def tc_n_51_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "preparation", "Power", "UpperThreshold", UNREACHED_W)
    set_level(tester, "preparation", 8)
    tester.discard_received()
    states.start_energy_transfer(tester)
    set_monitor(tester, "step 2", "Power", "UpperThreshold", UPPER_W, id=monitor_id)
    event = expect_event_of(tester, "step 4", monitor_id, {"trigger": "Alerting"})
    power_w = Decimal(event["actualValue"])
    require("step 4", power_w > UPPER_W, f"more than {UPPER_W} W, is {power_w}")


def tc_n_52_cs(tester: Tester) -> None:
    set_base(tester, "preparation", "HardWiredOnly")
    monitor_id = set_monitor(tester, "preparation", "Power", "UpperThreshold", UPPER_W)
    set_level(tester, "preparation", 8)
    tester.discard_received()
    states.start_energy_transfer(tester)
    expect_event_of(tester, "preparation", monitor_id, {"trigger": "Alerting"})
    clear_monitors(tester, "step 1", {monitor_id: "Accepted"})
    place = component_variable(evse_component(tester.evse_id), "Power")
    expect_no_monitors(
        tester, "step 3", componentVariable=[place], monitoringCriteria=["ThresholdMonitoring"]
    )
    states.authorize_stop(tester)
    expect_no_event_of(
        tester, "step 6", lambda event: event.get("variableMonitoringId") == monitor_id
    )


def tc_n_53_cs(tester: Tester) -> None:
    monitor_id = set_monitor(tester, "preparation", "Power", "UpperThreshold", UNREACHED_W)
    states.reset_and_boot(tester)
    found = get_monitors(tester, "step 1", monitoringCriteria=["ThresholdMonitoring"])
    kept = [each for each in found if each["id"] == monitor_id]
    require("step 3", len(kept) == 1, f"monitor {monitor_id} must be kept: {found}")
    check_fields("step 3", kept[0], {"type": "UpperThreshold", "value": UNREACHED_W})


def tc_n_22_cs(tester: Tester) -> None:
    tester.configure_variable("MonitoringCtrlr", "OfflineQueuingSeverity", SEVERITY)
    monitor_id = set_monitor(tester, "preparation")
    with tester.offline_period():
        tester.plug_in()
        tester.wait(tester.settings.transaction_s)
        tester.unplug()
        tester.wait(2 * tester.settings.transaction_s)
    fields = {**of_evse(tester, AVAILABILITY), "trigger": "Delta", "actualValue": "Occupied"}
    expect_event_of(tester, "step 3", monitor_id, fields)


def tc_n_23_cs(tester: Tester) -> None:
    tester.configure_variable("MonitoringCtrlr", "OfflineQueuingSeverity", SEVERITY - 1)
    monitor_id = set_monitor(tester, "preparation")
    tester.discard_received()
    tester.plug_in()
    tester.expect_status("step 1", "Occupied")
    expect_event_of(tester, "step 1", monitor_id, {"trigger": "Delta", "actualValue": "Occupied"})
    with tester.offline_period():
        tester.unplug()
        tester.wait(tester.settings.transaction_s)
        tester.plug_in()
        tester.wait(tester.settings.transaction_s)
    expect_no_event_of(
        tester, "step 8", lambda event: event.get("variableMonitoringId") == monitor_id
    )
