"""Block C: the authorization cache."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import BLOCKED, EXPIRED, INVALID, VALID, VALID_2
from tests.conformance.octt.tester import TOKEN_TYPE, TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import OMITTED, check_fields, one_of, require


def enable_cache(t: Tester, *, first: bool = True) -> None:
    """Enable the cache; `first`: it is used before the CSMS (LocalPreAuthorize)."""
    t.configure_variable("AuthCacheCtrlr", "Enabled", value=True)
    t.configure_variable("AuthCtrlr", "LocalPreAuthorize", value=first)
    t.configure_variable("AuthCacheCtrlr", "DisablePostAuthorize", value=False)
    t.configure_variable("LocalAuthListCtrlr", "Enabled", value=True)


def tc_c_32_cs(t: Tester) -> None:
    enable_cache(t)
    states.id_token_cached(t)
    states.reset_and_boot(t)
    states.authorize_driver(t, cached=True)
    states.ev_connected_pre_session(t)
    states.start_energy_transfer(t)


def tc_c_33_cs(t: Tester) -> None:
    enable_cache(t)
    states.ev_connected_pre_session(t)
    states.authorize_driver(t)
    states.start_energy_transfer(t)
    states.authorize_stop(t)
    states.ev_connected_post_session(t)
    states.ev_disconnected(t)
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, cached=True)


def tc_c_34_cs(t: Tester) -> None:
    enable_cache(t)
    t.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=True)
    t.configure_variable("TxCtrlr", "MaxEnergyOnInvalidId", 0)
    states.id_token_cached(t)
    t.csms.responses.add_id_token(VALID, "Invalid")
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, cached=True)
    states.expect_deauthorized(t)
    states.ev_disconnected(t)
    states.ev_connected_pre_session(t)
    t.present_id_token()
    states.expect_authorize(t, "step 7")


def tc_c_36_cs(t: Tester) -> None:
    enable_cache(t, first=False)
    states.id_token_cached(t)
    t.csms.responses.add_id_token(VALID, "Invalid")
    t.present_id_token()
    states.expect_authorize(t, "step 1")


def tc_c_37_cs(t: Tester) -> None:
    enable_cache(t)
    states.id_token_cached(t)
    t.send_call("step 1", "ClearCache", {}, {"status": "Accepted"})
    states.ev_connected_pre_session(t)
    states.authorize_driver(t)
    states.start_energy_transfer(t)


def tc_c_38_cs(t: Tester) -> None:
    t.configure_variable("AuthCacheCtrlr", "Enabled", value=True)
    states.id_token_cached(t)
    t.configure_variable("AuthCacheCtrlr", "Enabled", value=False)
    t.send_call("step 1", "ClearCache", {}, {"status": "Rejected"})


def tc_c_41_cs(t: Tester) -> None:
    enable_cache(t)
    states.id_token_cached(t, VALID)
    states.id_token_cached(t, VALID_2)
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, VALID, cached=True)
    states.start_energy_transfer(t)
    t.wait(t.settings.transaction_s)
    t.present_id_token(VALID_2)
    t.expect_event(
        "step 4",
        {
            "triggerReason": "StopAuthorized",
            "idToken.idToken": VALID_2,
            "idToken.type": TOKEN_TYPE,
        },
    )
    states.ev_connected_post_session(t)
    states.ev_disconnected(t)


def tc_c_44_cs(t: Tester) -> None:
    enable_cache(t)
    states.id_token_cached(t, VALID)
    states.id_token_cached(t, INVALID)
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, VALID, cached=True)
    states.start_energy_transfer(t)
    t.present_id_token(INVALID)
    states.expect_authorize(t, "step 4", INVALID)
    t.expect_no_event("step 4")
    states.check_still_charging(t, "afterwards")


def tc_c_08_cs(t: Tester) -> None:
    enable_cache(t)
    states.id_token_cached(t)
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, cached=True)
    states.start_energy_transfer(t)


def _check_asked_again(t: Tester, id_token: str) -> None:
    """A token cached as refused is checked with the CSMS again, and refused again."""
    enable_cache(t)
    states.id_token_cached(t, id_token)
    states.ev_connected_pre_session(t)
    t.present_id_token(id_token)
    states.expect_authorize(t, "step 1", id_token)
    t.expect_no_call("step 2", TRANSACTION_EVENT, wait_s=2.0)


def tc_c_09_cs(t: Tester) -> None:
    _check_asked_again(t, INVALID)


def tc_c_10_cs(t: Tester) -> None:
    _check_asked_again(t, BLOCKED)


def tc_c_11_cs(t: Tester) -> None:
    _check_asked_again(t, EXPIRED)


def tc_c_12_cs(t: Tester) -> None:
    enable_cache(t)
    states.id_token_cached(t, INVALID)
    t.csms.responses.add_id_token(INVALID)
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, INVALID)
    states.start_energy_transfer(t)


def tc_c_13_cs(t: Tester) -> None:
    enable_cache(t)
    states.id_token_cached(t)
    states.authorize_driver(t, cached=True)
    states.ev_connected_pre_session(t)
    states.start_energy_transfer(t)


def _start_offline_then_revoke(t: Tester, allowance_wh: int = 0) -> None:
    """A cached token starts a transaction offline; the CSMS then reports it Invalid."""
    enable_cache(t)
    t.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    t.configure_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    t.configure_variable("TxCtrlr", "MaxEnergyOnInvalidId", allowance_wh)
    states.id_token_cached(t)
    states.ev_connected_pre_session(t)
    t.go_offline()
    t.csms.responses.add_id_token(VALID, "Invalid")
    t.present_id_token()
    t.wait(5)
    t.go_online()
    session = t.session_on()
    session.id_token = VALID
    event = t.expect_event(
        "step 3", {"triggerReason": one_of("Authorized", "CablePluggedIn"), "offline": True}
    )
    check_fields("step 3", event, {"idToken.idToken": VALID, "idToken.type": TOKEN_TYPE})
    while True:
        t.expect_event("step 3", {"triggerReason": "ChargingStateChanged", "offline": True})
        t.bench.wait_settled()
        if not t.pending_calls(TRANSACTION_EVENT, {"offline": True}):
            return


def tc_c_16_cs(t: Tester) -> None:
    t.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=True)
    _start_offline_then_revoke(t)
    t.expect_event("step 5", {"triggerReason": "Deauthorized"})
    _check_no_energy(t)


def tc_c_17_cs(t: Tester) -> None:
    t.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=False)
    _start_offline_then_revoke(t)
    t.expect_event(
        "step 5",
        {
            "triggerReason": one_of("ChargingStateChanged", "Deauthorized"),
            "transactionInfo.chargingState": "SuspendedEVSE",
            "eventType": "Updated",
        },
    )
    _check_no_energy(t)


def _check_no_energy(t: Tester) -> None:
    t.wait_until(lambda: not t.is_power_flowing(), "afterwards", "end of the energy flow")
    t.wait(1)
    require("afterwards", not t.is_power_flowing(), "no energy may flow")


# With an energy limit for a token that became invalid (C-03), a cache life time (C-53), and
# without checking a refused token again (C-59).


def tc_c_15_cs(t: Tester) -> None:
    t.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=False)
    _start_offline_then_revoke(t, allowance_wh=10_000)
    deauthorized = t.pending_calls(TRANSACTION_EVENT, {"triggerReason": "Deauthorized"})
    suspended = t.pending_calls(
        TRANSACTION_EVENT, {"transactionInfo.chargingState": "SuspendedEVSE"}
    )
    require("step 3", not deauthorized, "the transaction may not be deauthorized")
    require("step 3", not suspended, "the energy transfer may not be suspended")
    require("afterwards", t.is_power_flowing(), "energy must still flow")


def tc_c_18_cs(t: Tester) -> None:
    t.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=True)
    _start_offline_then_revoke(t, allowance_wh=500)
    t.expect_event("step 5", {"triggerReason": "Deauthorized", "offline": one_of(False, OMITTED)})
    _check_no_energy(t)


def tc_c_26_cs(t: Tester) -> None:
    t.configure_variable("AuthCtrlr", "LocalPreAuthorize", value=True)
    t.configure_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    t.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    t.configure_variable("TxCtrlr", "MaxEnergyOnInvalidId", 0)
    t.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=False)
    t.csms.responses.add_id_token(VALID, "Invalid")
    states.start_offline_transaction(t)
    t.session_on().id_token = VALID
    while not t.session_on().is_open or t.peek_event("step 1").get("offline"):
        t.expect_event("step 1", {"offline": True})
    t.expect_event("step 1", {"transactionInfo.chargingState": "SuspendedEVSE"})
    t.csms.responses.add_id_token(VALID)
    t.present_id_token()
    t.expect_event("step 3", {"triggerReason": "StopAuthorized"})
    t.unplug()


def tc_c_46_cs(t: Tester) -> None:
    enable_cache(t)
    life_s = 6
    t.configure_variable("AuthCacheCtrlr", "LifeTime", life_s)
    states.id_token_cached(t)
    states.ev_connected_pre_session(t)
    t.wait(life_s + 1)
    states.authorize_driver(t)


def tc_c_57_cs(t: Tester) -> None:
    enable_cache(t)
    t.configure_variable("AuthCacheCtrlr", "DisablePostAuthorize", value=True)
    states.id_token_cached(t, INVALID)
    states.ev_connected_pre_session(t)
    t.present_id_token(INVALID)
    t.expect_no_call("step 1", "Authorize")
    require("step 1", not t.pending_calls(TRANSACTION_EVENT), "the authorization must be refused")
    require("step 1", not t.is_power_flowing(), "no energy may flow")
