"""Sequence of the orders of module groups: off first, output before on, repetitions."""

from __future__ import annotations

from drivers.power._group_orders import OFF, GroupOrder, GroupOrders
from drivers.wire import infypower as wire
from drivers.wire.infypower import Telegram

LIMITS = (1_000_000, 300_000)  # mV, mA
CHARGE = GroupOrder(voltage_mv=400_000, current_ma=200_000, on=True)


def orders_of(*groups: int) -> GroupOrders:
    """Orders whose groups were switched off at the start."""
    orders = GroupOrders(groups, lambda group: LIMITS, repeat_s=1.0)
    orders.mark_switched_off()
    return orders


def switch(group: int, *, on: bool) -> Telegram:
    return wire.switch_output(group, on=on, is_group=True)


def output(group: int, voltage_mv: int = 400_000, current_ma: int = 200_000) -> Telegram:
    return wire.set_output(group, voltage_mv, current_ma, is_group=True)


def all_changed(orders: GroupOrders, now: float) -> list[Telegram]:
    """Changed orders until there is none left."""
    telegrams = []
    while (telegram := orders.next_changed(now)) is not None:
        telegrams.append(telegram)
    return telegrams


def test_the_output_is_sent_before_switching_on() -> None:
    orders = orders_of(1)
    orders.set_order(1, CHARGE, 0.0)
    assert all_changed(orders, 0.0) == [output(1), switch(1, on=True)]


def test_off_is_sent_before_the_orders_of_other_groups() -> None:
    orders = orders_of(1, 2)
    orders.set_order(2, CHARGE, 0.0)
    all_changed(orders, 0.0)
    orders.set_order(1, CHARGE, 1.0)
    orders.set_order(2, OFF, 1.0)
    assert all_changed(orders, 1.0) == [switch(2, on=False), output(1), switch(1, on=True)]


def test_an_unknown_group_is_switched_off_first() -> None:
    orders = GroupOrders((1,), lambda group: LIMITS, repeat_s=1.0)
    assert all_changed(orders, 0.0) == [switch(1, on=False)]


def test_an_urgent_off_is_sent_once_and_only_to_groups_that_are_on() -> None:
    orders = orders_of(1, 2)
    orders.set_order(1, CHARGE, 0.0)
    all_changed(orders, 0.0)
    orders.switch_all_off()
    assert list(orders.urgent_offs(1.0)) == [switch(1, on=False)]
    assert list(orders.urgent_offs(1.0)) == []


def test_after_an_off_the_output_is_sent_again() -> None:
    orders = orders_of(1)
    for now in (0.0, 2.0):
        orders.set_order(1, CHARGE, now)
        assert all_changed(orders, now) == [output(1), switch(1, on=True)]
        orders.set_order(1, OFF, now + 1)
        assert all_changed(orders, now + 1) == [switch(1, on=False)]


def test_orders_are_reduced_to_the_limits_of_the_group() -> None:
    orders = orders_of(1)
    orders.set_order(1, GroupOrder(2_000_000, 900_000, True), 0.0)
    assert orders.next_changed(0.0) == output(1, *LIMITS)


def test_both_telegrams_of_a_group_that_is_on_are_repeated() -> None:
    orders = orders_of(1)
    orders.set_order(1, CHARGE, 0.0)
    all_changed(orders, 0.0)
    assert orders.next_repeated(0.9) is None
    assert orders.next_repeated(1.0) == output(1)
    assert orders.next_repeated(1.0) == switch(1, on=True)
    assert orders.next_repeated(1.0) is None


def test_a_group_without_output_reports_is_ordered_off() -> None:
    orders = orders_of(1, 2)
    for group in (1, 2):
        orders.set_order(group, CHARGE, 0.0)
    all_changed(orders, 0.0)
    assert orders.note_output(2, 0.5)
    assert orders.switch_off_stale(1.0, 1.1) == [1]
    assert all_changed(orders, 1.1) == [switch(1, on=False)]
    assert not orders.note_output(3, 1.1)
