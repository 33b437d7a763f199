"""What may the CSMS order from afar: start, stop, unlock, speak? (Block F)"""

from __future__ import annotations

import pytest

from journal.projections.authorizations import AuthorizationEnded
from journal.projections.outbox import CallQueued
from journal.projections.replies import CallAnswered
from tests.story import (
    ALICE,
    BOB,
    ONLINE,
    Json,
    Station,
    accepting,
    after,
    answers,
    called,
    charging,
    discharged,
    error_in,
    faulted,
    given,
    id_token,
    in_transaction,
    of_kind,
    plugged,
    presented,
    preset,
    queued,
    read,
    reply_in,
    serves,
    statuses,
    told,
    unplugged,
)

NOT_ASKED = preset("AuthCtrlr.AuthorizeRemoteStart", "false")
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


def start(**more: object) -> object:
    payload: Json = {"remoteStartId": 9, "idToken": id_token(ALICE), **more}
    return called("RequestStartTransaction", **payload)


def started(station: Station, **more: object) -> list:  # type: ignore[type-arg]
    return station.when(start(**more))  # type: ignore[arg-type]


# --- F01, F02: start -----------------------------------------------------------------------------


def test_the_answer_comes_before_the_question_f01_fr_01_f02_fr_09() -> None:
    station = given(ONLINE, plugged(1))
    said = started(station, evseId=1)
    kinds = [type(one) for one in said if isinstance(one, CallAnswered | CallQueued)]
    assert kinds == [CallAnswered, CallQueued]
    assert reply_in(said) == {"status": "Accepted"}
    assert queued(said, "Authorize") == [{"idToken": id_token(ALICE)}]
    [event] = queued(station.with_csms(accepting, serves()), "TransactionEvent")
    assert event["triggerReason"] == "RemoteStart"  # F01.FR.19, F02.FR.21
    assert event["idToken"] == id_token(ALICE)  # F01.FR.04
    assert event["transactionInfo"]["remoteStartId"] == 9  # F02.FR.21
    assert station.level.evses[0].energy


def test_whom_the_csms_then_refuses_does_not_charge_f01_fr_01() -> None:
    station = given(ONLINE, plugged(1))
    started(station, evseId=1)
    station.when(answers("Authorize", idTokenInfo={"status": "Blocked"}))
    assert not station.level.evses[0].energy
    assert not station.state.transactions.open


def test_nobody_is_asked_where_that_is_set_so_f01_fr_02_f02_fr_10() -> None:
    station = given(NOT_ASKED, ONLINE, plugged(1))
    said = started(station, evseId=1)
    assert not queued(said, "Authorize")
    assert told(said) == [("Started", "RemoteStart")]
    station.when(answers("TransactionEvent", idTokenInfo={"status": "Invalid"}))  # F01.FR.03
    assert not station.level.evses[0].energy


def test_a_charging_profile_is_ignored_f01_fr_12_f02_fr_20() -> None:
    station = given(ONLINE, plugged(1))
    assert reply_in(started(station, evseId=1, chargingProfile=PROFILE)) == {"status": "Accepted"}


def test_a_transaction_that_waits_for_somebody_is_named_f01_fr_13_f01_fr_25() -> None:
    station = given(preset("TxCtrlr.TxStartPoint", "EVConnected"), ONLINE, plugged(1))
    transaction_id = station.transaction.transaction_id
    said = started(station, evseId=1)
    assert reply_in(said) == {"status": "Accepted", "transactionId": transaction_id}
    [event] = queued(station.when(serves()), "TransactionEvent")
    assert event["triggerReason"] == "RemoteStart"
    assert event["transactionInfo"]["remoteStartId"] == 9
    assert event["idToken"] == id_token(ALICE)


def test_a_remote_start_may_come_before_the_cable_f02_fr_13() -> None:
    station = given(ONLINE)
    started(station, evseId=2)
    station.when(serves())
    [event] = queued(station.when(plugged(2)), "TransactionEvent")
    assert event["triggerReason"] == "RemoteStart"  # F02.FR.21
    assert event["transactionInfo"]["remoteStartId"] == 9


def test_a_remote_start_without_a_cable_times_out_f02_fr_07() -> None:
    station = given(preset("TxCtrlr.TxStartPoint", "Authorized"), ONLINE)
    started(station, evseId=2)
    station.when(serves())
    [event] = queued(station.with_csms(accepting, after(seconds=60)), "TransactionEvent")
    assert (event["eventType"], event["triggerReason"]) == ("Ended", "EVConnectTimeout")
    assert event["transactionInfo"]["stoppedReason"] == "Timeout"


def test_without_an_evse_the_one_that_waits_is_taken_f01_fr_07_f01_fr_20() -> None:
    station = given(ONLINE, plugged(2))
    started(station)
    station.when(serves())
    assert station.transaction.evse_id == 2


def test_without_an_evse_a_free_one_is_taken_f02_fr_15_f02_fr_22() -> None:
    station = given(ONLINE, in_transaction(1, BOB))
    assert reply_in(started(station)) == {"status": "Accepted"}
    station.when(serves(), plugged(2), serves())
    assert station.state.transactions.at(2)


def test_where_every_evse_is_taken_nobody_starts_f01_fr_24() -> None:
    station = given(ONLINE, in_transaction(1, BOB))
    station.with_csms(accepting, plugged(2), presented(ALICE, evse_id=2))
    assert reply_in(started(station))["status"] == "Rejected"


def test_an_unknown_evse_is_rejected_f01() -> None:
    assert reply_in(started(given(ONLINE), evseId=3))["status"] == "Rejected"


def test_a_faulted_evse_is_rejected_f01_fr_23_f02_fr_25() -> None:
    station = given(ONLINE, faulted(1))
    assert reply_in(started(station, evseId=1))["status"] == "Rejected"


def test_an_inoperative_evse_is_rejected_f01_fr_23_f02_fr_25() -> None:
    station = given(ONLINE)
    station.when(called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}))
    assert reply_in(started(station, evseId=1))["status"] == "Rejected"


def test_an_evse_in_use_is_rejected_f01_fr_24_f02_fr_26() -> None:
    station = given(ONLINE, in_transaction(1, BOB))
    answer = reply_in(started(station, evseId=1))
    assert (answer["status"], answer["statusInfo"]["reasonCode"]) == ("Rejected", "TxInProgress")


def test_a_cached_token_starts_without_asking_f01_fr_01() -> None:
    station = given(preset("AuthCtrlr.LocalPreAuthorize", "true"), ONLINE, in_transaction(1))
    station.with_csms(accepting, presented(ALICE), discharged(1), unplugged(1), plugged(1))
    said = started(station, evseId=1)
    assert not queued(said, "Authorize")
    assert told(said) == [("Started", "RemoteStart")]


# --- F03: stop -----------------------------------------------------------------------------------


def stop(station: Station) -> object:
    return called("RequestStopTransaction", transactionId=station.transaction.transaction_id)


def test_a_remote_stop_ends_the_transaction_f03_fr_03_f03_fr_07() -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.when(stop(station))  # type: ignore[arg-type]
    assert reply_in(said) == {"status": "Accepted"}
    assert not station.level.evses[0].energy
    [event] = queued(station.when(discharged(1)), "TransactionEvent")
    assert (event["eventType"], event["triggerReason"]) == ("Ended", "RemoteStop")
    assert event["transactionInfo"]["stoppedReason"] == "Remote"


def test_or_only_the_energy_f03_fr_02() -> None:
    station = given(preset("TxCtrlr.TxStopPoint", "EVConnected"), ONLINE, in_transaction(1))
    said = station.when(stop(station))  # type: ignore[arg-type]
    assert told(said) == [("Updated", "RemoteStop")]
    assert not station.level.evses[0].energy
    assert station.transaction.stopping is None


def test_an_unknown_transaction_cannot_be_stopped_f03_fr_08() -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.when(called("RequestStopTransaction", transactionId="other"))
    assert reply_in(said)["status"] == "Rejected"
    assert not of_kind(said, AuthorizationEnded)
    assert station.level.evses[0].energy


def test_a_transaction_of_nobody_can_be_stopped_f03_fr_03() -> None:
    station = given(
        preset("TxCtrlr.TxStartPoint", "EVConnected"),
        preset("TxCtrlr.TxStopPoint", "Authorized"),
        ONLINE,
        plugged(1),
    )
    said = station.when(stop(station))  # type: ignore[arg-type]
    assert told(said) == [("Ended", "RemoteStop")]


def test_a_transaction_that_waits_for_the_cable_says_it_heard_f03_fr_02() -> None:
    station = given(
        preset("TxCtrlr.TxStartPoint", "EVConnected"),
        preset("TxCtrlr.TxStopPoint", "EVConnected"),
        ONLINE,
        plugged(1),
    )
    assert told(station.when(stop(station))) == [("Updated", "RemoteStop")]  # type: ignore[arg-type]


def test_stopping_twice_is_accepted_twice_and_told_once_f03_fr_07() -> None:
    station = given(ONLINE, in_transaction(1))
    order = stop(station)
    said = station.when(order, order, discharged(1))  # type: ignore[arg-type]
    assert len(of_kind(said, CallAnswered)) == 2
    assert [kind for kind, _ in told(said)] == ["Ended"]


# --- F05: unlock ---------------------------------------------------------------------------------


def unlocked(station: Station, evse_id: int, connector_id: int) -> Json:
    return reply_in(
        station.when(called("UnlockConnector", evseId=evse_id, connectorId=connector_id))
    )


def test_a_connector_in_use_stays_locked_f05_fr_02() -> None:
    station = given(ONLINE, in_transaction(1))
    assert unlocked(station, 1, 1) == {"status": "OngoingAuthorizedTransaction"}


@pytest.mark.parametrize(("evse_id", "connector_id"), [(1, 2), (3, 1), (0, 0), (-1, 1)])
def test_an_unknown_connector_is_told_so_f05_fr_03(evse_id: int, connector_id: int) -> None:
    assert unlocked(given(ONLINE), evse_id, connector_id) == {"status": "UnknownConnector"}


def test_a_fixed_cable_cannot_be_unlocked_f05_fr_05_f05_fr_06() -> None:
    answer = unlocked(given(ONLINE), 1, 1)
    assert answer["status"] == "UnlockFailed"
    assert answer["statusInfo"]["reasonCode"] == "FixedCable"


# --- F06: trigger --------------------------------------------------------------------------------


def triggered(station: Station, message: str, **evse: int) -> list:  # type: ignore[type-arg]
    more = {"evse": evse} if evse else {}
    return station.when(called("TriggerMessage", requestedMessage=message, **more))


def test_the_answer_comes_first_f06_fr_04() -> None:
    said = triggered(given(ONLINE), "Heartbeat")
    assert isinstance(said[0], CallAnswered)
    assert queued(said, "Heartbeat")


def test_meter_values_of_every_evse_f06_fr_06_f06_fr_11() -> None:
    station = given(
        preset("AlignedDataCtrlr.Measurands", "Energy.Active.Import.Register,Voltage"),
        ONLINE,
        read(1, "1500", voltage_v="800"),
    )
    said = triggered(station, "MeterValues")
    first, second = queued(said, "MeterValues")
    assert (first["evseId"], second["evseId"]) == (1, 2)
    [value] = first["meterValue"]
    assert [one["measurand"] for one in value["sampledValue"]] == [
        "Energy.Active.Import.Register",
        "Voltage",
    ]
    assert {one["context"] for one in value["sampledValue"]} == {"Trigger"}


def test_meter_values_of_one_evse_f06_fr_02() -> None:
    said = triggered(given(ONLINE), "MeterValues", id=2)
    assert [one["evseId"] for one in queued(said, "MeterValues")] == [2]


def test_an_evse_without_a_reading_has_none_to_tell_f06_fr_05() -> None:
    said = triggered(given(ONLINE), "MeterValues", id=7)
    assert reply_in(said) == {"status": "Rejected"}


def test_a_transaction_event_f06_fr_07() -> None:
    station = given(ONLINE, in_transaction(1))
    [event] = queued(triggered(station, "TransactionEvent"), "TransactionEvent")
    assert (event["eventType"], event["triggerReason"]) == ("Updated", "Trigger")
    assert event["transactionInfo"]["chargingState"] == "Charging"
    [value] = event["meterValue"]
    assert {one["context"] for one in value["sampledValue"]} == {"Trigger"}


def test_without_a_transaction_there_is_no_event_f06_fr_05() -> None:
    said = triggered(given(ONLINE, in_transaction(1)), "TransactionEvent", id=2)
    assert reply_in(said) == {"status": "Rejected"}


@pytest.mark.parametrize(
    "message",
    ["SignChargingStationCertificate", "SignV2GCertificate", "PublishFirmwareStatusNotification"],
)
def test_what_is_not_built_is_not_implemented_f06_fr_08(message: str) -> None:
    said = triggered(given(ONLINE), message)
    assert reply_in(said) == {"status": "NotImplemented"}


def test_what_the_product_does_not_offer_is_not_implemented_f06_fr_08() -> None:
    said = triggered(given(ONLINE, of="evs-flash-300"), "FirmwareStatusNotification")
    assert reply_in(said) == {"status": "NotImplemented"}
    said = triggered(given(ONLINE), "FirmwareStatusNotification")
    assert queued(said, "FirmwareStatusNotification") == [{"status": "Idle"}]  # F06.FR.16


def test_a_status_is_only_told_of_a_connector_that_is_named_f06_fr_12() -> None:
    station = given(ONLINE, plugged(1))
    assert reply_in(triggered(station, "StatusNotification")) == {"status": "Rejected"}
    assert reply_in(triggered(station, "StatusNotification", id=1)) == {"status": "Rejected"}
    said = triggered(station, "StatusNotification", id=1, connectorId=1)
    assert reply_in(said) == {"status": "Accepted"}
    assert statuses(said) == [(1, "Occupied")]


def test_no_log_is_being_uploaded_f06_fr_15() -> None:
    said = triggered(given(ONLINE), "LogStatusNotification")
    assert queued(said, "LogStatusNotification") == [{"status": "Idle"}]


def test_an_accepted_station_does_not_introduce_itself_again_f06_fr_17() -> None:
    said = triggered(given(ONLINE), "BootNotification")
    assert reply_in(said) == {"status": "Rejected"}


def test_an_unknown_trigger_is_no_message() -> None:
    assert error_in(triggered(given(ONLINE), "Coffee")) == "PropertyConstraintViolation"


def test_a_triggered_event_waits_for_its_turn_in_the_lane_f06_fr_10() -> None:
    station = given(ONLINE, plugged(1))
    station.when(presented(ALICE), serves(), charging(1))
    triggered(station, "TransactionEvent")
    told_now = [station.payload(call)["seqNo"] for call in station.state.outbox.transaction]
    assert told_now == sorted(told_now)
