"""Which connectors can be used, and what is the CSMS told of them? (Block G)"""

from __future__ import annotations

import pytest

from tests.story import (
    ALICE,
    BOB,
    BOOTED,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    Step,
    accepting,
    called,
    discharged,
    faulted,
    given,
    in_transaction,
    plugged,
    presented,
    recovered,
    reply_in,
    restarted,
    serves,
    statuses,
    unplugged,
)

STATION: Json = {}
EVSE_1: Json = {"evse": {"id": 1}}
CONNECTOR_1: Json = {"evse": {"id": 1, "connectorId": 1}}
PARTS = pytest.mark.parametrize("part", [STATION, EVSE_1, CONNECTOR_1], ids=["all", "evse", "one"])


def change(part: Json, status: str = "Inoperative") -> Step:
    return called("ChangeAvailability", operationalStatus=status, **part)


def operative(station: Station, evse_id: int = 1) -> bool:
    return station.state.availability.operative(evse_id, 1)


def test_a_cable_makes_a_connector_occupied_g01_fr_03_e02_fr_05() -> None:
    assert statuses(given(ONLINE).when(plugged(1))) == [(1, "Occupied")]


def test_and_available_when_it_leaves_g01_fr_04() -> None:
    station = given(ONLINE, plugged(1))
    assert statuses(station.when(unplugged(1))) == [(1, "Available")]


def test_a_scheduled_connector_becomes_unavailable_instead_g01_fr_05() -> None:
    station = given(ONLINE, in_transaction(1), change(EVSE_1))
    station.with_csms(accepting, presented(ALICE))
    said = station.with_csms(accepting, discharged(1), unplugged(1))
    assert statuses(said) == [(1, "Unavailable")]


@PARTS
def test_a_change_is_accepted_and_told_g03_fr_01_g03_fr_04_g04_fr_05(part: Json) -> None:
    station = given(ONLINE)
    said = station.when(change(part))
    assert reply_in(said) == {"status": "Accepted"}
    expected = [(1, "Unavailable"), (2, "Unavailable")] if part == STATION else [(1, "Unavailable")]
    assert statuses(said) == expected
    station.when(serves())
    said = station.when(change(part, "Operative"))
    assert reply_in(said) == {"status": "Accepted"}
    assert [evse for evse, status in statuses(said) if status == "Available"] == [
        evse for evse, _ in expected
    ]


@PARTS
@pytest.mark.parametrize("status", ["Operative", "Inoperative"])
def test_a_change_to_what_it_is_already_is_accepted_g03_fr_03_g04_fr_04(
    part: Json, status: str
) -> None:
    station = given(ONLINE, change(part, status))
    said = station.when(change(part, status))
    assert reply_in(said) == {"status": "Accepted"}
    assert statuses(said) == []


@PARTS
def test_during_a_transaction_the_change_waits_g03_fr_05_g04_fr_06(part: Json) -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.when(change(part))
    assert reply_in(said) == {"status": "Scheduled"}
    assert operative(station)
    assert (1, "Unavailable") not in statuses(said)
    station.with_csms(accepting, presented(ALICE))
    said = station.with_csms(accepting, discharged(1))
    assert (1, "Unavailable") in statuses(said)
    assert not operative(station)


def test_an_idle_evse_does_not_wait_for_the_transaction_of_another_g04_fr_06() -> None:
    station = given(ONLINE, in_transaction(1))
    assert statuses(station.with_csms(accepting, change(STATION))) == [(2, "Unavailable")]
    station.with_csms(accepting, plugged(2), presented(BOB, evse_id=2))
    assert station.state.transactions.at(2) is None
    said = station.with_csms(accepting, change(STATION, "Operative"))
    assert statuses(said) == [(2, "Occupied")]


def test_nobody_begins_at_an_inoperative_connector_g03_fr_06() -> None:
    station = given(ONLINE, change(CONNECTOR_1))
    station.with_csms(accepting, plugged(1), presented(ALICE, evse_id=1))
    assert station.state.transactions.at(1) is None


def test_a_scheduled_change_can_be_taken_back_g03_fr_05() -> None:
    station = given(ONLINE, in_transaction(1), change(EVSE_1), change(EVSE_1, "Operative"))
    station.with_csms(accepting, presented(ALICE), discharged(1))
    assert operative(station)


def test_operative_during_a_transaction_is_what_it_is_already_g03_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    assert reply_in(station.when(change(EVSE_1, "Operative"))) == {"status": "Accepted"}


def test_another_evse_need_not_wait_g03_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.when(change({"evse": {"id": 2}}))
    assert reply_in(said) == {"status": "Accepted"}
    assert statuses(said) == [(2, "Unavailable")]


def test_an_inoperative_connector_is_unavailable_even_with_a_cable_g03_fr_06() -> None:
    station = given(ONLINE, plugged(1))
    assert statuses(station.when(change(EVSE_1))) == [(1, "Unavailable")]
    station.when(serves())
    assert statuses(station.when(unplugged(1), plugged(1))) == []


def test_giving_the_station_back_returns_its_parts_to_what_they_were_g04_fr_08() -> None:
    station = given(ONLINE, change(EVSE_1), change(STATION))
    said = station.when(change(STATION, "Operative"))
    assert statuses(said) == [(2, "Available")]
    assert not operative(station, 1)


def test_giving_the_evse_back_returns_its_connectors_to_what_they_were_g03_fr_07() -> None:
    station = given(ONLINE, change(CONNECTOR_1), change(EVSE_1), change(EVSE_1, "Operative"))
    assert not operative(station)


@PARTS
@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_inoperative_outlives_a_restart_g03_fr_08_g04_fr_09(part: Json, boot_id: str) -> None:
    station = given(ONLINE, change(part), restarted(boot_id=boot_id))
    said = station.with_csms(accepting, unplugged(1), unplugged(2), LINK_OPENED)
    assert (1, "Unavailable") in statuses(said)


def test_so_does_a_scheduled_change_g03_fr_08() -> None:
    station = given(ONLINE, in_transaction(1), change(EVSE_1))
    station.when(restarted(boot_id="boot-2", gap_s=1000), unplugged(1), discharged(1))
    station.when(called("Heartbeat"))
    assert station.state.availability.scheduled or not operative(station)


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"evse": {"id": 3}}, "UnknownEvse"),
        ({"evse": {"id": 1, "connectorId": 2}}, "UnknownConnectorId"),
        ({"evse": {"id": -1}}, "UnknownEvse"),
    ],
)
def test_what_does_not_exist_cannot_be_changed_g03_fr_02(part: Json, code: str) -> None:
    answer = reply_in(given(ONLINE).when(change(part)))
    assert (answer["status"], answer["statusInfo"]["reasonCode"]) == ("Rejected", code)


def test_a_fault_comes_first_g03_fr_06() -> None:
    station = given(ONLINE, change(EVSE_1))
    assert statuses(station.when(faulted(1))) == [(1, "Faulted")]
    station.when(serves())
    assert statuses(station.when(recovered(1))) == [(1, "Unavailable")]


def test_a_fault_of_the_station_is_one_of_every_connector_g04_fr_07() -> None:
    assert statuses(given(ONLINE).when(faulted(0))) == [(1, "Faulted"), (2, "Faulted")]


def test_an_evse_is_not_told_of_before_its_devices_have_spoken() -> None:
    station = given(BOOTED)
    said = station.with_csms(accepting, LINK_OPENED)
    assert statuses(said) == []
    assert statuses(station.with_csms(accepting, unplugged(2))) == [(2, "Available")]
