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


def tc_f_01_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, remote=True)
    states.start_energy_transfer(tester)


def tc_f_02_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    tester.configure_variable("AuthCtrlr", "AuthorizeRemoteStart", value=True)
    states.parking_bay_occupied(tester)
    states.authorize_driver(tester, remote=True)
    states.start_energy_transfer(tester)


def tc_f_03_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    tester.configure_variable("AuthCtrlr", "AuthorizeRemoteStart", value=False)
    states.parking_bay_occupied(tester)
    states.authorize_driver(tester, remote=True)
    states.start_energy_transfer(tester)


def tc_f_04_cs(tester: Tester) -> None:
    timeout_s = tester.settings.ev_connection_timeout_s
    tester.configure_variable("TxCtrlr", "EVConnectionTimeOut", timeout_s)
    tester.use_points(start="Authorized" if tester.profile.supports("C-51") else "")
    enable_csms_authorization(tester)
    states.authorize_driver(tester, remote=True)
    session = tester.session_on()
    if session.is_open:
        tester.expect_event("step 1", {"triggerReason": "EVConnectTimeout", "eventType": "Ended"})
    else:
        tester.wait(timeout_s + 1)
        session.id_token, session.remote_start_id = None, None
    states.authorize_driver(tester, remote=True)


def tc_f_08_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    states.authorize_stop(tester, remote=True)


def tc_f_09_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    request = {"transactionId": "5d0b41c5-0000-4000-8000-000000000000"}
    tester.send_call("step 1", "RequestStopTransaction", request, {"status": "Rejected"})
    states.check_still_charging(tester, "afterwards")


# TriggerMessage (F06).


def trigger_message(
    tester: Tester, step: str, message: str, evse: Payload | None = None, status: Any = "Accepted"
) -> None:
    request: Payload = {"requestedMessage": message}
    if evse is not None:
        request["evse"] = evse
    tester.discard_received()
    tester.send_call(step, "TriggerMessage", request, {"status": status})


FIRMWARE_STATUS = "FirmwareStatusNotification"
CONTEXT = "meterValue[0].sampledValue[0].context"


def tc_f_11_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", "MeterValues", {"id": tester.evse_id})
    tester.expect_triggered_call(
        "step 3", "MeterValues", {"evseId": tester.evse_id, CONTEXT: "Trigger"}
    )


def tc_f_12_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", "MeterValues")
    evse_ids = {
        tester.expect_triggered_call("step 3", "MeterValues", {CONTEXT: "Trigger"})["evseId"]
        for _ in tester.profile.evse
    }
    require(
        "step 3",
        evse_ids >= set(tester.profile.evse_ids),
        f"every EVSE must be reported, got {evse_ids}",
    )


def tc_f_13_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    trigger_message(tester, "step 1", "TransactionEvent", {"id": tester.evse_id})
    expected = _expected_triggered_event() | {"evse.id": one_of(OMITTED, tester.evse_id)}
    tester.expect_triggered_call("step 3", TRANSACTION_EVENT, expected, predicate=_is_triggered)


def tc_f_14_cs(tester: Tester) -> None:
    for evse_id, id_token in zip(tester.profile.evse_ids, (VALID, OTHER), strict=True):
        states.start_energy_transfer(tester, evse_id, id_token=id_token)
    trigger_message(tester, "step 1", "TransactionEvent")
    expected = _expected_triggered_event() | {"evse.id": one_of(*tester.profile.evse_ids)}
    evse_ids = {
        tester.expect_triggered_call(
            "step 3", TRANSACTION_EVENT, expected, predicate=_is_triggered
        )["evse"]["id"]
        for _ in tester.profile.evse
    }
    require(
        "step 3",
        evse_ids == set(tester.profile.evse_ids),
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


def tc_f_15_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", "LogStatusNotification")
    tester.expect_triggered_call("step 3", "LogStatusNotification", {"status": "Idle"})


def tc_f_16_cs(tester: Tester) -> None:
    tester.bench.files.pause_s = 4.0
    request = {
        "logType": "DiagnosticsLog",
        "requestId": tester.next_id(),
        "log": {"remoteLocation": tester.bench.files.url(UPLOAD_PATH)},
    }
    tester.send_call("step 1", "GetLog", request, {"status": "Accepted"})
    tester.expect_call("step 3", "LogStatusNotification", {"status": "Uploading"})
    trigger_message(tester, "step 5", "LogStatusNotification")
    tester.expect_triggered_call("step 7", "LogStatusNotification", {"status": "Uploading"})
    tester.expect_call("afterwards", "LogStatusNotification", {"status": "Uploaded"})


def tc_f_17_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", FIRMWARE_STATUS, {"id": tester.evse_id})
    tester.expect_triggered_call("step 3", FIRMWARE_STATUS, {"status": "Idle"})


def tc_f_18_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", FIRMWARE_STATUS)
    tester.expect_triggered_call("step 3", FIRMWARE_STATUS, {"status": "Idle"})


@needs_fresh_station
def tc_f_19_cs(tester: Tester) -> None:
    tester.bench.files.pause_s = 4.0
    request_id = l_firmware.request_update(
        tester, "step 1", l_firmware.UpdateOrder(signed_data=b"something else", install=None)
    )
    l_firmware.expect_statuses(tester, request_id, "Downloading")
    trigger_message(tester, "step 5", FIRMWARE_STATUS)
    tester.expect_triggered_call("step 7", FIRMWARE_STATUS, {"status": "Downloading"})
    l_firmware.expect_statuses(
        tester, request_id, "Downloaded", "InvalidSignature"
    )  # errata 6.2.59


def tc_f_20_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", "Heartbeat")
    tester.expect_triggered_call("step 3", "Heartbeat", {})


def tc_f_23_cs(tester: Tester) -> None:
    trigger_message(
        tester,
        "step 1",
        "StatusNotification",
        {"id": tester.evse_id, "connectorId": tester.connector_id},
    )
    tester.expect_status("step 3", "Available")


def tc_f_24_cs(tester: Tester) -> None:
    states.ev_connected_pre_session(tester)
    trigger_message(
        tester,
        "step 1",
        "StatusNotification",
        {"id": tester.evse_id, "connectorId": tester.connector_id},
    )
    tester.expect_status("step 3", "Occupied")


def tc_f_26_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", "BootNotification", status="Rejected")
    tester.expect_no_call("step 2", "BootNotification", wait_s=1.0)


def tc_f_27_cs(tester: Tester) -> None:
    trigger_message(tester, "step 1", "SignCombinedCertificate", status="NotImplemented")
