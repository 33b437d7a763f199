"""Measured values are observed before a request that asks for them, and by no other one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from journal.events import Observation
from journal.observations import FrameReceived, MeasuredValue, MeterRead, ValuesMeasured
from station.runtime.requested_values import RequestedValues
from tests.core.blocks.n_monitoring.monitors import perform, ready_station
from tests.support.story import Station, meter_read

CABLE = "TemperatureSensor[cable]@1/1.Temperature"
READING = meter_read(1, "0", power_w="4711")


def get_variables(component: str, variable: str) -> Any:
    names = {"component": {"name": component}, "variable": {"name": variable}}
    return {"getVariableData": [names]}


def observe_request(station: Station, action: str, payload: Any) -> tuple[Observation, ...]:
    """What is observed before a CALL, with a reading of EVSE 1 and a temperature of its cable.

    In names, `^` begins an escape of JSON.
    """
    requested = RequestedValues(
        station.product.device_model,
        lambda: station.state,
        lambda evse_id: READING if evse_id == 1 else None,
        lambda: {CABLE: "41"},
    )
    frame = json.dumps([2, "csms-1", action, payload], separators=(",", ":")).replace("^", "\\u0")
    return requested.find_observations(FrameReceived(msgspec.Raw(frame.encode())))


@pytest.mark.parametrize("name", ["Temperature", "TEMPERATURE", "^054emperature"])
def test_the_value_of_a_device_is_observed_before_its_request_b06(name: str) -> None:
    request = get_variables("TemperatureSensor", name)
    *_, measured = observe_request(ready_station(), "GetVariables", request)
    assert measured == ValuesMeasured((MeasuredValue(CABLE, "41"),))


def test_the_reading_of_a_meter_is_observed_before_its_request_b06() -> None:
    [reading] = observe_request(ready_station(), "GetVariables", get_variables("EVSE", "Power"))
    assert isinstance(reading, MeterRead)
    assert reading == READING


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"}),
        ("GetReport", {"requestId": 1}),
    ],
)
def test_a_report_has_every_value_b07_b08(action: str, payload: Any) -> None:
    reading, measured = observe_request(ready_station(), action, payload)
    assert isinstance(reading, MeterRead)
    assert isinstance(measured, ValuesMeasured)


def test_what_the_journal_has_is_not_observed_again() -> None:
    station = ready_station()
    request = {"requestId": 1, "reportBase": "FullInventory"}
    for observation in observe_request(station, "GetBaseReport", request):
        perform(station, observation)
    assert observe_request(station, "GetBaseReport", request) == ()


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("GetVariables", get_variables("OCPPCommCtrlr", "HeartbeatInterval")),
        ("SetVariables", get_variables("TemperatureSensor", "Temperature")),
        ("DataTransfer", {"vendorId": "GetVariables"}),
    ],
)
def test_other_requests_leave_no_trace_of_readings(action: str, payload: Any) -> None:
    assert observe_request(ready_station(), action, payload) == ()
