"""Reset and restart. B11, B12."""

from __future__ import annotations

import pytest

from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from tests.support.story import (
    BOB,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    accept_everything,
    answer_boot_only,
    cable_plugged,
    cable_unplugged,
    called,
    charging_stopped,
    connector_statuses,
    csms_answers,
    event_triggers,
    frame_received,
    given,
    in_transaction,
    of_kind,
    presented,
    queued_payloads,
    response_payload_in,
    station_restarted,
    time_passed,
)


def test_an_idle_station_restarts_at_once_b11_fr_03() -> None:
    station = given(ONLINE)
    decisions = station.when(called("Reset", type="Immediate"))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert of_kind(decisions, RestartOrdered)
    assert station.desired.restart_reason == "RemoteReset"


def test_the_restart_waits_for_its_answer_to_leave_b11_fr_01() -> None:
    station = given(ONLINE)
    decisions = station.decide_observation(frame_received('[2,"r","Reset",{"type":"Immediate"}]'))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert not of_kind(decisions, RestartOrdered)
    assert station.desired.restart_reason is None


@pytest.mark.parametrize("kind", ["Immediate", "OnIdle"])
def test_the_next_start_names_the_reset_as_its_reason_b11_fr_04(kind: str) -> None:
    station = given(ONLINE)
    station.when(called("Reset", type=kind), csms_answers(), station_restarted())
    [request] = queued_payloads(station.when(LINK_OPENED), "BootNotification")
    assert request["reason"] == "RemoteReset"  # TC_B_23: nothing delayed it
    assert station.desired.restart_reason is None


def test_a_single_evse_is_not_reset_b11_fr_09() -> None:
    decisions = given(ONLINE).when(called("Reset", type="Immediate", evseId=1))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert not of_kind(decisions, ResetOrdered)


def test_while_it_restarts_another_reset_is_rejected_b11_fr_06() -> None:
    station = given(ONLINE)
    station.when(called("Reset", type="Immediate"))
    assert response_payload_in(station.when(called("Reset", type="OnIdle")))["status"] == "Rejected"


@pytest.mark.parametrize("kind", ["Immediate", "OnIdle"])
def test_an_immediate_reset_is_not_put_off_by_another_b11_fr_06(kind: str) -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(called("Reset", type="Immediate"))
    decisions = station.when(called("Reset", type=kind))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert not of_kind(decisions, ResetOrdered)
    station.when(charging_stopped(1))
    assert of_kind(station.when(csms_answers()), RestartOrdered)


def test_an_immediate_reset_overtakes_one_that_waits_b12_fr_02() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(called("Reset", type="OnIdle"))
    assert response_payload_in(station.when(called("Reset", type="Immediate"))) == {
        "status": "Accepted"
    }
    assert not station.desired.evses[0].energy_allowed


def test_inoperative_outlives_the_reset_b11_fr_02_b12_fr_06() -> None:
    station = given(ONLINE)
    station.when(
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}),
        called("Reset", type="Immediate"),
        csms_answers(),
    )
    decisions = station.with_csms(
        accept_everything, station_restarted(), cable_unplugged(1), cable_unplugged(2), LINK_OPENED
    )
    assert (1, "Unavailable") in connector_statuses(decisions)
    assert (2, "Available") in connector_statuses(decisions)


def test_on_idle_waits_for_the_transaction_b12_fr_01_b12_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    assert response_payload_in(station.when(called("Reset", type="OnIdle"))) == {
        "status": "Scheduled"
    }
    assert not of_kind(
        station.with_csms(accept_everything, time_passed(seconds=3600)), RestartOrdered
    )
    assert station.desired.evses[0].energy_allowed
    decisions = station.with_csms(accept_everything, cable_unplugged(1), charging_stopped(1))
    assert event_triggers(decisions) == [("Ended", "EVCommunicationLost")]
    assert of_kind(decisions, RestartOrdered)


def test_on_idle_waits_for_a_person_who_is_about_to_charge_b12_fr_01() -> None:
    station = given(ONLINE, presented(BOB))
    decisions = station.when(called("Reset", type="OnIdle"))
    assert response_payload_in(decisions) == {"status": "Scheduled"}
    decisions = station.with_csms(accept_everything, time_passed(seconds=59))
    assert not of_kind(decisions, RestartOrdered)
    assert of_kind(station.with_csms(accept_everything, time_passed(seconds=1)), RestartOrdered)


def test_while_a_reset_is_scheduled_no_transaction_starts_b12_fr_01() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(called("Reset", type="OnIdle"))
    station.with_csms(accept_everything, cable_plugged(2), presented(BOB, evse_id=2))
    assert station.state.transactions.on_evse(2) is None


def test_an_immediate_reset_ends_the_transaction_b12_fr_02_b12_fr_04() -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.when(called("Reset", type="Immediate"))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert not station.desired.evses[0].energy_allowed
    decisions = station.when(charging_stopped(1))
    [ended] = queued_payloads(decisions, "TransactionEvent")
    assert ended["eventType"] == "Ended"
    assert ended["triggerReason"] == "ResetCommand"
    assert ended["transactionInfo"]["stoppedReason"] == "ImmediateReset"
    assert not of_kind(decisions, RestartOrdered)  # not delivered to the CSMS yet
    assert of_kind(station.when(csms_answers()), RestartOrdered)


def test_an_undelivered_end_is_sent_after_the_reset_b12_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(called("Reset", type="Immediate"), charging_stopped(1))
    decisions = station.when(time_passed(seconds=30))
    assert of_kind(decisions, RestartOrdered)
    waiting = tuple(station.state.outbox.transaction)
    station.when(station_restarted())
    assert tuple(station.state.outbox.transaction) == waiting
    station.with_csms(accept_everything, LINK_OPENED)
    assert not station.state.outbox.transaction


def test_offline_the_reset_does_not_wait_for_delivery_b12_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(called("Reset", type="Immediate"), LINK_LOST)
    assert of_kind(station.when(charging_stopped(1)), RestartOrdered)


def test_a_contactor_that_does_not_open_does_not_stop_the_reset_b12_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(called("Reset", type="Immediate"))
    decisions = station.with_csms(answer_boot_only, time_passed(seconds=60))
    assert event_triggers(decisions)[0] == ("Ended", "ResetCommand")
    assert of_kind(decisions, RestartOrdered)
