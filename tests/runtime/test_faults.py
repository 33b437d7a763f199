"""Is a fault told once when it comes and once when it is over?"""

from __future__ import annotations

from typing import get_args

import pytest

from journal.observations import DeviceFaulted, DeviceRecovered
from journal.terms import Observation
from station.blocks.live import DEVICES
from station.messages.enums import ReasonEnumType
from station.runtime.faults import ROWS, Blocks, Finding, Ledger, Stop


class Book:
    """A ledger and what it told."""

    def __init__(self, *, in_field: bool = False) -> None:
        self.told: list[Observation] = []
        self.sessions: set[int] = set()
        self.ledger = Ledger(self.told.append, self.in_session, in_field=in_field)

    def in_session(self, evse_id: int) -> bool:
        return bool(self.sessions) if evse_id == 0 else evse_id in self.sessions

    def at(self, now: float, *names: str, evse_id: int = 1) -> None:
        """Settle what is wrong at a moment."""
        self.ledger.settle([Finding(ROWS[name], evse_id) for name in names], now)

    @property
    def kinds(self) -> list[type[Observation]]:
        return [type(one) for one in self.told]


def test_a_fault_is_told_once_while_it_lasts() -> None:
    book = Book()
    for now in range(100):
        book.at(now / 10, "meter/silent")
    assert book.kinds == [DeviceFaulted]


def test_recovery_waits_for_the_dwell_and_a_relapse_starts_it_anew() -> None:
    book = Book()
    dwell_s = ROWS["cable/over_temperature"].dwell_s
    book.at(0.0, "cable/over_temperature")
    book.at(dwell_s)
    assert book.kinds == [DeviceFaulted]
    book.at(dwell_s, "cable/over_temperature")
    book.at(2 * dwell_s)
    assert book.kinds == [DeviceFaulted]
    book.at(2 * dwell_s + 0.1)
    assert book.kinds == [DeviceFaulted, DeviceRecovered]
    assert not book.ledger.blocking(1)


def test_in_the_field_a_lost_controller_must_be_back_for_ten_seconds() -> None:
    book = Book(in_field=True)
    book.at(0.0, "secc/silent")
    book.at(9.9)
    assert book.ledger.blocking(1)
    book.at(10.1)
    assert not book.ledger.blocking(1)


def test_a_latched_fault_stays_until_it_is_released_and_good() -> None:
    book = Book()
    book.at(0.0, "door/open", evse_id=0)
    book.at(1000.0)
    assert book.ledger.blocking(2)
    book.ledger.release()
    book.at(1000.1, "door/open", evse_id=0)  # still open
    book.at(2000.0)
    assert book.ledger.blocking(2)  # it latched again
    book.ledger.release()
    book.at(2000.1)
    assert book.kinds == [DeviceFaulted, DeviceRecovered]


def test_what_does_not_show_without_power_is_released_by_a_person_only() -> None:
    book = Book()
    book.at(0.0, "output/over_current")
    book.ledger.release(shown_only=True)
    book.at(1000.0)
    assert book.ledger.blocking(1)
    book.ledger.release("meter")
    book.ledger.release("output", evse_id=2)
    book.at(1000.1)
    assert book.ledger.blocking(1)
    book.ledger.release("output", evse_id=1)
    book.at(1000.2)
    assert not book.ledger.blocking(1)


def test_a_fault_of_one_evse_is_none_of_the_other_and_one_of_the_station_is_of_all() -> None:
    book = Book()
    book.at(0.0, "secc/silent", evse_id=2)
    assert (book.ledger.stop(1), book.ledger.stop(2)) == (Stop.NONE, Stop.EMERGENCY)
    book.at(0.0, "mains/lost", evse_id=0)
    assert (book.ledger.stop(1), book.ledger.stop(2)) == (Stop.EMERGENCY, Stop.EMERGENCY)


def test_a_fault_that_lets_a_session_end_blocks_when_it_has_ended() -> None:
    book = Book()
    book.sessions = {1}
    book.at(0.0, "arrester/dead")
    assert not book.ledger.blocking(1)
    book.sessions = set()
    book.at(1.0, "arrester/dead")
    assert book.ledger.blocking(1)
    assert [one.blocks for one in book.told if isinstance(one, DeviceFaulted)] == [False, True]


def test_the_more_urgent_stop_counts() -> None:
    book = Book()
    book.at(0.0, "cable/over_temperature")
    assert book.ledger.stop(1) is Stop.NORMAL
    book.at(0.0, "insulation/low")
    assert book.ledger.stop(1) is Stop.EMERGENCY


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_ocpp_can_carry(name: str) -> None:
    row = ROWS[name]
    assert row.reason in set(get_args(ReasonEnumType))
    assert row.dwell_s <= 4
    assert len(row.code) <= 50  # Part 2, EventDataType.techCode
    if row.stop is not Stop.NONE:
        assert row.blocks is Blocks.ALWAYS  # what stops a session lets none begin


def test_every_device_of_the_device_model_can_have_a_fault() -> None:
    """Problem variables would be false for ever otherwise."""
    speaking = {row.device for row in ROWS.values()}
    for component, devices in DEVICES.items():
        assert devices & speaking, component
