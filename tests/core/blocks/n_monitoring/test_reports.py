"""Reports of monitors. N02."""

from __future__ import annotations

from typing import Any

import pytest

from station.core.device_model.monitors import supports_type
from tests.core.blocks.n_monitoring.monitors import (
    EVSE_POWER,
    EVSE_STATE,
    monitor_data,
    perform,
    ready_station,
    reported_monitors,
    set_monitor,
    set_monitors,
)
from tests.support.story import (
    Station,
    called,
    error_code_in,
    queued_payloads,
    response_payload_in,
)


def ids_of(station: Station, **request: Any) -> set[int] | str:
    reported = reported_monitors(station, **request)
    return reported if isinstance(reported, str) else set(reported)


def custom_only() -> tuple[Station, dict[str, int]]:
    """A station without monitors of its own but the hard-wired ones, and one of each type."""
    station = ready_station()
    perform(station, called("SetMonitoringBase", monitoringBase="HardWiredOnly"))
    ids = {
        "upper": set_monitor(station, EVSE_POWER, "UpperThreshold", 1000),
        "lower": set_monitor(station, EVSE_POWER, "LowerThreshold", 10),
        "delta": set_monitor(station, EVSE_STATE),
        "periodic": set_monitor(station, "EVSE@2.Power", "Periodic", 60),
        "aligned": set_monitor(station, "ChargingStation.Power", "PeriodicClockAligned", 60),
    }
    return station, ids


HARD_WIRED = {200, 201, 300, 301, 400, 401}


def test_without_criteria_every_monitor_is_reported_n02_fr_01_n02_fr_03_n02_fr_11() -> None:
    station, ids = custom_only()
    assert ids_of(station) == {*ids.values(), *HARD_WIRED}


@pytest.mark.parametrize(
    ("criterion", "names"),
    [
        ("ThresholdMonitoring", {"upper", "lower"}),
        ("PeriodicMonitoring", {"periodic", "aligned"}),
    ],
    ids=["n02_fr_12", "n02_fr_14"],
)
def test_a_criterion_selects_types_n02_fr_06(criterion: str, names: set[str]) -> None:
    station, ids = custom_only()
    assert ids_of(station, monitoringCriteria=[criterion]) == {ids[name] for name in names}


def test_delta_monitoring_selects_deltas_n02_fr_13() -> None:
    station, ids = custom_only()
    assert ids_of(station, monitoringCriteria=["DeltaMonitoring"]) == {ids["delta"], *HARD_WIRED}


def test_a_monitor_is_reported_as_it_was_set_n02_fr_03() -> None:
    station = ready_station()
    monitor_id = set_monitor(
        station, EVSE_POWER, "UpperThreshold", 99.5, severity=3, transaction=True
    )
    reported = reported_monitors(station)
    assert isinstance(reported, dict)
    assert reported[monitor_id] == {
        "id": monitor_id, "transaction": True, "value": 99.5, "type": "UpperThreshold",
        "severity": 3, "component": "EVSE",
    }  # fmt: skip


def component(name: str, **fields: Any) -> dict[str, Any]:
    variable = fields.pop("variable", None)
    item: dict[str, Any] = {"component": {"name": name, **fields}}
    return {**item, "variable": {"name": variable}} if variable else item


def test_component_variables_limit_the_report_n02_fr_08_n02_fr_16_n02_fr_18_n02_fr_19() -> None:
    station, ids = custom_only()
    assert ids_of(station, componentVariable=[component("EVSE", evse={"id": 1})]) == {
        ids["upper"], ids["lower"], ids["delta"],
    }  # fmt: skip
    assert ids_of(station, componentVariable=[component("EVSE")]) == {
        ids["upper"], ids["lower"], ids["delta"], ids["periodic"],
    }  # fmt: skip
    named = [component("EVSE", variable="AvailabilityState"), component("ChargingStation")]
    assert ids_of(station, componentVariable=named) == {ids["delta"], ids["aligned"]}


def test_instances_of_a_component_n02_fr_17_n02_fr_20_n02_fr_21() -> None:
    station = ready_station()
    of_io = ids_of(station, componentVariable=[component("Controller", instance="IO")])
    assert of_io == {1300}
    assert ids_of(station, componentVariable=[component("Controller")]) == {1300, 1400, 1401}


def test_criteria_and_component_variables_both_have_to_match_n02_fr_05_n02_fr_10() -> None:
    station, ids = custom_only()
    request = {"componentVariable": [component("EVSE", evse={"id": 1})]}
    assert ids_of(station, **request, monitoringCriteria=["DeltaMonitoring"]) == {ids["delta"]}
    assert ids_of(station, **request, monitoringCriteria=["PeriodicMonitoring"]) == "EmptyResultSet"


def test_parts_have_the_request_id_and_count_from_0_n02_fr_04_n02_fr_09() -> None:
    station = ready_station()
    paths = [
        definition.path
        for definition in station.product.device_model.definitions
        if supports_type(definition, "Delta") and definition.key.instance is None
    ]
    set_monitors(station, *(monitor_data(path, severity=7) for path in paths[:90]))
    reported = reported_monitors(station)  # checks requestId, seqNo and tbc
    assert isinstance(reported, dict)
    assert len(reported) > 90


def test_too_many_component_variables_are_refused_n02_fr_07() -> None:
    station = ready_station()
    limit = station.product.profile.limits.items_per_message_get_report
    items = [component("EVSE")] * (limit + 1)
    decisions = perform(
        station, called("GetMonitoringReport", requestId=1, componentVariable=items)
    )
    assert error_code_in(decisions) == "OccurrenceConstraintViolation"
    items = [component("EVSE", instance="x" * 50) for _ in range(60)]
    decisions = perform(
        station, called("GetMonitoringReport", requestId=1, componentVariable=items)
    )
    assert error_code_in(decisions) == "FormatViolation"


def test_a_second_report_during_the_first_is_rejected() -> None:
    station = ready_station()
    station.when(called("GetMonitoringReport", requestId=1))
    decisions = station.when(called("GetMonitoringReport", requestId=2))
    assert response_payload_in(decisions)["status"] == "Rejected"


def test_reports_of_the_device_model_say_what_can_be_monitored() -> None:
    for profile_name, expected in (("development", True), ("evs-flash-300", False)):
        station = ready_station(profile_name=profile_name)
        request = called(
            "GetReport", requestId=1, componentVariable=[component("EVSE", variable="Power")]
        )
        [report] = queued_payloads(perform(station, request), "NotifyReport")
        for data in report["reportData"]:
            assert data["variableCharacteristics"]["supportsMonitoring"] is expected
