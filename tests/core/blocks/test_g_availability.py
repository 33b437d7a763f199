"""ChangeAvailability and StatusNotification. Block G."""

from __future__ import annotations

import pytest

from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_stopped,
    connector_statuses,
    csms_answers,
    device_faulted,
    device_recovered,
    given,
    in_transaction,
    presented,
    response_payload_in,
    station_restarted,
)

STATION: Json = {}
EVSE_1: Json = {"evse": {"id": 1}}
CONNECTOR_1: Json = {"evse": {"id": 1, "connectorId": 1}}
PARTS = pytest.mark.parametrize("part", [STATION, EVSE_1, CONNECTOR_1], ids=["all", "evse", "one"])


def change_availability(part: Json, status: str = "Inoperative") -> Step:
    return called("ChangeAvailability", operationalStatus=status, **part)


def is_operative(station: Station, evse_id: int = 1) -> bool:
    return station.state.availability.is_operative(evse_id, 1)


def test_a_cable_makes_a_connector_occupied_g01_fr_03_e02_fr_05() -> None:
    assert connector_statuses(given(ONLINE).when(cable_plugged(1))) == [(1, "Occupied")]


def test_without_a_cable_a_connector_is_available_g01_fr_04() -> None:
    station = given(ONLINE, cable_plugged(1))
    assert connector_statuses(station.when(cable_unplugged(1))) == [(1, "Available")]


def test_a_scheduled_connector_becomes_unavailable_instead_g01_fr_05() -> None:
    station = given(ONLINE, in_transaction(1), change_availability(EVSE_1))
    station.with_csms(accept_everything, presented(ALICE))
    decisions = station.with_csms(accept_everything, charging_stopped(1), cable_unplugged(1))
    assert connector_statuses(decisions) == [(1, "Unavailable")]


@PARTS
def test_a_change_is_accepted_and_reported_g03_fr_01_g03_fr_04_g04_fr_05(part: Json) -> None:
    station = given(ONLINE)
    decisions = station.when(change_availability(part))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    expected = [(1, "Unavailable"), (2, "Unavailable")] if part == STATION else [(1, "Unavailable")]
    assert connector_statuses(decisions) == expected
    station.when(csms_answers())
    decisions = station.when(change_availability(part, "Operative"))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert [evse for evse, status in connector_statuses(decisions) if status == "Available"] == [
        evse for evse, _ in expected
    ]


@PARTS
@pytest.mark.parametrize("status", ["Operative", "Inoperative"])
def test_a_change_to_what_it_is_already_is_accepted_g03_fr_03_g04_fr_04(
    part: Json, status: str
) -> None:
    station = given(ONLINE, change_availability(part, status))
    decisions = station.when(change_availability(part, status))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert connector_statuses(decisions) == []


@PARTS
def test_during_a_transaction_the_change_waits_g03_fr_05_g04_fr_06(part: Json) -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.when(change_availability(part))
    assert response_payload_in(decisions) == {"status": "Scheduled"}
    assert is_operative(station)
    assert (1, "Unavailable") not in connector_statuses(decisions)
    station.with_csms(accept_everything, presented(ALICE))
    decisions = station.with_csms(accept_everything, charging_stopped(1))
    assert (1, "Unavailable") in connector_statuses(decisions)
    assert not is_operative(station)


def test_an_idle_evse_does_not_wait_for_the_transaction_of_another_g04_fr_06() -> None:
    station = given(ONLINE, in_transaction(1))
    assert connector_statuses(
        station.with_csms(accept_everything, change_availability(STATION))
    ) == [(2, "Unavailable")]
    station.with_csms(accept_everything, cable_plugged(2), presented(BOB, evse_id=2))
    assert station.state.transactions.on_evse(2) is None
    decisions = station.with_csms(accept_everything, change_availability(STATION, "Operative"))
    assert connector_statuses(decisions) == [(2, "Occupied")]


def test_no_transaction_starts_at_an_inoperative_connector_g03_fr_06() -> None:
    station = given(ONLINE, change_availability(CONNECTOR_1))
    station.with_csms(accept_everything, cable_plugged(1), presented(ALICE, evse_id=1))
    assert station.state.transactions.on_evse(1) is None


def test_a_scheduled_change_can_be_taken_back_g03_fr_05() -> None:
    station = given(
        ONLINE,
        in_transaction(1),
        change_availability(EVSE_1),
        change_availability(EVSE_1, "Operative"),
    )
    station.with_csms(accept_everything, presented(ALICE), charging_stopped(1))
    assert is_operative(station)


def test_operative_during_a_transaction_is_what_it_is_already_g03_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    assert response_payload_in(station.when(change_availability(EVSE_1, "Operative"))) == {
        "status": "Accepted"
    }


def test_another_evse_need_not_wait_g03_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.when(change_availability({"evse": {"id": 2}}))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert connector_statuses(decisions) == [(2, "Unavailable")]


def test_an_inoperative_connector_is_unavailable_even_with_a_cable_g03_fr_06() -> None:
    station = given(ONLINE, cable_plugged(1))
    assert connector_statuses(station.when(change_availability(EVSE_1))) == [(1, "Unavailable")]
    station.when(csms_answers())
    assert connector_statuses(station.when(cable_unplugged(1), cable_plugged(1))) == []


def test_giving_the_station_back_returns_its_parts_to_what_they_were_g04_fr_08() -> None:
    station = given(ONLINE, change_availability(EVSE_1), change_availability(STATION))
    decisions = station.when(change_availability(STATION, "Operative"))
    assert connector_statuses(decisions) == [(2, "Available")]
    assert not is_operative(station, 1)


def test_giving_the_evse_back_returns_its_connectors_to_what_they_were_g03_fr_07() -> None:
    station = given(
        ONLINE,
        change_availability(CONNECTOR_1),
        change_availability(EVSE_1),
        change_availability(EVSE_1, "Operative"),
    )
    assert not is_operative(station)


@PARTS
@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_inoperative_outlives_a_restart_g03_fr_08_g04_fr_09(part: Json, boot_id: str) -> None:
    station = given(ONLINE, change_availability(part), station_restarted(boot_id=boot_id))
    decisions = station.with_csms(
        accept_everything, cable_unplugged(1), cable_unplugged(2), LINK_OPENED
    )
    assert (1, "Unavailable") in connector_statuses(decisions)


def test_a_scheduled_change_outlives_a_restart_g03_fr_08() -> None:
    station = given(ONLINE, in_transaction(1), change_availability(EVSE_1))
    station.when(
        station_restarted(boot_id="boot-2", gap_s=1000), cable_unplugged(1), charging_stopped(1)
    )
    station.when(called("Heartbeat"))
    assert station.state.availability.scheduled or not is_operative(station)


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"evse": {"id": 3}}, "UnknownEvse"),
        ({"evse": {"id": 1, "connectorId": 2}}, "UnknownConnectorId"),
        ({"evse": {"id": -1}}, "UnknownEvse"),
    ],
)
def test_what_does_not_exist_cannot_be_changed_g03_fr_02(part: Json, code: str) -> None:
    answer = response_payload_in(given(ONLINE).when(change_availability(part)))
    assert (answer["status"], answer["statusInfo"]["reasonCode"]) == ("Rejected", code)


def test_a_fault_comes_first_g03_fr_06() -> None:
    station = given(ONLINE, change_availability(EVSE_1))
    assert connector_statuses(station.when(device_faulted(1))) == [(1, "Faulted")]
    station.when(csms_answers())
    assert connector_statuses(station.when(device_recovered(1))) == [(1, "Unavailable")]


def test_a_fault_of_the_station_is_one_of_every_connector_g04_fr_07() -> None:
    assert connector_statuses(given(ONLINE).when(device_faulted(0))) == [
        (1, "Faulted"),
        (2, "Faulted"),
    ]


def test_an_evse_has_no_status_before_its_devices_report() -> None:
    station = given(BOOTED)
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    assert connector_statuses(decisions) == []
    assert connector_statuses(station.with_csms(accept_everything, cable_unplugged(2))) == [
        (2, "Available")
    ]
