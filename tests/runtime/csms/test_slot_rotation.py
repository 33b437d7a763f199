"""Slot rotation and back-off of attempts to connect. B10, Part 4 §5.3."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from journal.projections.certificates import CertificateHash, CertificateInstalled
from station.core.desired import DesiredLink
from station.runtime.csms.back_off import WAIT_MAX_S, BackOff
from station.runtime.csms.slot_rotation import SlotRotation
from tests.runtime.fixtures_csms import network_slots

ABC = network_slots("a", "b", "c")


def certificate(name: str) -> CertificateInstalled:
    return CertificateInstalled(
        use="ChargingStationCertificate",
        pem="",
        sha256=name,
        hash_data=CertificateHash("", "", ""),
        subject="",
        issuer="",
        not_before="",
        not_after="",
    )


NEW, OLD = certificate("new"), certificate("old")


def attempted_certificates(
    rotation: SlotRotation, link: DesiredLink, attempts: int, *, tried: bool = True
) -> list[str]:
    """Slot and certificate of the next attempts, which all fail."""
    used = []
    for _ in range(attempts):
        slot, own = rotation.next_slot(link), rotation.client_certificate(link)
        assert slot
        assert own
        used.append(f"{slot.slot} {own.sha256}")
        rotation.on_attempt_failed(certificate_tried=tried)
    return used


def attempted_slots(rotation: SlotRotation, link: DesiredLink, attempts: int) -> list[int]:
    """The slots of the next attempts, which all fail."""
    slots = []
    for _ in range(attempts):
        slot = rotation.next_slot(link)
        assert slot is not None
        slots.append(slot.slot)
        rotation.on_attempt_failed()
    return slots


def test_every_slot_gets_its_attempts_and_then_it_starts_again_b10_fr_03_b10_fr_08() -> None:
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


def test_without_a_last_good_slot_it_starts_again_b10_fr_09() -> None:
    link = DesiredLink(candidates=ABC[:2], attempts_per_candidate=1, fallback_enabled=True)
    assert attempted_slots(SlotRotation(), link, 4) == [1, 2, 1, 2]


def test_after_a_loss_the_slot_in_use_comes_first_b10_fr_03() -> None:
    link = DesiredLink(candidates=ABC, attempts_per_candidate=2)
    rotation = SlotRotation()
    attempted_slots(rotation, link, 3)
    rotation.on_connected(2)
    assert attempted_slots(rotation, link, 5) == [2, 2, 3, 3, 1]


def test_a_success_ends_the_fallback_b10_fr_03() -> None:
    link = DesiredLink(
        candidates=ABC, attempts_per_candidate=1, last_successful=ABC[0], fallback_enabled=True
    )
    rotation = SlotRotation()
    attempted_slots(rotation, link, 5)
    rotation.on_connected(1)
    assert attempted_slots(rotation, link, 4) == [1, 2, 3, 1]


def test_a_slot_that_is_gone_is_not_tried_a05_fr_06() -> None:
    rotation = SlotRotation()
    attempted_slots(rotation, DesiredLink(candidates=ABC, attempts_per_candidate=2), 1)
    assert attempted_slots(
        rotation, DesiredLink(candidates=ABC[1:], attempts_per_candidate=2), 3
    ) == [
        2,
        3,
        3,
    ]


def test_without_a_slot_there_is_no_attempt() -> None:
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
def test_the_wait_doubles_repeat_times_times_part_4_5_3(times: int, expected: list[float]) -> None:
    link = DesiredLink(back_off_minimum_s=10, back_off_random_s=0, back_off_repeat_times=times)
    assert back_off_waits(link, len(expected)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_each_wait_is_at_least_twice_the_one_before_part_4_5_3(seed: int) -> None:
    link = DesiredLink(back_off_minimum_s=10, back_off_random_s=7, back_off_repeat_times=5)
    waits = back_off_waits(link, 8, seed)
    assert 10 <= waits[0] <= 17
    for before, then in pairwise(waits[:6]):
        assert 2 * before <= then <= 2 * before + 7
    assert waits[5] == waits[6] == waits[7]


def test_a_good_connection_resets_the_wait_erratum_4_12() -> None:
    link = DesiredLink(back_off_minimum_s=10, back_off_repeat_times=5)
    back_off = BackOff(random.Random(1))
    assert [back_off.next_wait_s(link), back_off.next_wait_s(link)] == [10, 20]
    back_off.reset()
    assert back_off.next_wait_s(link) == 10


@pytest.mark.parametrize(
    ("minimum_s", "random_s", "repeat_times"),
    [(2**31 - 1, 0, 0), (1, 2**31 - 1, 0), (600, 600, 20), (1, 0, 2**31 - 1)],
)
def test_no_wait_is_longer_than_two_hours_whatever_the_variables_say(
    minimum_s: int, random_s: int, repeat_times: int
) -> None:
    link = DesiredLink(
        back_off_minimum_s=minimum_s,
        back_off_random_s=random_s,
        back_off_repeat_times=repeat_times,
    )
    back_off = BackOff(random.Random(1))
    assert max(back_off.next_wait_s(link) for _ in range(100)) <= 2 * WAIT_MAX_S


# --- Certificates of the station -----------------------------------------------------------------


def test_certificates_alternate_after_all_slots_a02_fr_28_b10_fr_08() -> None:
    """A02.FR.28, A03.FR.24: new and old in turns, and never an end (B10.FR.09)."""
    link = DesiredLink(candidates=ABC[:2], attempts_per_candidate=2, client_certificates=(NEW, OLD))
    assert attempted_certificates(SlotRotation(), link, 10) == [
        "1 new", "1 new", "2 new", "2 new", "1 old", "1 old", "2 old", "2 old", "1 new", "1 new",
    ]  # fmt: skip


def test_in_fallback_the_old_certificate_comes_first_a02_fr_28_b10_fr_07() -> None:
    link = DesiredLink(
        candidates=ABC[:2],
        attempts_per_candidate=2,
        last_successful=ABC[0],
        fallback_enabled=True,
        client_certificates=(NEW, OLD),
    )
    assert attempted_certificates(SlotRotation(), link, 9)[4:] == [
        "1 old", "1 old", "1 new", "1 new", "1 old",
    ]  # fmt: skip


def test_attempts_that_do_not_reach_the_csms_change_no_certificate() -> None:
    link = DesiredLink(candidates=ABC[:1], attempts_per_candidate=1, client_certificates=(NEW, OLD))
    rotation = SlotRotation()
    assert attempted_certificates(rotation, link, 5, tried=False) == ["1 new"] * 5
    assert attempted_certificates(rotation, link, 2) == ["1 new", "1 old"]


def test_a_newer_certificate_is_tried_first_a02_fr_08() -> None:
    link = DesiredLink(candidates=ABC[:1], attempts_per_candidate=1, client_certificates=(NEW, OLD))
    rotation = SlotRotation()
    assert attempted_certificates(rotation, link, 2) == ["1 new", "1 old"]
    newest = DesiredLink(
        candidates=ABC[:1], attempts_per_candidate=1, client_certificates=(certificate("3rd"), OLD)
    )
    assert attempted_certificates(rotation, newest, 2) == ["1 3rd", "1 old"]


def test_one_certificate_is_used_for_ever_b10_fr_09() -> None:
    link = DesiredLink(candidates=ABC[:2], attempts_per_candidate=1, client_certificates=(OLD,))
    assert set(attempted_certificates(SlotRotation(), link, 9)) == {"1 old", "2 old"}


def test_after_a_connection_the_newest_comes_first() -> None:
    link = DesiredLink(candidates=ABC[:1], attempts_per_candidate=1, client_certificates=(NEW, OLD))
    rotation = SlotRotation()
    attempted_certificates(rotation, link, 2)
    rotation.on_connected(1)
    assert attempted_certificates(rotation, link, 1) == ["1 new"]


# --- CSMS roots: AdditionalRootCertificateCheck --------------------------------------------------

NEWEST_FIRST, FALLBACK_FIRST = ["new", "old"], ["old", "new"]


def attempted_roots(
    rotation: SlotRotation, link: DesiredLink, attempts: int, *, refused: bool = True
) -> list[tuple[int, list[str]]]:
    """Slot and roots of the next attempts, which all fail."""
    used = []
    for _ in range(attempts):
        slot = rotation.next_slot(link)
        assert slot
        roots = [root.sha256 for root in rotation.csms_roots(link, slot)]
        used.append((slot.slot, roots))
        rotation.on_attempt_failed(root_refused_in_migration=refused and len(roots) == 1)
    return used


def test_the_fallback_root_follows_in_the_same_attempt_m05_fr_14() -> None:
    link = DesiredLink(candidates=ABC[:1], last_successful=ABC[0], csms_roots=(NEW, OLD))
    assert attempted_roots(SlotRotation(), link, 3) == [(1, NEWEST_FIRST)] * 3


def test_a_migration_trusts_only_the_newest_root_m05_fr_15_m05_fr_16() -> None:
    """Back in the old slot, the fallback comes first; a connection ends that."""
    link = DesiredLink(
        candidates=(ABC[1], ABC[0]),
        attempts_per_candidate=2,
        last_successful=ABC[0],
        csms_roots=(NEW, OLD),
    )
    rotation = SlotRotation()
    assert attempted_roots(rotation, link, 3) == [
        (2, ["new"]), (2, ["new"]), (1, FALLBACK_FIRST),
    ]  # fmt: skip
    rotation.on_connected(1)
    assert attempted_roots(rotation, link, 1) == [(1, NEWEST_FIRST)]


def test_a_network_failure_in_a_migration_leaves_the_newest_root_first() -> None:
    link = DesiredLink(candidates=(ABC[1], ABC[0]), last_successful=ABC[0], csms_roots=(NEW, OLD))
    assert attempted_roots(SlotRotation(), link, 2, refused=False)[1] == (1, NEWEST_FIRST)


def test_after_all_slots_both_roots_are_tried_everywhere_b10_fr_09() -> None:
    """Also if the slot of the last connection is no candidate any more."""
    link = DesiredLink(candidates=ABC[1:], last_successful=ABC[0], csms_roots=(NEW, OLD))
    assert attempted_roots(SlotRotation(), link, 4) == [
        (2, ["new"]), (3, ["new"]), (2, NEWEST_FIRST), (3, NEWEST_FIRST),
    ]  # fmt: skip


def test_without_a_connection_so_far_both_roots_are_tried() -> None:
    link = DesiredLink(candidates=ABC[:1], csms_roots=(NEW, OLD))
    assert attempted_roots(SlotRotation(), link, 1) == [(1, NEWEST_FIRST)]


def test_without_the_check_no_root_is_chosen() -> None:
    link = DesiredLink(candidates=ABC[:1], last_successful=ABC[0])
    assert attempted_roots(SlotRotation(), link, 1) == [(1, [])]
