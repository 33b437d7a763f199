"""A fault is reported once when it begins and once when it ends."""

from __future__ import annotations

from typing import get_args

import pytest

from journal.events import Observation
from journal.observations import DeviceFaulted, DeviceRecovered
from station.core.blocks.measured_variables import DEVICES_BY_COMPONENT
from station.ocpp.messages.enums import ReasonEnumType
from station.runtime.hardware.fault_registry import (
    FAULT_RULES,
    BlockMode,
    FaultRegistry,
    Finding,
    StopMode,
)


class RegistryBench:
    """A fault registry and its observations."""

    def __init__(self, *, in_field: bool = False) -> None:
        self.reported: list[Observation] = []
        self.sessions: set[int] = set()
        self.registry = FaultRegistry(self.reported.append, self.in_session, in_field=in_field)

    def in_session(self, evse_id: int) -> bool:
        return bool(self.sessions) if evse_id == 0 else evse_id in self.sessions

    def update_at(self, now: float, *names: str, evse_id: int = 1) -> None:
        """Update the registry with the faults found at a moment."""
        self.registry.update_faults([Finding(FAULT_RULES[name], evse_id) for name in names], now)

    @property
    def reported_kinds(self) -> list[type[Observation]]:
        return [type(observation) for observation in self.reported]


def test_a_fault_is_reported_once_while_it_lasts() -> None:
    bench = RegistryBench()
    for now in range(100):
        bench.update_at(now / 10, "meter/silent")
    assert bench.reported_kinds == [DeviceFaulted]


def test_recovery_waits_for_the_dwell_and_a_relapse_restarts_it() -> None:
    bench = RegistryBench()
    dwell_s = FAULT_RULES["cable/over_temperature"].dwell_s
    bench.update_at(0.0, "cable/over_temperature")
    bench.update_at(dwell_s)
    assert bench.reported_kinds == [DeviceFaulted]
    bench.update_at(dwell_s, "cable/over_temperature")
    bench.update_at(2 * dwell_s)
    assert bench.reported_kinds == [DeviceFaulted]
    bench.update_at(2 * dwell_s + 0.1)
    assert bench.reported_kinds == [DeviceFaulted, DeviceRecovered]
    assert not bench.registry.blocks_charging(1)


def test_in_the_field_a_lost_controller_must_be_back_for_ten_seconds() -> None:
    bench = RegistryBench(in_field=True)
    bench.update_at(0.0, "secc/silent")
    bench.update_at(9.9)
    assert bench.registry.blocks_charging(1)
    bench.update_at(10.1)
    assert not bench.registry.blocks_charging(1)


def test_a_latched_fault_stays_until_it_is_released_and_good() -> None:
    bench = RegistryBench()
    bench.update_at(0.0, "door/open", evse_id=0)
    bench.update_at(1000.0)
    assert bench.registry.blocks_charging(2)
    bench.registry.release_faults()
    bench.update_at(1000.1, "door/open", evse_id=0)  # still open
    bench.update_at(2000.0)
    assert bench.registry.blocks_charging(2)  # it latched again
    bench.registry.release_faults()
    bench.update_at(2000.1)
    assert bench.reported_kinds == [DeviceFaulted, DeviceRecovered]


def test_a_fault_not_visible_without_power_is_released_by_a_person_only() -> None:
    bench = RegistryBench()
    bench.update_at(0.0, "output/over_current")
    bench.registry.release_faults(visible_only=True)
    bench.update_at(1000.0)
    assert bench.registry.blocks_charging(1)
    bench.registry.release_faults("meter")
    bench.registry.release_faults("output", evse_id=2)
    bench.update_at(1000.1)
    assert bench.registry.blocks_charging(1)
    bench.registry.release_faults("output", evse_id=1)
    bench.update_at(1000.2)
    assert not bench.registry.blocks_charging(1)


def test_a_fault_of_an_evse_stops_only_it_and_one_of_the_station_stops_all() -> None:
    bench = RegistryBench()
    bench.update_at(0.0, "secc/silent", evse_id=2)
    assert (bench.registry.stop_mode(1), bench.registry.stop_mode(2)) == (
        StopMode.NONE,
        StopMode.EMERGENCY,
    )
    bench.update_at(0.0, "mains/lost", evse_id=0)
    assert (bench.registry.stop_mode(1), bench.registry.stop_mode(2)) == (
        StopMode.EMERGENCY,
        StopMode.EMERGENCY,
    )


def test_a_fault_that_lets_a_session_end_blocks_when_it_has_ended() -> None:
    bench = RegistryBench()
    bench.sessions = {1}
    bench.update_at(0.0, "arrester/dead")
    assert not bench.registry.blocks_charging(1)
    bench.sessions = set()
    bench.update_at(1.0, "arrester/dead")
    assert bench.registry.blocks_charging(1)
    assert [
        fault.blocks_charging for fault in bench.reported if isinstance(fault, DeviceFaulted)
    ] == [
        False,
        True,
    ]


def test_the_more_urgent_stop_wins() -> None:
    bench = RegistryBench()
    bench.update_at(0.0, "cable/over_temperature")
    assert bench.registry.stop_mode(1) is StopMode.NORMAL
    bench.update_at(0.0, "insulation/low")
    assert bench.registry.stop_mode(1) is StopMode.EMERGENCY


@pytest.mark.parametrize("name", FAULT_RULES)
def test_a_rule_has_values_that_ocpp_allows(name: str) -> None:
    rule = FAULT_RULES[name]
    assert rule.stopped_reason in set(get_args(ReasonEnumType))
    assert rule.dwell_s <= 4
    assert len(rule.tech_code) <= 50  # Part 2, EventDataType.techCode
    if rule.stop_mode is not StopMode.NONE:
        assert rule.block_mode is BlockMode.ALWAYS  # a fault that stops a session lets none start


def test_every_device_of_the_device_model_can_have_a_fault() -> None:
    """Otherwise its Problem variable would always be false."""
    devices_with_faults = {rule.device for rule in FAULT_RULES.values()}
    for component, devices in DEVICES_BY_COMPONENT.items():
        assert devices & devices_with_faults, component


def test_the_status_of_a_fault_has_its_age_and_whether_it_is_still_found() -> None:
    bench = RegistryBench()
    bench.update_at(10.0, "contactor/welded")
    bench.update_at(14.0, "contactor/welded")
    [status] = bench.registry.active_faults(14.2)
    assert (status.device, status.fault, status.evse_id) == ("contactor", "welded", 1)
    assert (status.latched, status.found, round(status.age_s, 1)) == (True, True, 4.2)
    [later] = bench.registry.active_faults(20.0)
    assert (later.latched, later.found) == (True, False)


def test_a_release_of_one_kind_leaves_the_others_latched() -> None:
    bench = RegistryBench()
    bench.update_at(0.0, "output/over_voltage", "output/over_current")
    bench.registry.release_faults("output", 1, "over_current")
    bench.update_at(10.0)
    [left] = bench.registry.active_faults(10.0)
    assert left.fault == "over_voltage"
