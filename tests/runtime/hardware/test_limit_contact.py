"""The contact of the grid operator."""

from __future__ import annotations

from drivers.wiring import parse_channel
from station.runtime.hardware.limit_contact import CLOSED_S, LimitContact


def reports_of(*levels: tuple[float, bool | None]) -> list[bool]:
    """What is reported for levels of the input at these times."""
    reports: list[bool] = []
    contact = LimitContact(parse_channel("A2"), reports.append)
    for at, closed in levels:
        contact.update(closed, at)
    return reports


def test_an_open_contact_limits_at_once_and_a_closed_one_after_a_while() -> None:
    assert reports_of((0, False)) == [True]
    assert reports_of((0, False), (1, True), (1 + CLOSED_S - 0.1, True)) == [True]
    assert reports_of((0, False), (1, True), (1 + CLOSED_S, True)) == [True, False]


def test_a_contact_that_bounces_stays_open() -> None:
    assert reports_of((0, False), (1, True), (2, False), (2.9, True), (4.5, True)) == [True]


def test_nothing_is_reported_before_the_input_was_read() -> None:
    assert reports_of((0, None), (10, None)) == []
    assert reports_of((0, None), (1, True), (1 + CLOSED_S, True)) == [False]


def test_a_run_of_the_devices_with_an_earlier_clock_lifts_the_limit_too() -> None:
    reports: list[bool] = []
    contact = LimitContact(parse_channel("A2"), reports.append)
    contact.update(False, 5_000)
    contact.update(True, 5_001)
    contact.restart()
    contact.update(True, 10)
    contact.update(True, 10 + CLOSED_S)
    assert reports == [True, False]
