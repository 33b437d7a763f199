"""Remote start and stop, unlock, trigger. Block F."""

from __future__ import annotations

import pytest

from journal.projections.authorizations import AuthorizationEnded
from journal.projections.outbox import CallQueued
from journal.projections.pending_replies import CallResultQueued
from tests.support.story import (
    ALICE,
    BOB,
    ONLINE,
    Json,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    connector_statuses,
    csms_answers,
    device_faulted,
    error_code_in,
    event_triggers,
    given,
    id_token_payload,
    in_transaction,
    meter_read,
    of_kind,
    presented,
    queued_payloads,
    response_payload_in,
    result_received_for,
    time_passed,
    variable_preset,
)

NOT_ASKED = variable_preset("AuthCtrlr.AuthorizeRemoteStart", "false")
PROFILE = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": [
        {
            "id": 1,
            "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1000}],
        }
    ],
}


def request_start(**more: object) -> object:
    payload: Json = {"remoteStartId": 9, "idToken": id_token_payload(ALICE), **more}
    return called("RequestStartTransaction", **payload)


def decisions_on_start(station: Station, **more: object) -> list:  # type: ignore[type-arg]
    return station.when(request_start(**more))  # type: ignore[arg-type]


# --- F01, F02: start -----------------------------------------------------------------------------


def test_the_answer_comes_before_the_question_f01_fr_01_f02_fr_09() -> None:
    station = given(ONLINE, cable_plugged(1))
    decisions = decisions_on_start(station, evseId=1)
    kinds = [
        type(decision)
        for decision in decisions
        if isinstance(decision, CallResultQueued | CallQueued)
    ]
    assert kinds == [CallResultQueued, CallQueued]
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert queued_payloads(decisions, "Authorize") == [{"idToken": id_token_payload(ALICE)}]
    [event] = queued_payloads(
        station.with_csms(accept_everything, csms_answers()), "TransactionEvent"
    )
    assert event["triggerReason"] == "RemoteStart"  # F01.FR.19, F02.FR.21
    assert event["idToken"] == id_token_payload(ALICE)  # F01.FR.04
    assert event["transactionInfo"]["remoteStartId"] == 9  # F02.FR.21
    assert station.desired.evses[0].energy_allowed


def test_whom_the_csms_then_refuses_does_not_charge_f01_fr_01() -> None:
    station = given(ONLINE, cable_plugged(1))
    decisions_on_start(station, evseId=1)
    station.when(result_received_for("Authorize", idTokenInfo={"status": "Blocked"}))
    assert not station.desired.evses[0].energy_allowed
    assert not station.state.transactions.open


def test_without_authorize_remote_start_no_authorize_is_sent_f01_fr_02_f02_fr_10() -> None:
    station = given(NOT_ASKED, ONLINE, cable_plugged(1))
    decisions = decisions_on_start(station, evseId=1)
    assert not queued_payloads(decisions, "Authorize")
    assert event_triggers(decisions) == [("Started", "RemoteStart")]
    station.when(
        result_received_for("TransactionEvent", idTokenInfo={"status": "Invalid"})
    )  # F01.FR.03
    assert not station.desired.evses[0].energy_allowed


def test_a_charging_profile_is_ignored_f01_fr_12_f02_fr_20() -> None:
    station = given(ONLINE, cable_plugged(1), profile_name="evs-flash-300")
    assert response_payload_in(decisions_on_start(station, evseId=1, chargingProfile=PROFILE)) == {
        "status": "Accepted"
    }


def test_a_running_transaction_is_in_the_response_f01_fr_13_f01_fr_25() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStartPoint", "EVConnected"), ONLINE, cable_plugged(1)
    )
    transaction_id = station.open_transaction.transaction_id
    decisions = decisions_on_start(station, evseId=1)
    assert response_payload_in(decisions) == {"status": "Accepted", "transactionId": transaction_id}
    [event] = queued_payloads(station.when(csms_answers()), "TransactionEvent")
    assert event["triggerReason"] == "RemoteStart"
    assert event["transactionInfo"]["remoteStartId"] == 9
    assert event["idToken"] == id_token_payload(ALICE)


def test_a_remote_start_may_come_before_the_cable_f02_fr_13() -> None:
    station = given(ONLINE)
    decisions_on_start(station, evseId=2)
    station.when(csms_answers())
    [event] = queued_payloads(station.when(cable_plugged(2)), "TransactionEvent")
    assert event["triggerReason"] == "RemoteStart"  # F02.FR.21
    assert event["transactionInfo"]["remoteStartId"] == 9


def test_a_remote_start_without_a_cable_times_out_f02_fr_07() -> None:
    station = given(variable_preset("TxCtrlr.TxStartPoint", "Authorized"), ONLINE)
    decisions_on_start(station, evseId=2)
    station.when(csms_answers())
    [event] = queued_payloads(
        station.with_csms(accept_everything, time_passed(seconds=60)), "TransactionEvent"
    )
    assert (event["eventType"], event["triggerReason"]) == ("Ended", "EVConnectTimeout")
    assert event["transactionInfo"]["stoppedReason"] == "Timeout"


def test_without_an_evse_the_one_that_waits_is_taken_f01_fr_07_f01_fr_20() -> None:
    station = given(ONLINE, cable_plugged(2))
    decisions_on_start(station)
    station.when(csms_answers())
    assert station.open_transaction.evse_id == 2


def test_without_an_evse_a_free_one_is_taken_f02_fr_15_f02_fr_22() -> None:
    station = given(ONLINE, in_transaction(1, BOB))
    assert response_payload_in(decisions_on_start(station)) == {"status": "Accepted"}
    station.when(csms_answers(), cable_plugged(2), csms_answers())
    assert station.state.transactions.on_evse(2)


def test_if_every_evse_is_taken_a_remote_start_is_rejected_f01_fr_24() -> None:
    station = given(ONLINE, in_transaction(1, BOB))
    station.with_csms(accept_everything, cable_plugged(2), presented(ALICE, evse_id=2))
    assert response_payload_in(decisions_on_start(station))["status"] == "Rejected"


def test_an_unknown_evse_is_rejected_f01() -> None:
    assert response_payload_in(decisions_on_start(given(ONLINE), evseId=3))["status"] == "Rejected"


def test_a_faulted_evse_is_rejected_f01_fr_23_f02_fr_25() -> None:
    station = given(ONLINE, device_faulted(1))
    assert response_payload_in(decisions_on_start(station, evseId=1))["status"] == "Rejected"


def test_an_inoperative_evse_is_rejected_f01_fr_23_f02_fr_25() -> None:
    station = given(ONLINE)
    station.when(called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}))
    assert response_payload_in(decisions_on_start(station, evseId=1))["status"] == "Rejected"


def test_an_evse_in_use_is_rejected_f01_fr_24_f02_fr_26() -> None:
    station = given(ONLINE, in_transaction(1, BOB))
    answer = response_payload_in(decisions_on_start(station, evseId=1))
    assert (answer["status"], answer["statusInfo"]["reasonCode"]) == ("Rejected", "TxInProgress")


def test_a_cached_token_starts_without_asking_f01_fr_01() -> None:
    station = given(
        variable_preset("AuthCtrlr.LocalPreAuthorize", "true"), ONLINE, in_transaction(1)
    )
    station.with_csms(
        accept_everything,
        presented(ALICE),
        charging_stopped(1),
        cable_unplugged(1),
        cable_plugged(1),
    )
    decisions = decisions_on_start(station, evseId=1)
    assert not queued_payloads(decisions, "Authorize")
    assert event_triggers(decisions) == [("Started", "RemoteStart")]


# --- F03: stop -----------------------------------------------------------------------------------


def request_stop(station: Station) -> object:
    return called("RequestStopTransaction", transactionId=station.open_transaction.transaction_id)


def test_a_remote_stop_ends_the_transaction_f03_fr_03_f03_fr_07() -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.when(request_stop(station))  # type: ignore[arg-type]
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert not station.desired.evses[0].energy_allowed
    [event] = queued_payloads(station.when(charging_stopped(1)), "TransactionEvent")
    assert (event["eventType"], event["triggerReason"]) == ("Ended", "RemoteStop")
    assert event["transactionInfo"]["stoppedReason"] == "Remote"


def test_or_only_the_energy_f03_fr_02() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStopPoint", "EVConnected"), ONLINE, in_transaction(1)
    )
    decisions = station.when(request_stop(station))  # type: ignore[arg-type]
    assert event_triggers(decisions) == [("Updated", "RemoteStop")]
    assert not station.desired.evses[0].energy_allowed
    assert station.open_transaction.stop_order is None


def test_an_unknown_transaction_cannot_be_stopped_f03_fr_08() -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.when(called("RequestStopTransaction", transactionId="other"))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert not of_kind(decisions, AuthorizationEnded)
    assert station.desired.evses[0].energy_allowed


def test_a_transaction_without_authorization_can_be_stopped_f03_fr_03() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStartPoint", "EVConnected"),
        variable_preset("TxCtrlr.TxStopPoint", "Authorized"),
        ONLINE,
        cable_plugged(1),
    )
    decisions = station.when(request_stop(station))  # type: ignore[arg-type]
    assert event_triggers(decisions) == [("Ended", "RemoteStop")]


def test_a_stop_of_a_transaction_that_waits_for_unplug_is_reported_f03_fr_02() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStartPoint", "EVConnected"),
        variable_preset("TxCtrlr.TxStopPoint", "EVConnected"),
        ONLINE,
        cable_plugged(1),
    )
    assert event_triggers(station.when(request_stop(station))) == [("Updated", "RemoteStop")]  # type: ignore[arg-type]


def test_stopping_twice_is_accepted_twice_and_reported_once_f03_fr_07() -> None:
    station = given(ONLINE, in_transaction(1))
    order = request_stop(station)
    decisions = station.when(order, order, charging_stopped(1))  # type: ignore[arg-type]
    assert len(of_kind(decisions, CallResultQueued)) == 2
    assert [kind for kind, _ in event_triggers(decisions)] == ["Ended"]


# --- F05: unlock ---------------------------------------------------------------------------------


def unlock_response(station: Station, evse_id: int, connector_id: int) -> Json:
    return response_payload_in(
        station.when(called("UnlockConnector", evseId=evse_id, connectorId=connector_id))
    )


def test_a_connector_in_use_stays_locked_f05_fr_02() -> None:
    station = given(ONLINE, in_transaction(1))
    assert unlock_response(station, 1, 1) == {"status": "OngoingAuthorizedTransaction"}


@pytest.mark.parametrize(("evse_id", "connector_id"), [(1, 2), (3, 1), (0, 0), (-1, 1)])
def test_an_unknown_connector_is_answered_unknown_f05_fr_03(
    evse_id: int, connector_id: int
) -> None:
    assert unlock_response(given(ONLINE), evse_id, connector_id) == {"status": "UnknownConnector"}


def test_a_fixed_cable_cannot_be_unlocked_f05_fr_05_f05_fr_06() -> None:
    answer = unlock_response(given(ONLINE), 1, 1)
    assert answer["status"] == "UnlockFailed"
    assert answer["statusInfo"]["reasonCode"] == "FixedCable"


# --- F06: trigger --------------------------------------------------------------------------------


def trigger_message(station: Station, message: str, **evse: int) -> list:  # type: ignore[type-arg]
    more = {"evse": evse} if evse else {}
    return station.when(called("TriggerMessage", requestedMessage=message, **more))


def test_the_answer_comes_first_f06_fr_04() -> None:
    decisions = trigger_message(given(ONLINE), "Heartbeat")
    assert isinstance(decisions[0], CallResultQueued)
    assert queued_payloads(decisions, "Heartbeat")


def test_meter_values_of_every_evse_f06_fr_06_f06_fr_11() -> None:
    station = given(
        variable_preset("AlignedDataCtrlr.Measurands", "Energy.Active.Import.Register,Voltage"),
        ONLINE,
        meter_read(1, "1500", voltage_v="800"),
    )
    decisions = trigger_message(station, "MeterValues")
    first, second = queued_payloads(decisions, "MeterValues")
    assert (first["evseId"], second["evseId"]) == (1, 2)
    [value] = first["meterValue"]
    assert [sample["measurand"] for sample in value["sampledValue"]] == [
        "Energy.Active.Import.Register",
        "Voltage",
    ]
    assert {sample["context"] for sample in value["sampledValue"]} == {"Trigger"}


def test_meter_values_of_one_evse_f06_fr_02() -> None:
    decisions = trigger_message(given(ONLINE), "MeterValues", id=2)
    assert [payload["evseId"] for payload in queued_payloads(decisions, "MeterValues")] == [2]


def test_an_evse_without_a_reading_has_none_to_tell_f06_fr_05() -> None:
    decisions = trigger_message(given(ONLINE), "MeterValues", id=7)
    assert response_payload_in(decisions) == {"status": "Rejected"}


def test_a_transaction_event_f06_fr_07() -> None:
    station = given(ONLINE, in_transaction(1))
    [event] = queued_payloads(trigger_message(station, "TransactionEvent"), "TransactionEvent")
    assert (event["eventType"], event["triggerReason"]) == ("Updated", "Trigger")
    assert event["transactionInfo"]["chargingState"] == "Charging"
    [value] = event["meterValue"]
    assert {sample["context"] for sample in value["sampledValue"]} == {"Trigger"}


def test_without_a_transaction_there_is_no_event_f06_fr_05() -> None:
    decisions = trigger_message(given(ONLINE, in_transaction(1)), "TransactionEvent", id=2)
    assert response_payload_in(decisions) == {"status": "Rejected"}


@pytest.mark.parametrize(
    "message",
    ["SignCombinedCertificate", "SignV2GCertificate", "PublishFirmwareStatusNotification"],
)
def test_what_is_not_built_is_not_implemented_f06_fr_08(message: str) -> None:
    decisions = trigger_message(given(ONLINE), message)
    assert response_payload_in(decisions) == {"status": "NotImplemented"}


def test_what_the_product_does_not_offer_is_not_implemented_f06_fr_08() -> None:
    decisions = trigger_message(
        given(ONLINE, profile_name="evs-flash-300"), "FirmwareStatusNotification"
    )
    assert response_payload_in(decisions) == {"status": "NotImplemented"}
    decisions = trigger_message(given(ONLINE), "FirmwareStatusNotification")
    assert queued_payloads(decisions, "FirmwareStatusNotification") == [
        {"status": "Idle"}
    ]  # F06.FR.16


def test_a_status_is_only_reported_a_connector_that_is_named_f06_fr_12() -> None:
    station = given(ONLINE, cable_plugged(1))
    assert response_payload_in(trigger_message(station, "StatusNotification")) == {
        "status": "Rejected"
    }
    assert response_payload_in(trigger_message(station, "StatusNotification", id=1)) == {
        "status": "Rejected"
    }
    decisions = trigger_message(station, "StatusNotification", id=1, connectorId=1)
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert connector_statuses(decisions) == [(1, "Occupied")]


def test_no_log_is_being_uploaded_f06_fr_15() -> None:
    decisions = trigger_message(given(ONLINE), "LogStatusNotification")
    assert queued_payloads(decisions, "LogStatusNotification") == [{"status": "Idle"}]


def test_an_accepted_station_does_not_introduce_itself_again_f06_fr_17() -> None:
    decisions = trigger_message(given(ONLINE), "BootNotification")
    assert response_payload_in(decisions) == {"status": "Rejected"}


def test_an_unknown_trigger_is_no_message() -> None:
    assert error_code_in(trigger_message(given(ONLINE), "Coffee")) == "PropertyConstraintViolation"


def test_a_triggered_event_waits_for_its_turn_in_the_lane_f06_fr_10() -> None:
    station = given(ONLINE, cable_plugged(1))
    station.when(presented(ALICE), csms_answers(), charging_started(1))
    trigger_message(station, "TransactionEvent")
    told_now = [station.payload_of_call(call)["seqNo"] for call in station.state.outbox.transaction]
    assert told_now == sorted(told_now)
