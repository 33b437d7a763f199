"""Block C: the authorization cache."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import BLOCKED, EXPIRED, INVALID, VALID, VALID_2
from tests.conformance.octt.tester import TOKEN_TYPE, TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import OMITTED, check_fields, one_of, require


def enable_cache(tester: Tester, *, first: bool = True) -> None:
    """Enable the cache; `first`: it is used before the CSMS (LocalPreAuthorize)."""
    tester.configure_variable("AuthCacheCtrlr", "Enabled", value=True)
    tester.configure_variable("AuthCtrlr", "LocalPreAuthorize", value=first)
    tester.configure_variable("AuthCacheCtrlr", "DisablePostAuthorize", value=False)
    tester.configure_variable("LocalAuthListCtrlr", "Enabled", value=True)


def tc_c_32_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester)
    states.reset_and_boot(tester)
    states.authorize_driver(tester, cached=True)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)


def tc_c_33_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester)
    states.start_energy_transfer(tester)
    states.authorize_stop(tester)
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, cached=True)


def tc_c_34_cs(tester: Tester) -> None:
    enable_cache(tester)
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=True)
    tester.configure_variable("TxCtrlr", "MaxEnergyOnInvalidId", 0)
    states.id_token_cached(tester)
    tester.csms.responses.add_id_token(VALID, "Invalid")
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, cached=True)
    states.expect_deauthorized(tester)
    states.ev_disconnected(tester)
    states.ev_connected_pre_session(tester)
    tester.present_id_token()
    states.expect_authorize(tester, "step 7")


def tc_c_36_cs(tester: Tester) -> None:
    enable_cache(tester, first=False)
    states.id_token_cached(tester)
    tester.csms.responses.add_id_token(VALID, "Invalid")
    tester.present_id_token()
    states.expect_authorize(tester, "step 1")


def tc_c_37_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester)
    tester.send_call("step 1", "ClearCache", {}, {"status": "Accepted"})
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester)
    states.start_energy_transfer(tester)


def tc_c_38_cs(tester: Tester) -> None:
    tester.configure_variable("AuthCacheCtrlr", "Enabled", value=True)
    states.id_token_cached(tester)
    tester.configure_variable("AuthCacheCtrlr", "Enabled", value=False)
    tester.send_call("step 1", "ClearCache", {}, {"status": "Rejected"})


def tc_c_41_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester, VALID)
    states.id_token_cached(tester, VALID_2)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, VALID, cached=True)
    states.start_energy_transfer(tester)
    tester.wait(tester.settings.transaction_s)
    tester.present_id_token(VALID_2)
    tester.expect_event(
        "step 4",
        {
            "triggerReason": "StopAuthorized",
            "idToken.idToken": VALID_2,
            "idToken.type": TOKEN_TYPE,
        },
    )
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)


def tc_c_44_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester, VALID)
    states.id_token_cached(tester, INVALID)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, VALID, cached=True)
    states.start_energy_transfer(tester)
    tester.present_id_token(INVALID)
    states.expect_authorize(tester, "step 4", INVALID)
    tester.expect_no_event("step 4")
    states.check_still_charging(tester, "afterwards")


def tc_c_08_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, cached=True)
    states.start_energy_transfer(tester)


def _check_asked_again(tester: Tester, id_token: str) -> None:
    """A token cached as refused is checked with the CSMS again, and refused again."""
    enable_cache(tester)
    states.id_token_cached(tester, id_token)
    states.ev_connected_pre_session(tester)
    tester.present_id_token(id_token)
    states.expect_authorize(tester, "step 1", id_token)
    tester.expect_no_call("step 2", TRANSACTION_EVENT, wait_s=2.0)


def tc_c_09_cs(tester: Tester) -> None:
    _check_asked_again(tester, INVALID)


def tc_c_10_cs(tester: Tester) -> None:
    _check_asked_again(tester, BLOCKED)


def tc_c_11_cs(tester: Tester) -> None:
    _check_asked_again(tester, EXPIRED)


def tc_c_12_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester, INVALID)
    tester.csms.responses.add_id_token(INVALID)
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, INVALID)
    states.start_energy_transfer(tester)


def tc_c_13_cs(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester)
    states.authorize_driver(tester, cached=True)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)


def _start_offline_then_revoke(tester: Tester, allowance_wh: int = 0) -> None:
    """A cached token starts a transaction offline; the CSMS then reports it Invalid."""
    enable_cache(tester)
    tester.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    tester.configure_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    tester.configure_variable("TxCtrlr", "MaxEnergyOnInvalidId", allowance_wh)
    states.id_token_cached(tester)
    states.ev_connected_pre_session(tester)
    tester.go_offline()
    tester.csms.responses.add_id_token(VALID, "Invalid")
    tester.present_id_token()
    tester.wait(5)
    tester.go_online()
    session = tester.session_on()
    session.id_token = VALID
    event = tester.expect_event(
        "step 3", {"triggerReason": one_of("Authorized", "CablePluggedIn"), "offline": True}
    )
    check_fields("step 3", event, {"idToken.idToken": VALID, "idToken.type": TOKEN_TYPE})
    while True:
        tester.expect_event("step 3", {"triggerReason": "ChargingStateChanged", "offline": True})
        tester.bench.wait_settled()
        if not tester.pending_calls(TRANSACTION_EVENT, {"offline": True}):
            return


def tc_c_16_cs(tester: Tester) -> None:
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=True)
    _start_offline_then_revoke(tester)
    tester.expect_event("step 5", {"triggerReason": "Deauthorized"})
    _check_no_energy(tester)


def tc_c_17_cs(tester: Tester) -> None:
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=False)
    _start_offline_then_revoke(tester)
    tester.expect_event(
        "step 5",
        {
            "triggerReason": one_of("ChargingStateChanged", "Deauthorized"),
            "transactionInfo.chargingState": "SuspendedEVSE",
            "eventType": "Updated",
        },
    )
    _check_no_energy(tester)


def _check_no_energy(tester: Tester) -> None:
    tester.wait_until(lambda: not tester.is_power_flowing(), "afterwards", "end of the energy flow")
    tester.wait(1)
    require("afterwards", not tester.is_power_flowing(), "no energy may flow")


# With an energy limit for a token that became invalid (C-03), a cache life time (C-53), and
# without checking a refused token again (C-59).


def tc_c_15_cs(tester: Tester) -> None:
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=False)
    _start_offline_then_revoke(tester, allowance_wh=10_000)
    deauthorized = tester.pending_calls(TRANSACTION_EVENT, {"triggerReason": "Deauthorized"})
    suspended = tester.pending_calls(
        TRANSACTION_EVENT, {"transactionInfo.chargingState": "SuspendedEVSE"}
    )
    require("step 3", not deauthorized, "the transaction may not be deauthorized")
    require("step 3", not suspended, "the energy transfer may not be suspended")
    require("afterwards", tester.is_power_flowing(), "energy must still flow")


def tc_c_18_cs(tester: Tester) -> None:
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=True)
    _start_offline_then_revoke(tester, allowance_wh=500)
    tester.expect_event(
        "step 5", {"triggerReason": "Deauthorized", "offline": one_of(False, OMITTED)}
    )
    _check_no_energy(tester)


def tc_c_26_cs(tester: Tester) -> None:
    tester.configure_variable("AuthCtrlr", "LocalPreAuthorize", value=True)
    tester.configure_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    tester.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    tester.configure_variable("TxCtrlr", "MaxEnergyOnInvalidId", 0)
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=False)
    tester.csms.responses.add_id_token(VALID, "Invalid")
    states.start_offline_transaction(tester)
    tester.session_on().id_token = VALID
    while not tester.session_on().is_open or tester.peek_event("step 1").get("offline"):
        tester.expect_event("step 1", {"offline": True})
    tester.expect_event("step 1", {"transactionInfo.chargingState": "SuspendedEVSE"})
    tester.csms.responses.add_id_token(VALID)
    tester.present_id_token()
    tester.expect_event("step 3", {"triggerReason": "StopAuthorized"})
    tester.unplug()


def tc_c_46_cs(tester: Tester) -> None:
    enable_cache(tester)
    life_s = 6
    tester.configure_variable("AuthCacheCtrlr", "LifeTime", life_s)
    states.id_token_cached(tester)
    states.ev_connected_pre_session(tester)
    tester.wait(life_s + 1)
    states.authorize_driver(tester)


def tc_c_57_cs(tester: Tester) -> None:
    enable_cache(tester)
    tester.configure_variable("AuthCacheCtrlr", "DisablePostAuthorize", value=True)
    states.id_token_cached(tester, INVALID)
    states.ev_connected_pre_session(tester)
    tester.present_id_token(INVALID)
    tester.expect_no_call("step 1", "Authorize")
    require(
        "step 1", not tester.pending_calls(TRANSACTION_EVENT), "the authorization must be refused"
    )
    require("step 1", not tester.is_power_flowing(), "no energy may flow")
