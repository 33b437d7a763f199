"""Which slot is tried next, and after how long."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from station.core.desired import DesiredLink
from station.runtime.csms.back_off import BackOff
from station.runtime.csms.slot_rotation import SlotRotation
from tests.runtime.fixtures_csms import network_slots

ABC = network_slots("a", "b", "c")


def attempted_slots(walk: SlotRotation, link: DesiredLink, tries: int) -> list[int]:
    """The slots of the next attempts, which all fail."""
    found = []
    for _ in range(tries):
        slot = walk.next_slot(link)
        assert slot is not None
        found.append(slot.slot)
        walk.on_attempt_failed()
    return found


def test_every_slot_gets_its_attempts_and_then_it_begins_anew_b10_fr_03_b10_fr_08() -> None:
    link = DesiredLink(candidates=ABC, attempts_per_candidate=2)
    assert attempted_slots(SlotRotation(), link, 8) == [1, 1, 2, 2, 3, 3, 1, 1]


def test_the_order_is_that_of_the_priority_b10_fr_04() -> None:
    link = DesiredLink(candidates=(ABC[2], ABC[0]), attempts_per_candidate=1)
    assert attempted_slots(SlotRotation(), link, 3) == [3, 1, 3]


def test_a_product_that_falls_back_stays_with_the_last_good_slot_b10_fr_07_c_47() -> None:
    link = DesiredLink(
        candidates=ABC, attempts_per_candidate=1, last_successful=ABC[1], fallback_enabled=True
    )
    assert attempted_slots(SlotRotation(), link, 6) == [1, 2, 3, 2, 2, 2]


def test_it_falls_back_to_a_slot_outside_of_the_priority_b10_fr_07() -> None:
    link = DesiredLink(
        candidates=ABC[:2], attempts_per_candidate=1, last_successful=ABC[2], fallback_enabled=True
    )
    assert attempted_slots(SlotRotation(), link, 4) == [1, 2, 3, 3]


def test_without_a_last_good_slot_it_begins_anew_b10_fr_09() -> None:
    link = DesiredLink(candidates=ABC[:2], attempts_per_candidate=1, fallback_enabled=True)
    assert attempted_slots(SlotRotation(), link, 4) == [1, 2, 1, 2]


def test_after_a_loss_the_slot_in_use_comes_first_b10_fr_03() -> None:
    link = DesiredLink(candidates=ABC, attempts_per_candidate=2)
    walk = SlotRotation()
    attempted_slots(walk, link, 3)
    walk.on_connected(2)
    assert attempted_slots(walk, link, 5) == [2, 2, 3, 3, 1]


def test_a_success_ends_the_fallback_b10_fr_03() -> None:
    link = DesiredLink(
        candidates=ABC, attempts_per_candidate=1, last_successful=ABC[0], fallback_enabled=True
    )
    walk = SlotRotation()
    attempted_slots(walk, link, 5)
    walk.on_connected(1)
    assert attempted_slots(walk, link, 4) == [1, 2, 3, 1]


def test_a_slot_that_is_gone_is_not_tried_a05_fr_06() -> None:
    walk = SlotRotation()
    attempted_slots(walk, DesiredLink(candidates=ABC, attempts_per_candidate=2), 1)
    assert attempted_slots(walk, DesiredLink(candidates=ABC[1:], attempts_per_candidate=2), 3) == [
        2,
        3,
        3,
    ]


def test_there_may_be_nowhere_to_go() -> None:
    assert SlotRotation().next_slot(DesiredLink()) is None


# --- Back-off ------------------------------------------------------------------------------------


def back_off_waits(link: DesiredLink, count: int, seed: int = 1) -> list[float]:
    back_off = BackOff(random.Random(seed))
    return [back_off.next_wait_s(link) for _ in range(count)]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (0, [10, 10, 10, 10]),
        (2, [10, 20, 40, 40, 40]),
        (3, [10, 20, 40, 80, 80]),
    ],
)
def test_the_wait_doubles_so_many_times_part_4_5_3(times: int, expected: list[float]) -> None:
    link = DesiredLink(back_off_minimum_s=10, back_off_random_s=0, back_off_repeat_times=times)
    assert back_off_waits(link, len(expected)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_each_wait_is_at_least_twice_the_one_before_part_4_5_3(seed: int) -> None:
    link = DesiredLink(back_off_minimum_s=10, back_off_random_s=7, back_off_repeat_times=5)
    found = back_off_waits(link, 8, seed)
    assert 10 <= found[0] <= 17
    for before, then in pairwise(found[:6]):
        assert 2 * before <= then <= 2 * before + 7
    assert found[5] == found[6] == found[7]


def test_a_good_connection_takes_the_wait_back_erratum_4_12() -> None:
    link = DesiredLink(back_off_minimum_s=10, back_off_repeat_times=5)
    back_off = BackOff(random.Random(1))
    assert [back_off.next_wait_s(link), back_off.next_wait_s(link)] == [10, 20]
    back_off.reset()
    assert back_off.next_wait_s(link) == 10
