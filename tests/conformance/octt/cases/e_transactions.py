"""Block E: start and end of transactions, and retransmission of their messages."""

from __future__ import annotations

from itertools import pairwise

from tests.conformance.octt import states
from tests.conformance.octt.bench import UNKNOWN, VALID
from tests.conformance.octt.cases.c_authorization import enable_csms_authorization
from tests.conformance.octt.tester import TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import OMITTED, check_fields, one_of, require

COMM = "OCPPCommCtrlr"


def tc_e_38_cs(tester: Tester) -> None:
    states.authorize_driver(tester)
    states.ev_connected_pre_session(tester, ready=False)
    tester.expect_event(
        "step 2",
        {
            "triggerReason": "ChargingStateChanged",
            "transactionInfo.chargingState": "SuspendedEV",
        },
    )


def tc_e_06_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    states.start_energy_transfer(tester)
    states.authorize_stop(tester)
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)


def tc_e_03_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester)
    states.start_energy_transfer(tester)


def tc_e_04_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    states.parking_bay_occupied(tester)
    states.authorize_driver(tester)
    states.start_energy_transfer(tester)


def tc_e_05_cs(tester: Tester) -> None:
    timeout_s = tester.settings.ev_connection_timeout_s
    tester.configure_variable("TxCtrlr", "EVConnectionTimeOut", timeout_s)
    tester.configure_variable("AuthCacheCtrlr", "Enabled", value=False)
    tester.configure_variable("AuthCtrlr", "LocalPreAuthorize", value=False)
    enable_csms_authorization(tester)
    states.authorize_driver(tester)
    if tester.session_on().is_open:
        _expect_connection_timeout(tester)
    else:
        tester.wait(timeout_s + 1)
    tester.session_on().id_token = None
    states.authorize_driver(tester)
    states.start_energy_transfer(tester)


def _expect_connection_timeout(tester: Tester) -> None:
    ends = "Authorized" in tester.stop_points
    tester.expect_event(
        "step 1",
        {
            "triggerReason": "EVConnectTimeout",
            "eventType": "Ended" if ends else "Updated",
            "transactionInfo.stoppedReason": "Timeout" if ends else OMITTED,
        },
    )


def tc_e_52_cs(tester: Tester) -> None:
    tester.configure_variable("AuthCtrlr", "Enabled", value=True)
    tester.configure_variable("AuthCtrlr", "DisableRemoteAuthorization", value=True)
    tester.present_id_token(UNKNOWN)
    tester.expect_no_call("step 1", "Authorize")
    states.ev_connected_pre_session(tester)
    tester.expect_no_call("step 3", TRANSACTION_EVENT)
    require("step 3", not tester.is_power_flowing(), "no energy may flow")


def tc_e_01_cs(tester: Tester) -> None:
    states.authorize_driver(tester)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)


def tc_e_15_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    tester.wait(tester.settings.transaction_s)
    tester.present_id_token()
    tester.expect_event(
        "step 1",
        {
            "triggerReason": "StopAuthorized",
            "transactionInfo.stoppedReason": one_of("Local", OMITTED),
            "eventType": "Ended",
        },
    )


def tc_e_21_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    states.request_stop(tester, "step 1")
    tester.expect_event(
        "step 3",
        {
            "triggerReason": "RemoteStop",
            "transactionInfo.stoppedReason": "Remote",
            "eventType": "Ended",
        },
    )


def tc_e_16_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    tester.configure_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    tester.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=True)
    states.id_token_cached(tester)
    tester.csms.responses.add_id_token(VALID, "Invalid")
    states.start_offline_transaction(tester)
    session = tester.session_on()
    session.id_token = VALID
    while not session.is_open or tester.peek_event("step 1").get("offline"):
        tester.expect_event("step 1", {"offline": True})
    tester.expect_event(
        "step 3",
        {
            "eventType": "Ended",
            "triggerReason": "Deauthorized",
            "transactionInfo.stoppedReason": "DeAuthorized",
        },
    )


def tc_e_39_cs(tester: Tester) -> None:
    tester.configure_variable(
        "TxCtrlr", "EVConnectionTimeOut", tester.settings.ev_connection_timeout_s
    )
    enable_csms_authorization(tester)
    states.authorize_driver(tester)
    if tester.session_on().is_open:
        _expect_connection_timeout(tester)
    else:
        tester.wait(tester.settings.ev_connection_timeout_s + 1)
    tester.session_on().id_token = None
    tester.plug_in()
    tester.expect_status("step 3", "Occupied")
    tester.wait(tester.settings.message_timeout_s)
    for event in tester.pending_calls(TRANSACTION_EVENT):
        check_fields(
            "step 5",
            event,
            {
                "triggerReason": "CablePluggedIn",
                "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEVSE"),
            },
        )
    require("step 5", not tester.is_power_flowing(), "no energy may flow")


# A message without a response is sent again (E13).


def _fail_charging_event(tester: Tester, attempts: int, **disturbance: object) -> list[float]:
    """Disturb the response to the Charging event `attempts` times; returns when it was sent.

    Args:
        disturbance: `copies=0` for no response, `error=` for a CALLERROR. See `Disturbance`.
    """
    interval_s = tester.settings.message_attempt_interval_s
    tester.configure_variable(
        COMM, "MessageAttempts", tester.settings.message_attempts, "TransactionEvent"
    )
    tester.configure_variable(COMM, "MessageAttemptInterval", interval_s, "TransactionEvent")
    states.authorize_driver(tester)
    tester.csms.disturb_calls(
        TRANSACTION_EVENT,
        where=lambda event: event["transactionInfo"].get("chargingState") == "Charging",
        times=attempts,
        **disturbance,
    )
    states.ev_connected_pre_session(tester)
    first = tester.take_call("step 5", TRANSACTION_EVENT, is_charging, 30)
    seq_no = first.payload["seqNo"]
    sent_s = [first.monotonic_s]
    count = tester.settings.message_attempts
    timeout_s = count * (count * interval_s + tester.settings.message_timeout_s) + 10
    is_delivered = attempts < count
    for _ in range(attempts if is_delivered else count - 1):
        repeated = tester.take_call(
            "step 5", TRANSACTION_EVENT, lambda event: event["seqNo"] == seq_no, timeout_s
        )
        repeated_payload = {
            key: value for key, value in repeated.payload.items() if key != "offline"
        }
        first_payload = {key: value for key, value in first.payload.items() if key != "offline"}
        require("step 5", repeated_payload == first_payload, "the same message must be sent again")
        sent_s.append(repeated.monotonic_s)
    quiet_s = count * interval_s + tester.settings.message_timeout_s + tester.settings.deviation_s
    tester.expect_no_call("step 5", TRANSACTION_EVENT, {"seqNo": seq_no}, wait_s=quiet_s)
    return sent_s


def is_charging(event: dict[str, object]) -> bool:
    info = event["transactionInfo"]
    assert isinstance(info, dict)
    return bool(info.get("chargingState") == "Charging")


def _check_pauses(tester: Tester, sent: list[float], answer_s: float) -> None:
    """The n-th pause is n intervals, counted from the response or its timeout. E13."""
    interval_s = tester.settings.message_attempt_interval_s
    for number, (earlier, later) in enumerate(pairwise(sent), start=1):
        due_s, took_s = interval_s * number + answer_s, later - earlier
        require(
            "step 5",
            due_s - 0.5 <= took_s <= due_s + tester.settings.deviation_s,
            f"transmission {number + 1} must follow after {due_s} s, followed after {took_s:.2f} s",
        )


def tc_e_41_cs(tester: Tester) -> None:
    sent = _fail_charging_event(tester, tester.settings.message_attempts, copies=0)
    _check_pauses(tester, sent, _message_timeout_s(tester))


def tc_e_42_cs(tester: Tester) -> None:
    sent = _fail_charging_event(tester, 1, copies=0)
    _check_pauses(tester, sent, _message_timeout_s(tester))


def tc_e_50_cs(tester: Tester) -> None:
    sent = _fail_charging_event(tester, tester.settings.message_attempts, error="InternalError")
    _check_pauses(tester, sent, 0.0)


def tc_e_51_cs(tester: Tester) -> None:
    sent = _fail_charging_event(tester, 1, error="InternalError")
    _check_pauses(tester, sent, 0.0)


def _message_timeout_s(tester: Tester) -> float:
    return float(tester.read_value(COMM, "MessageTimeout", "Default"))
