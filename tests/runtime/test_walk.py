"""Which slot is tried next, and after how long."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from station.runtime.walk import BackOff, Walk
from station.wanted import WantedLink
from tests.runtime.csms_end import slots

ABC = slots("a", "b", "c")


def walked(walk: Walk, link: WantedLink, tries: int) -> list[int]:
    """The slots of the next attempts, which all fail."""
    found = []
    for _ in range(tries):
        slot = walk.next(link)
        assert slot is not None
        found.append(slot.slot)
        walk.failed()
    return found


def test_every_slot_gets_its_attempts_and_then_it_begins_anew_b10_fr_03_b10_fr_08() -> None:
    link = WantedLink(candidates=ABC, attempts=2)
    assert walked(Walk(), link, 8) == [1, 1, 2, 2, 3, 3, 1, 1]


def test_the_order_is_that_of_the_priority_b10_fr_04() -> None:
    link = WantedLink(candidates=(ABC[2], ABC[0]), attempts=1)
    assert walked(Walk(), link, 3) == [3, 1, 3]


def test_a_product_that_falls_back_stays_with_the_last_good_slot_b10_fr_07_c_47() -> None:
    link = WantedLink(candidates=ABC, attempts=1, last=ABC[1], falls_back=True)
    assert walked(Walk(), link, 6) == [1, 2, 3, 2, 2, 2]


def test_it_falls_back_to_a_slot_outside_of_the_priority_b10_fr_07() -> None:
    link = WantedLink(candidates=ABC[:2], attempts=1, last=ABC[2], falls_back=True)
    assert walked(Walk(), link, 4) == [1, 2, 3, 3]


def test_without_a_last_good_slot_it_begins_anew_b10_fr_09() -> None:
    link = WantedLink(candidates=ABC[:2], attempts=1, falls_back=True)
    assert walked(Walk(), link, 4) == [1, 2, 1, 2]


def test_after_a_loss_the_slot_in_use_comes_first_b10_fr_03() -> None:
    link = WantedLink(candidates=ABC, attempts=2)
    walk = Walk()
    walked(walk, link, 3)
    walk.succeeded(2)
    assert walked(walk, link, 5) == [2, 2, 3, 3, 1]


def test_a_success_ends_the_fallback_b10_fr_03() -> None:
    link = WantedLink(candidates=ABC, attempts=1, last=ABC[0], falls_back=True)
    walk = Walk()
    walked(walk, link, 5)
    walk.succeeded(1)
    assert walked(walk, link, 4) == [1, 2, 3, 1]


def test_a_slot_that_is_gone_is_not_tried_a05_fr_06() -> None:
    walk = Walk()
    walked(walk, WantedLink(candidates=ABC, attempts=2), 1)
    assert walked(walk, WantedLink(candidates=ABC[1:], attempts=2), 3) == [2, 3, 3]


def test_there_may_be_nowhere_to_go() -> None:
    assert Walk().next(WantedLink()) is None


# --- Back-off ------------------------------------------------------------------------------------


def waits(link: WantedLink, count: int, seed: int = 1) -> list[float]:
    back_off = BackOff(random.Random(seed))
    return [back_off.next_s(link) for _ in range(count)]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (0, [10, 10, 10, 10]),
        (2, [10, 20, 40, 40, 40]),
        (3, [10, 20, 40, 80, 80]),
    ],
)
def test_the_wait_doubles_so_many_times_part_4_5_3(times: int, expected: list[float]) -> None:
    link = WantedLink(wait_min_s=10, wait_random_s=0, repeat_times=times)
    assert waits(link, len(expected)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_each_wait_is_at_least_twice_the_one_before_part_4_5_3(seed: int) -> None:
    link = WantedLink(wait_min_s=10, wait_random_s=7, repeat_times=5)
    found = waits(link, 8, seed)
    assert 10 <= found[0] <= 17
    for before, then in pairwise(found[:6]):
        assert 2 * before <= then <= 2 * before + 7
    assert found[5] == found[6] == found[7]


def test_a_good_connection_takes_the_wait_back_erratum_4_12() -> None:
    link = WantedLink(wait_min_s=10, repeat_times=5)
    back_off = BackOff(random.Random(1))
    assert [back_off.next_s(link), back_off.next_s(link)] == [10, 20]
    back_off.reset()
    assert back_off.next_s(link) == 10
