"""Block F: remote start and stop, TriggerMessage."""

from __future__ import annotations

from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import OTHER, VALID
from tests.conformance.octt.cases import l_firmware
from tests.conformance.octt.cases.c_authorization import enable_csms_authorization
from tests.conformance.octt.files import UPLOAD_PATH
from tests.conformance.octt.fresh import needs_fresh_station
from tests.conformance.octt.tester import TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import NOT_EMPTY, OMITTED, one_of, require
from tests.support.csms import Payload


def tc_f_01_cs(t: Tester) -> None:
    enable_csms_authorization(t)
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, remote=True)
    states.start_energy_transfer(t)


def tc_f_02_cs(t: Tester) -> None:
    enable_csms_authorization(t)
    t.configure_variable("AuthCtrlr", "AuthorizeRemoteStart", value=True)
    states.parking_bay_occupied(t)
    states.authorize_driver(t, remote=True)
    states.start_energy_transfer(t)


def tc_f_03_cs(t: Tester) -> None:
    enable_csms_authorization(t)
    t.configure_variable("AuthCtrlr", "AuthorizeRemoteStart", value=False)
    states.parking_bay_occupied(t)
    states.authorize_driver(t, remote=True)
    states.start_energy_transfer(t)


def tc_f_04_cs(t: Tester) -> None:
    timeout_s = t.settings.ev_connection_timeout_s
    t.configure_variable("TxCtrlr", "EVConnectionTimeOut", timeout_s)
    t.use_points(start="Authorized" if t.profile.supports("C-51") else "")
    enable_csms_authorization(t)
    states.authorize_driver(t, remote=True)
    session = t.session_on()
    if session.is_open:
        t.expect_event("step 1", {"triggerReason": "EVConnectTimeout", "eventType": "Ended"})
    else:
        t.wait(timeout_s + 1)
        session.id_token, session.remote_start_id = None, None
    states.authorize_driver(t, remote=True)


def tc_f_08_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    states.authorize_stop(t, remote=True)


def tc_f_09_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    request = {"transactionId": "5d0b41c5-0000-4000-8000-000000000000"}
    t.send_call("step 1", "RequestStopTransaction", request, {"status": "Rejected"})
    states.check_still_charging(t, "afterwards")


# TriggerMessage (F06).


def trigger_message(
    t: Tester, step: str, message: str, evse: Payload | None = None, status: Any = "Accepted"
) -> None:
    request: Payload = {"requestedMessage": message}
    if evse is not None:
        request["evse"] = evse
    t.discard_received()
    t.send_call(step, "TriggerMessage", request, {"status": status})


FIRMWARE_STATUS = "FirmwareStatusNotification"
CONTEXT = "meterValue[0].sampledValue[0].context"


def tc_f_11_cs(t: Tester) -> None:
    trigger_message(t, "step 1", "MeterValues", {"id": t.evse_id})
    t.expect_triggered_call("step 3", "MeterValues", {"evseId": t.evse_id, CONTEXT: "Trigger"})


def tc_f_12_cs(t: Tester) -> None:
    trigger_message(t, "step 1", "MeterValues")
    evse_ids = {
        t.expect_triggered_call("step 3", "MeterValues", {CONTEXT: "Trigger"})["evseId"]
        for _ in t.profile.evse
    }
    require(
        "step 3",
        evse_ids >= set(t.profile.evse_ids),
        f"every EVSE must be reported, got {evse_ids}",
    )


def tc_f_13_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    trigger_message(t, "step 1", "TransactionEvent", {"id": t.evse_id})
    expected = _expected_triggered_event() | {"evse.id": one_of(OMITTED, t.evse_id)}
    t.expect_triggered_call("step 3", TRANSACTION_EVENT, expected, predicate=_is_triggered)


def tc_f_14_cs(t: Tester) -> None:
    for evse_id, id_token in zip(t.profile.evse_ids, (VALID, OTHER), strict=True):
        states.start_energy_transfer(t, evse_id, id_token=id_token)
    trigger_message(t, "step 1", "TransactionEvent")
    expected = _expected_triggered_event() | {"evse.id": one_of(*t.profile.evse_ids)}
    evse_ids = {
        t.expect_triggered_call("step 3", TRANSACTION_EVENT, expected, predicate=_is_triggered)[
            "evse"
        ]["id"]
        for _ in t.profile.evse
    }
    require(
        "step 3",
        evse_ids == set(t.profile.evse_ids),
        f"every EVSE must be reported, got {evse_ids}",
    )


def _expected_triggered_event() -> dict[str, Any]:
    return {
        "triggerReason": "Trigger",
        "transactionInfo.chargingState": "Charging",
        "meterValue": NOT_EMPTY,
        CONTEXT: "Trigger",
    }


def _is_triggered(event: Payload) -> bool:
    return bool(event["triggerReason"] == "Trigger")


def tc_f_15_cs(t: Tester) -> None:
    trigger_message(t, "step 1", "LogStatusNotification")
    t.expect_triggered_call("step 3", "LogStatusNotification", {"status": "Idle"})


def tc_f_16_cs(t: Tester) -> None:
    t.bench.files.pause_s = 4.0
    request = {
        "logType": "DiagnosticsLog",
        "requestId": t.next_id(),
        "log": {"remoteLocation": t.bench.files.url(UPLOAD_PATH)},
    }
    t.send_call("step 1", "GetLog", request, {"status": "Accepted"})
    t.expect_call("step 3", "LogStatusNotification", {"status": "Uploading"})
    trigger_message(t, "step 5", "LogStatusNotification")
    t.expect_triggered_call("step 7", "LogStatusNotification", {"status": "Uploading"})
    t.expect_call("afterwards", "LogStatusNotification", {"status": "Uploaded"})


def tc_f_17_cs(t: Tester) -> None:
    trigger_message(t, "step 1", FIRMWARE_STATUS, {"id": t.evse_id})
    t.expect_triggered_call("step 3", FIRMWARE_STATUS, {"status": "Idle"})


def tc_f_18_cs(t: Tester) -> None:
    trigger_message(t, "step 1", FIRMWARE_STATUS)
    t.expect_triggered_call("step 3", FIRMWARE_STATUS, {"status": "Idle"})


@needs_fresh_station
def tc_f_19_cs(t: Tester) -> None:
    t.bench.files.pause_s = 4.0
    request_id = l_firmware.request_update(
        t, "step 1", l_firmware.UpdateOrder(signed_data=b"something else", install=None)
    )
    l_firmware.expect_statuses(t, request_id, "Downloading")
    trigger_message(t, "step 5", FIRMWARE_STATUS)
    t.expect_triggered_call("step 7", FIRMWARE_STATUS, {"status": "Downloading"})
    l_firmware.expect_statuses(t, request_id, "Downloaded", "InvalidSignature")  # errata 6.2.59


def tc_f_20_cs(t: Tester) -> None:
    trigger_message(t, "step 1", "Heartbeat")
    t.expect_triggered_call("step 3", "Heartbeat", {})


def tc_f_23_cs(t: Tester) -> None:
    trigger_message(
        t, "step 1", "StatusNotification", {"id": t.evse_id, "connectorId": t.connector_id}
    )
    t.expect_status("step 3", "Available")


def tc_f_24_cs(t: Tester) -> None:
    states.ev_connected_pre_session(t)
    trigger_message(
        t, "step 1", "StatusNotification", {"id": t.evse_id, "connectorId": t.connector_id}
    )
    t.expect_status("step 3", "Occupied")


def tc_f_26_cs(t: Tester) -> None:
    trigger_message(t, "step 1", "BootNotification", status="Rejected")
    t.expect_no_call("step 2", "BootNotification", wait_s=1.0)


def tc_f_27_cs(t: Tester) -> None:
    trigger_message(t, "step 1", "SignCombinedCertificate", status="NotImplemented")
