"""Block E: where transactions begin and end, and what is sent again when it was not heard."""

from __future__ import annotations

from itertools import pairwise

from tests.octt import states
from tests.octt.bench import UNKNOWN, VALID
from tests.octt.cases.c_authorization import ask_the_csms
from tests.octt.tester import EVENT, Tester
from tests.octt.verify import OMITTED, must, one_of, verify

COMM = "OCPPCommCtrlr"


def tc_e_38_cs(t: Tester) -> None:
    states.authorized(t)
    states.ev_connected_pre_session(t, ready=False)
    t.event(
        "step 2",
        {
            "triggerReason": "ChargingStateChanged",
            "transactionInfo.chargingState": "SuspendedEV",
        },
    )


def tc_e_06_cs(t: Tester) -> None:
    ask_the_csms(t)
    states.energy_transfer_started(t)
    states.stop_authorized(t)
    states.ev_connected_post_session(t)
    states.ev_disconnected(t)


def tc_e_03_cs(t: Tester) -> None:
    ask_the_csms(t)
    states.ev_connected_pre_session(t)
    states.authorized(t)
    states.energy_transfer_started(t)


def tc_e_04_cs(t: Tester) -> None:
    ask_the_csms(t)
    states.parking_bay_occupied(t)
    states.authorized(t)
    states.energy_transfer_started(t)


def tc_e_05_cs(t: Tester) -> None:
    timeout_s = t.settings.ev_connection_timeout_s
    t.configure("TxCtrlr", "EVConnectionTimeOut", timeout_s)
    t.configure("AuthCacheCtrlr", "Enabled", value=False)
    t.configure("AuthCtrlr", "LocalPreAuthorize", value=False)
    ask_the_csms(t)
    states.authorized(t)
    if t.session().open:
        _connect_timeout(t)
    else:
        t.wait(timeout_s + 1)
    t.session().id_token = None
    states.authorized(t)
    states.energy_transfer_started(t)


def _connect_timeout(t: Tester) -> None:
    ends = "Authorized" in t.stop_points
    t.event(
        "step 1",
        {
            "triggerReason": "EVConnectTimeout",
            "eventType": "Ended" if ends else "Updated",
            "transactionInfo.stoppedReason": "Timeout" if ends else OMITTED,
        },
    )


def tc_e_52_cs(t: Tester) -> None:
    t.configure("AuthCtrlr", "Enabled", value=True)
    t.configure("AuthCtrlr", "DisableRemoteAuthorization", value=True)
    t.present(UNKNOWN)
    t.silent("step 1", "Authorize")
    states.ev_connected_pre_session(t)
    t.silent("step 3", EVENT)
    must("step 3", not t.power_flows(), "no energy may flow")


def tc_e_01_cs(t: Tester) -> None:
    states.authorized(t)
    states.ev_connected_pre_session(t)
    states.energy_transfer_started(t)


def tc_e_15_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    t.wait(t.settings.transaction_s)
    t.present()
    t.event(
        "step 1",
        {
            "triggerReason": "StopAuthorized",
            "transactionInfo.stoppedReason": one_of("Local", OMITTED),
            "eventType": "Ended",
        },
    )


def tc_e_21_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    states.request_stop(t, "step 1")
    t.event(
        "step 3",
        {
            "triggerReason": "RemoteStop",
            "transactionInfo.stoppedReason": "Remote",
            "eventType": "Ended",
        },
    )


def tc_e_16_cs(t: Tester) -> None:
    ask_the_csms(t)
    t.configure("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    t.configure("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    t.configure("TxCtrlr", "StopTxOnInvalidId", value=True)
    states.id_token_cached(t)
    t.csms.answers.know(VALID, "Invalid")
    states.start_offline_transaction(t)
    session = t.session()
    session.id_token = VALID
    while not session.open or t.next_event("step 1").get("offline"):
        t.event("step 1", {"offline": True})
    t.event(
        "step 3",
        {
            "eventType": "Ended",
            "triggerReason": "Deauthorized",
            "transactionInfo.stoppedReason": "DeAuthorized",
        },
    )


def tc_e_39_cs(t: Tester) -> None:
    t.configure("TxCtrlr", "EVConnectionTimeOut", t.settings.ev_connection_timeout_s)
    ask_the_csms(t)
    states.authorized(t)
    if t.session().open:
        _connect_timeout(t)
    else:
        t.wait(t.settings.ev_connection_timeout_s + 1)
    t.session().id_token = None
    t.plug_in()
    t.status("step 3", "Occupied")
    t.wait(t.settings.message_timeout_s)
    for event in t.waiting(EVENT):
        verify(
            "step 5",
            event,
            {
                "triggerReason": "CablePluggedIn",
                "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEVSE"),
            },
        )
    must("step 5", not t.power_flows(), "no energy may flow")


# A message that is not heard is sent again (E13).


def _not_heard(t: Tester, attempts: int, **how: object) -> list[float]:
    """The Charging event is answered badly `attempts` times; gives the moments it was sent."""
    interval_s = t.settings.message_attempt_interval_s
    t.configure(COMM, "MessageAttempts", t.settings.message_attempts, "TransactionEvent")
    t.configure(COMM, "MessageAttemptInterval", interval_s, "TransactionEvent")
    states.authorized(t)
    t.csms.disturb(
        EVENT,
        where=lambda event: event["transactionInfo"].get("chargingState") == "Charging",
        times=attempts,
        **how,
    )
    states.ev_connected_pre_session(t)
    first = t.take("step 5", EVENT, is_charging, 30)
    seq_no = first.payload["seqNo"]
    sent = [first.monotonic_s]
    count = t.settings.message_attempts
    patience_s = count * (count * interval_s + t.settings.message_timeout_s) + 10
    heard = attempts < count
    for _ in range(attempts if heard else count - 1):
        again = t.take("step 5", EVENT, lambda event: event["seqNo"] == seq_no, patience_s)
        same = {key: value for key, value in again.payload.items() if key != "offline"}
        was = {key: value for key, value in first.payload.items() if key != "offline"}
        must("step 5", same == was, "the same message must be sent again")
        sent.append(again.monotonic_s)
    quiet_s = count * interval_s + t.settings.message_timeout_s + t.settings.deviation_s
    t.silent("step 5", EVENT, {"seqNo": seq_no}, wait_s=quiet_s)
    return sent


def is_charging(event: dict[str, object]) -> bool:
    info = event["transactionInfo"]
    assert isinstance(info, dict)
    return bool(info.get("chargingState") == "Charging")


def _check_pauses(t: Tester, sent: list[float], answer_s: float) -> None:
    """Each pause is the interval times the transmissions before it, after the answer or its end."""
    interval_s = t.settings.message_attempt_interval_s
    for number, (earlier, later) in enumerate(pairwise(sent), start=1):
        due_s, took_s = interval_s * number + answer_s, later - earlier
        must(
            "step 5",
            due_s - 0.5 <= took_s <= due_s + t.settings.deviation_s,
            f"transmission {number + 1} must come after {due_s} s, came after {took_s:.2f} s",
        )


def tc_e_41_cs(t: Tester) -> None:
    sent = _not_heard(t, t.settings.message_attempts, copies=0)
    _check_pauses(t, sent, _message_timeout_s(t))


def tc_e_42_cs(t: Tester) -> None:
    sent = _not_heard(t, 1, copies=0)
    _check_pauses(t, sent, _message_timeout_s(t))


def tc_e_50_cs(t: Tester) -> None:
    sent = _not_heard(t, t.settings.message_attempts, error="InternalError")
    _check_pauses(t, sent, 0.0)


def tc_e_51_cs(t: Tester) -> None:
    sent = _not_heard(t, 1, error="InternalError")
    _check_pauses(t, sent, 0.0)


def _message_timeout_s(t: Tester) -> float:
    return float(t.value(COMM, "MessageTimeout", "Default"))
