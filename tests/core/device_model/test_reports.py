"""Reports: the variables that B07 and B08 require."""

from __future__ import annotations

import pytest

from station.core.device_model.model import (
    Component,
    DeviceModel,
    VariableDefinition,
    attribute_value,
)
from station.core.device_model.reports import (
    INVENTORIES,
    ReportFilter,
    ValueReader,
    report_data,
    select_variables,
)
from station.profiles import load_profile

MODEL = DeviceModel(load_profile("evs-flash-300"))


def no_measured_value(source: str, component: Component) -> str | None:
    return None


def read_value(definition: VariableDefinition) -> str:
    return attribute_value(definition, {}, no_measured_value)


def reader_with(changed: dict[str, str]) -> ValueReader:
    return lambda definition: changed.get(definition.path, read_value(definition))


def inventory_paths(base: str) -> list[str]:
    return [definition.path for definition in INVENTORIES[base](MODEL, read_value)]


def test_the_full_inventory_has_everything_b07_fr_08() -> None:
    assert inventory_paths("FullInventory") == [item.path for item in MODEL.definitions]


def test_the_configuration_inventory_has_what_can_be_set_b07_fr_07() -> None:
    paths = inventory_paths("ConfigurationInventory")
    assert "OCPPCommCtrlr.HeartbeatInterval" in paths
    assert "SecurityCtrlr.BasicAuthPassword" in paths
    assert "TxCtrlr.TxStartPoint" not in paths  # C-51 is false
    for definition in INVENTORIES["ConfigurationInventory"](MODEL, read_value):
        for attribute in report_data(definition, {}, no_measured_value)["variableAttribute"]:
            assert attribute["mutability"] in ("ReadWrite", "WriteOnly")


AVAILABILITY = [
    "ChargingStation.AvailabilityState",
    "Connector@1/1.AvailabilityState",
    "Connector@2/1.AvailabilityState",
    "EVSE@1.AvailabilityState",
    "EVSE@2.AvailabilityState",
]


def test_the_summary_of_a_healthy_station_is_its_availability_b07_fr_09() -> None:
    assert inventory_paths("SummaryInventory") == AVAILABILITY


def test_the_summary_names_what_is_wrong_b07_fr_09() -> None:
    wrong = {"PowerContactor@1.Problem": "true", "EmergencyStopSensor.Tripped": "true"}
    paths = [item.path for item in INVENTORIES["SummaryInventory"](MODEL, reader_with(wrong))]
    assert sorted(paths) == sorted([*AVAILABILITY, *wrong])


def custom_report_paths(*filters: ReportFilter, criteria: tuple[str, ...] = ()) -> list[str]:
    return [item.path for item in select_variables(MODEL, criteria, filters, read_value)]


def test_one_variable_of_one_evse_tc_b_17() -> None:
    report_filter = ReportFilter(Component("evse", evse_id=1), "availabilitystate")
    assert custom_report_paths(report_filter) == ["EVSE@1.AvailabilityState"]


def test_a_variable_left_out_means_all_of_the_component_b08_fr_20() -> None:
    paths = custom_report_paths(ReportFilter(Component("ClockCtrlr")))
    assert paths == [
        "ClockCtrlr.DateTime",
        "ClockCtrlr.TimeAdjustmentReportingThreshold",
        "ClockCtrlr.TimeSource",
    ]


def test_an_instance_left_out_means_every_instance_b08_fr_21_tc_b_54() -> None:
    paths = custom_report_paths(ReportFilter(Component("DeviceDataCtrlr"), "ItemsPerMessage"))
    assert paths == [
        "DeviceDataCtrlr.ItemsPerMessage[GetReport]",
        "DeviceDataCtrlr.ItemsPerMessage[GetVariables]",
        "DeviceDataCtrlr.ItemsPerMessage[SetVariables]",
    ]


def test_one_instance_of_a_variable_tc_b_55() -> None:
    paths = custom_report_paths(
        ReportFilter(Component("DeviceDataCtrlr"), "ItemsPerMessage", "getreport")
    )
    assert paths == ["DeviceDataCtrlr.ItemsPerMessage[GetReport]"]


def test_an_evse_or_instance_left_out_means_all_b08_fr_23_b08_fr_25_tc_b_56() -> None:
    paths = custom_report_paths(ReportFilter(Component("EVSE"), "AvailabilityState"))
    assert paths == ["EVSE@1.AvailabilityState", "EVSE@2.AvailabilityState"]
    assert custom_report_paths(ReportFilter(Component("Controller"), "Problem")) == [
        "Controller[IO].Problem",
        "Controller[SECC]@1.Problem",
        "Controller[SECC]@2.Problem",
    ]


def test_a_connector_left_out_means_every_connector_b08_fr_22() -> None:
    paths = custom_report_paths(ReportFilter(Component("Connector", evse_id=2), "ConnectorType"))
    assert paths == ["Connector@2/1.ConnectorType"]


def test_an_instance_of_a_component_is_that_instance_b08_fr_24() -> None:
    assert custom_report_paths(ReportFilter(Component("Controller", "SECC"), "Problem")) == [
        "Controller[SECC]@1.Problem",
        "Controller[SECC]@2.Problem",
    ]
    assert custom_report_paths(ReportFilter(Component("Controller", "None"), "Problem")) == []


def test_an_unknown_variable_is_an_empty_report_b08_fr_15() -> None:
    assert custom_report_paths(ReportFilter(Component("EVSE"), "Colour")) == []


AVAILABILITY_OF_1 = ReportFilter(Component("EVSE", evse_id=1), "AvailabilityState")


def test_criterion_and_variable_must_both_hold_tc_b_18() -> None:
    assert custom_report_paths(AVAILABILITY_OF_1, criteria=("Available",)) == [
        "EVSE@1.AvailabilityState"
    ]
    assert custom_report_paths(AVAILABILITY_OF_1, criteria=("Problem",)) == []


def test_one_of_several_criteria_is_enough_b08_fr_13() -> None:
    criteria = ("Problem", "Available")
    assert custom_report_paths(AVAILABILITY_OF_1, criteria=criteria) == ["EVSE@1.AvailabilityState"]


def test_a_component_with_a_problem_is_reported_whole_b08_fr_10() -> None:
    report = select_variables(
        MODEL, ["Problem"], [], reader_with({"FiscalMetering@2.Problem": "true"})
    )
    assert {item.key.component.path for item in report} == {"FiscalMetering@2"}


@pytest.mark.parametrize(
    ("criterion", "path"),
    [
        ("Active", "PowerContactor@1.Active"),
        ("Available", "ConnectedEV@1.Available"),
        ("Enabled", "SampledDataCtrlr.Enabled"),
    ],
)
def test_a_component_counts_unless_its_variable_is_false_b08_fr_07_to_09(
    criterion: str, path: str
) -> None:
    for decisions, reported in (("true", True), ("false", False)):
        report = list(select_variables(MODEL, [criterion], [], reader_with({path: decisions})))
        assert (path in [item.path for item in report]) is reported
        assert "ClockCtrlr.DateTime" in [item.path for item in report]  # it has no Problem variable


def test_an_unknown_criterion_b08_fr_02() -> None:
    with pytest.raises(KeyError):
        custom_report_paths(criteria=("Available", "Beautiful"))


def test_nothing_asked_is_everything() -> None:
    assert len(custom_report_paths()) == len(MODEL.definitions)


def test_how_an_entry_looks_b08_fr_12() -> None:
    definition = MODEL.by_path["EVSE@1.AvailabilityState"]
    assert report_data(definition, {}, no_measured_value) == {
        "component": {"name": "EVSE", "evse": {"id": 1}},
        "variable": {"name": "AvailabilityState"},
        "variableAttribute": [{"type": "Actual", "mutability": "ReadOnly", "value": "Available"}],
        "variableCharacteristics": {
            "dataType": "OptionList",
            "supportsMonitoring": False,
            "valuesList": "Available,Occupied,Reserved,Unavailable,Faulted",
        },
    }


def test_an_entry_with_instance_connector_unit_and_limits() -> None:
    lock = report_data(
        MODEL.by_path["TemperatureSensor[cable]@2/1.Temperature"], {}, no_measured_value
    )
    assert lock["component"] == {
        "name": "TemperatureSensor",
        "instance": "cable",
        "evse": {"id": 2, "connectorId": 1},
    }
    assert lock["variableCharacteristics"]["unit"] == "Celsius"
    power = report_data(MODEL.by_path["EVSE@1.Power"], {}, no_measured_value)
    assert power["variableCharacteristics"]["maxLimit"] == 300_000
    timeout = MODEL.by_path["OCPPCommCtrlr.MessageTimeout[Default]"]
    assert report_data(timeout, {}, no_measured_value)["variable"]["instance"] == "Default"


def test_a_secret_has_no_value_in_a_report_b07_fr_03() -> None:
    password = MODEL.by_path["SecurityCtrlr.BasicAuthPassword"]
    overrides = {password.path: "0123456789abcdef"}
    [attribute] = report_data(password, overrides, no_measured_value)["variableAttribute"]
    assert attribute == {"type": "Actual", "mutability": "WriteOnly", "persistent": True}


def test_only_a_secret_has_no_value_tc_b_53() -> None:
    for definition in MODEL.definitions:
        for attribute in report_data(definition, {}, no_measured_value)["variableAttribute"]:
            assert ("value" in attribute) is (attribute["mutability"] != "WriteOnly")
