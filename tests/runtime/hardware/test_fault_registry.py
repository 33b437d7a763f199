"""Is a fault told once when it comes and once when it is over?"""

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
    """A ledger and what it told."""

    def __init__(self, *, in_field: bool = False) -> None:
        self.reported: list[Observation] = []
        self.sessions: set[int] = set()
        self.ledger = FaultRegistry(self.reported.append, self.in_session, in_field=in_field)

    def in_session(self, evse_id: int) -> bool:
        return bool(self.sessions) if evse_id == 0 else evse_id in self.sessions

    def settle_at(self, now: float, *names: str, evse_id: int = 1) -> None:
        """Settle what is wrong at a moment."""
        self.ledger.update_faults([Finding(FAULT_RULES[name], evse_id) for name in names], now)

    @property
    def reported_kinds(self) -> list[type[Observation]]:
        return [type(one) for one in self.reported]


def test_a_fault_is_told_once_while_it_lasts() -> None:
    book = RegistryBench()
    for now in range(100):
        book.settle_at(now / 10, "meter/silent")
    assert book.reported_kinds == [DeviceFaulted]


def test_recovery_waits_for_the_dwell_and_a_relapse_starts_it_anew() -> None:
    book = RegistryBench()
    dwell_s = FAULT_RULES["cable/over_temperature"].dwell_s
    book.settle_at(0.0, "cable/over_temperature")
    book.settle_at(dwell_s)
    assert book.reported_kinds == [DeviceFaulted]
    book.settle_at(dwell_s, "cable/over_temperature")
    book.settle_at(2 * dwell_s)
    assert book.reported_kinds == [DeviceFaulted]
    book.settle_at(2 * dwell_s + 0.1)
    assert book.reported_kinds == [DeviceFaulted, DeviceRecovered]
    assert not book.ledger.blocks_charging(1)


def test_in_the_field_a_lost_controller_must_be_back_for_ten_seconds() -> None:
    book = RegistryBench(in_field=True)
    book.settle_at(0.0, "secc/silent")
    book.settle_at(9.9)
    assert book.ledger.blocks_charging(1)
    book.settle_at(10.1)
    assert not book.ledger.blocks_charging(1)


def test_a_latched_fault_stays_until_it_is_released_and_good() -> None:
    book = RegistryBench()
    book.settle_at(0.0, "door/open", evse_id=0)
    book.settle_at(1000.0)
    assert book.ledger.blocks_charging(2)
    book.ledger.release_faults()
    book.settle_at(1000.1, "door/open", evse_id=0)  # still open
    book.settle_at(2000.0)
    assert book.ledger.blocks_charging(2)  # it latched again
    book.ledger.release_faults()
    book.settle_at(2000.1)
    assert book.reported_kinds == [DeviceFaulted, DeviceRecovered]


def test_what_does_not_show_without_power_is_released_by_a_person_only() -> None:
    book = RegistryBench()
    book.settle_at(0.0, "output/over_current")
    book.ledger.release_faults(visible_only=True)
    book.settle_at(1000.0)
    assert book.ledger.blocks_charging(1)
    book.ledger.release_faults("meter")
    book.ledger.release_faults("output", evse_id=2)
    book.settle_at(1000.1)
    assert book.ledger.blocks_charging(1)
    book.ledger.release_faults("output", evse_id=1)
    book.settle_at(1000.2)
    assert not book.ledger.blocks_charging(1)


def test_a_fault_of_one_evse_is_none_of_the_other_and_one_of_the_station_is_of_all() -> None:
    book = RegistryBench()
    book.settle_at(0.0, "secc/silent", evse_id=2)
    assert (book.ledger.stop_mode(1), book.ledger.stop_mode(2)) == (
        StopMode.NONE,
        StopMode.EMERGENCY,
    )
    book.settle_at(0.0, "mains/lost", evse_id=0)
    assert (book.ledger.stop_mode(1), book.ledger.stop_mode(2)) == (
        StopMode.EMERGENCY,
        StopMode.EMERGENCY,
    )


def test_a_fault_that_lets_a_session_end_blocks_when_it_has_ended() -> None:
    book = RegistryBench()
    book.sessions = {1}
    book.settle_at(0.0, "arrester/dead")
    assert not book.ledger.blocks_charging(1)
    book.sessions = set()
    book.settle_at(1.0, "arrester/dead")
    assert book.ledger.blocks_charging(1)
    assert [one.blocks_charging for one in book.reported if isinstance(one, DeviceFaulted)] == [
        False,
        True,
    ]


def test_the_more_urgent_stop_counts() -> None:
    book = RegistryBench()
    book.settle_at(0.0, "cable/over_temperature")
    assert book.ledger.stop_mode(1) is StopMode.NORMAL
    book.settle_at(0.0, "insulation/low")
    assert book.ledger.stop_mode(1) is StopMode.EMERGENCY


@pytest.mark.parametrize("name", FAULT_RULES)
def test_a_row_says_what_ocpp_can_carry(name: str) -> None:
    row = FAULT_RULES[name]
    assert row.stopped_reason in set(get_args(ReasonEnumType))
    assert row.dwell_s <= 4
    assert len(row.tech_code) <= 50  # Part 2, EventDataType.techCode
    if row.stop_mode is not StopMode.NONE:
        assert row.block_mode is BlockMode.ALWAYS  # what stops a session lets none begin


def test_every_device_of_the_device_model_can_have_a_fault() -> None:
    """Problem variables would be false for ever otherwise."""
    speaking = {row.device for row in FAULT_RULES.values()}
    for component, devices in DEVICES_BY_COMPONENT.items():
        assert devices & speaking, component
