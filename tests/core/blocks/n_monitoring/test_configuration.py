"""Setting and clearing monitors, base and level, and every refusal. N03 to N06."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from journal.immutable import ImmutableMap
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
    IDLE,
    LINK_OPENED,
    Station,
    called,
    csms_answers,
    error_code_in,
    response_payload_in,
    station_restarted,
)

HARD_WIRED = 200  # GroundIsolationProtection@1.Problem of `development`
PRECONFIGURED = 1000  # PowerContactor@1.Problem, Delta, severity 1


def cleared_statuses(station: Station, *ids: int) -> list[str]:
    decisions = perform(station, called("ClearVariableMonitoring", id=list(ids)))
    results = response_payload_in(decisions)["clearMonitoringResult"]
    assert [result["id"] for result in results] == list(ids)  # N06.FR.05
    return [result["status"] for result in results]


def set_base(station: Station, base: str) -> None:
    decisions = perform(station, called("SetMonitoringBase", monitoringBase=base))
    assert response_payload_in(decisions) == {"status": "Accepted"}


def test_every_monitor_has_a_result_and_an_id_n04_fr_01_n04_fr_02_n04_fr_08_n04_fr_11() -> None:
    station = ready_station()
    items = [
        monitor_data(EVSE_STATE),
        monitor_data(EVSE_POWER, "UpperThreshold", 1000),
        monitor_data("ChargingStation.AvailabilityState"),
    ]
    results = set_monitors(station, *items)
    assert [result["status"] for result in results] == ["Accepted"] * 3
    assert len({result["id"] for result in results}) == 3
    for item, result in zip(items, results, strict=True):
        for field in ("component", "variable", "type", "severity"):
            assert result[field] == item[field]


REFUSALS: list[tuple[str, Any, str, str]] = [
    ("n04_fr_03", monitor_data("EVSE@99.AvailabilityState"), "UnknownComponent", "NotFound"),
    ("n04_fr_03", monitor_data("NonExistent.Power"), "UnknownComponent", "NotFound"),
    ("n04_fr_04", monitor_data("EVSE@1.Nothing"), "UnknownVariable", "NotFound"),
    (
        "n04_fr_05",
        monitor_data(EVSE_STATE, "UpperThreshold"),
        "UnsupportedMonitorType",
        "UnsupportedParam",
    ),
    (
        "n04_fr_05_constant",
        monitor_data("ChargingStation.Model"),
        "UnsupportedMonitorType",
        "UnsupportedParam",
    ),
    (
        "n04_fr_05_clock",
        monitor_data("ClockCtrlr.DateTime"),
        "UnsupportedMonitorType",
        "UnsupportedParam",
    ),
    (
        "n04_fr_06_upper",
        monitor_data(EVSE_POWER, "UpperThreshold", 10_000_000),
        "Rejected",
        "ValueOutOfRange",
    ),
    ("n04_fr_06_lower", monitor_data(EVSE_POWER, "LowerThreshold", -1), "Rejected",
     "ValueOutOfRange"),
    ("n04_fr_14", monitor_data(EVSE_STATE, "Delta", -1), "Rejected", "ValueOutOfRange"),
    ("severity", monitor_data(EVSE_STATE, severity=10), "Rejected", "ValueOutOfRange"),
    ("interval", monitor_data(EVSE_STATE, "Periodic", 0), "Rejected", "ValueOutOfRange"),
    ("part_of_a_second", monitor_data(EVSE_STATE, "Periodic", 1.5), "Rejected", "ValueOutOfRange"),
    ("digits", monitor_data(EVSE_POWER, "Delta", 10**30), "Rejected", "ValueOutOfRange"),
    ("n04_fr_13", monitor_data(EVSE_STATE, id=424242), "Rejected", "NotFound"),
    (
        "n04_fr_16",
        monitor_data(EVSE_STATE, id=PRECONFIGURED),
        "Rejected",
        "InvalidValue",
    ),
    (
        "n04_fr_18",
        monitor_data("GroundIsolationProtection@1.Problem", id=HARD_WIRED),
        "Rejected",
        "ReadOnly",
    ),
    (
        "n04_fr_10",
        monitor_data("PowerContactor@1.Problem", severity=1),
        "Duplicate",
        "InvalidValue",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "status", "reason"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_a_refused_monitor_has_status_and_reason(item: Any, status: str, reason: str) -> None:
    station = ready_station()
    before = station.state.monitors.custom
    [result] = set_monitors(station, item)
    assert (result["status"], result["statusInfo"]["reasonCode"]) == (status, reason)
    assert "id" not in result
    assert station.state.monitors.custom == before


def test_a_threshold_may_be_at_the_limit_n04_fr_06() -> None:
    station = ready_station()
    ids = [
        set_monitor(station, EVSE_POWER, "LowerThreshold", 0),
        set_monitor(station, EVSE_POWER, "UpperThreshold", 300_000),
    ]
    assert set(station.state.monitors.custom) == set(ids)


def test_one_refused_monitor_does_not_affect_the_others_n04_fr_01() -> None:
    results = set_monitors(
        ready_station(),
        monitor_data(EVSE_POWER, "UpperThreshold", 100),
        monitor_data(EVSE_POWER, "Delta", -1),
        monitor_data(EVSE_POWER, "LowerThreshold", 10),
    )
    assert [result["status"] for result in results] == ["Accepted", "Rejected", "Accepted"]


def test_the_second_of_one_request_can_be_a_duplicate_n04_fr_10() -> None:
    results = set_monitors(ready_station(), monitor_data(EVSE_STATE), monitor_data(EVSE_STATE))
    assert [result["status"] for result in results] == ["Accepted", "Duplicate"]


def test_a_monitor_is_replaced_by_its_id_n04_fr_12() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE)
    assert set_monitor(station, EVSE_STATE, id=monitor_id, severity=4) == monitor_id
    reported = reported_monitors(station)
    assert isinstance(reported, dict)
    assert reported[monitor_id]["severity"] == 4


def test_a_replaced_preconfigured_monitor_returns_with_factory_default_n04_fr_15_n03_fr_04() -> (
    None
):
    station = ready_station()
    set_monitor(station, "PowerContactor@1.Problem", id=PRECONFIGURED, severity=8)
    set_base(station, "All")
    reported = reported_monitors(station)
    assert isinstance(reported, dict)
    assert reported[PRECONFIGURED]["severity"] == 8  # N03.FR.03
    set_base(station, "FactoryDefault")
    reported = reported_monitors(station)
    assert isinstance(reported, dict)
    assert reported[PRECONFIGURED]["severity"] == 1


def test_the_number_of_monitors_is_limited() -> None:
    station = ready_station()
    limit = station.product.profile.monitoring.monitors
    kept_id = set_monitor(station, EVSE_STATE)
    monitors = station.state.monitors
    kept = monitors.custom[kept_id]
    many = {number: replace(kept, id=number) for number in range(kept_id, kept_id + limit - 1)}
    station.state = replace(
        station.state, monitors=replace(monitors, custom=ImmutableMap(many), next_id=999_999)
    )
    set_monitor(station, EVSE_POWER)
    [result] = set_monitors(station, monitor_data(EVSE_POWER, "Periodic", 60))
    assert result["statusInfo"]["reasonCode"] == "TooManyElements"
    set_monitor(station, EVSE_STATE, id=kept_id, severity=2)  # replacing one is possible


def test_all_periodic_monitors_together_are_limited() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, "Periodic", 2)
    set_monitor(station, EVSE_POWER, "PeriodicClockAligned", 2)
    [result] = set_monitors(station, monitor_data(EVSE_POWER, "Periodic", 3600))
    assert result["statusInfo"]["reasonCode"] == "TooManyElements"


def test_messages_over_their_limits_are_refused_n04_fr_09_n06_fr_06_n06_fr_07() -> None:
    station = ready_station()
    limits = station.product.profile.monitoring
    many = [monitor_data(EVSE_STATE)] * (limits.items_per_message_set + 1)
    decisions = perform(station, called("SetVariableMonitoring", setMonitoringData=many))
    assert error_code_in(decisions) == "OccurrenceConstraintViolation"
    ids = list(range(limits.items_per_message_clear + 1))
    decisions = perform(station, called("ClearVariableMonitoring", id=ids))
    assert error_code_in(decisions) == "OccurrenceConstraintViolation"
    long = monitor_data(EVSE_STATE, customData={"vendorId": "x", "text": "y" * 70_000})
    decisions = perform(station, called("SetVariableMonitoring", setMonitoringData=[long]))
    assert error_code_in(decisions) == "FormatViolation"


def test_a_monitor_is_cleared_once_n06_fr_01_n06_fr_02() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE)
    assert cleared_statuses(station, monitor_id, monitor_id) == ["Accepted", "NotFound"]
    assert cleared_statuses(station, 123456) == ["NotFound"]
    assert monitor_id not in reported_monitors(station)


def test_a_hard_wired_monitor_is_not_cleared_n06_fr_03() -> None:
    station = ready_station()
    assert cleared_statuses(station, HARD_WIRED) == ["Rejected"]
    assert HARD_WIRED in reported_monitors(station)


def test_a_cleared_preconfigured_monitor_returns_with_the_base_n03_fr_03() -> None:
    station = ready_station()
    assert cleared_statuses(station, PRECONFIGURED) == ["Accepted"]
    assert PRECONFIGURED not in reported_monitors(station)
    set_base(station, "All")
    assert PRECONFIGURED in reported_monitors(station)


def test_hard_wired_only_leaves_hard_wired_monitors_n03_fr_05() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE)
    set_base(station, "HardWiredOnly")
    reported = reported_monitors(station)
    assert HARD_WIRED in reported
    assert PRECONFIGURED not in reported
    assert monitor_id not in reported
    set_base(station, "FactoryDefault")
    assert PRECONFIGURED in reported_monitors(station)


def test_all_keeps_custom_monitors_n03_fr_01_n03_fr_03() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE)
    set_base(station, "All")
    assert monitor_id in reported_monitors(station)


def test_monitors_and_base_and_level_persist_n07_fr_13() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE)
    perform(station, called("SetMonitoringLevel", severity=3))
    perform(station, station_restarted(boot_id="boot-2"), IDLE, LINK_OPENED, csms_answers())
    assert monitor_id in reported_monitors(station)
    assert station.state.monitors.level == 3


@pytest.mark.parametrize("severity", [-1, 10])
def test_a_level_out_of_range_is_rejected_n05_fr_02(severity: int) -> None:
    decisions = perform(ready_station(), called("SetMonitoringLevel", severity=severity))
    response = response_payload_in(decisions)
    assert response["status"] == "Rejected"
    assert response["statusInfo"]["reasonCode"] == "ValueOutOfRange"


def test_a_level_is_accepted_n05_fr_01() -> None:
    decisions = perform(ready_station(), called("SetMonitoringLevel", severity=9))
    assert response_payload_in(decisions) == {"status": "Accepted"}


def test_the_certified_product_refuses_every_request_n02_fr_02_n03_fr_02() -> None:
    station = ready_station(profile_name="evs-flash-300")
    requests: list[tuple[str, dict[str, Any], str]] = [
        ("GetMonitoringReport", {"requestId": 1}, "NotSupported"),
        ("SetMonitoringBase", {"monitoringBase": "All"}, "NotSupported"),
        ("SetMonitoringLevel", {"severity": 3}, "Rejected"),
    ]
    for action, request, status in requests:
        decisions = perform(station, called(action, **request))
        assert response_payload_in(decisions)["status"] == status
    [result] = set_monitors(station, monitor_data(EVSE_STATE))
    assert (result["status"], result["statusInfo"]["reasonCode"]) == (
        "Rejected",
        "UnsupportedRequest",
    )
    assert cleared_statuses(station, 1) == ["NotFound"]
