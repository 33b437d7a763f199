"""Steps and helpers of the tests of monitors."""

from __future__ import annotations

from typing import Any, Final

from journal.events import Decision
from journal.observations import MeasuredValue, ValuesMeasured
from tests.support.story import (
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    called,
    given,
    queued_payloads,
    response_payload_in,
    time_passed,
)

EVSE_STATE: Final = "EVSE@1.AvailabilityState"
EVSE_POWER: Final = "EVSE@1.Power"


def ready_station(*steps: Step, **options: Any) -> Station:
    """A station whose devices have all reported after the start."""
    return given(ONLINE, time_passed(seconds=15), *steps, **options)


def component_of(path: str) -> tuple[Json, Json]:
    """Component and variable of a path such as `TemperatureSensor[cable]@1/1.Temperature`."""
    place, _, variable = path.rpartition(".")
    place, _, evse = place.partition("@")
    name, _, instance = place.partition("[")
    component: Json = {"name": name}
    if instance:
        component["instance"] = instance.rstrip("]")
    if evse:
        evse_id, _, connector = evse.partition("/")
        component["evse"] = {"id": int(evse_id)}
        if connector:
            component["evse"]["connectorId"] = int(connector)
    return component, {"name": variable}


def monitor_data(path: str, type: str = "Delta", value: Any = 1, **fields: Any) -> Json:
    """A SetMonitoringDataType of severity 5."""
    component, variable = component_of(path)
    return {
        "component": component,
        "variable": variable,
        "type": type,
        "value": value,
        "severity": 5,
        **fields,
    }


def set_monitors(station: Station, *items: Json) -> list[Json]:
    """The results of a SetVariableMonitoring."""
    decisions = station.with_csms(
        accept_everything, called("SetVariableMonitoring", setMonitoringData=list(items))
    )
    results: list[Json] = response_payload_in(decisions)["setMonitoringResult"]
    return results


def set_monitor(station: Station, path: str, *args: Any, **fields: Any) -> int:
    """Set a monitor that is accepted; its id."""
    [result] = set_monitors(station, monitor_data(path, *args, **fields))
    assert result["status"] == "Accepted", result
    monitor_id: int = result["id"]
    return monitor_id


def reported_monitors(station: Station, **request: Any) -> dict[int, Json] | str:
    """The monitors of a report by id, with `path`; or the status that is not Accepted."""
    decisions = station.with_csms(
        accept_everything, called("GetMonitoringReport", requestId=7, **request)
    )
    status: str = response_payload_in(decisions)["status"]
    parts = queued_payloads(decisions, "NotifyMonitoringReport")
    if status != "Accepted":
        assert parts == []
        return status
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))
    assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert {part["requestId"] for part in parts} == {7}
    return {
        monitoring["id"]: {**monitoring, "component": data["component"]["name"]}
        for part in parts
        for data in part["monitor"]
        for monitoring in data["variableMonitoring"]
    }


def events_in(decisions: list[Decision]) -> list[Json]:
    """The events of every NotifyEvent that was queued."""
    return [
        event
        for request in queued_payloads(decisions, "NotifyEvent")
        for event in request["eventData"]
    ]


def outcomes_in(decisions: list[Decision]) -> list[tuple[str, str, str]]:
    """`(variable, trigger, actualValue)` of each event; "cleared" in place of its trigger."""
    return [
        (
            f"{event['component']['name']}.{event['variable']['name']}",
            "cleared" if event.get("cleared") else event["trigger"],
            event["actualValue"],
        )
        for event in events_in(decisions)
    ]


def perform(station: Station, *steps: Step) -> list[Decision]:
    """Steps with a CSMS that accepts everything."""
    return station.with_csms(accept_everything, *steps)


def measured(path: str, value: str) -> ValuesMeasured:
    return ValuesMeasured((MeasuredValue(path, value),))
