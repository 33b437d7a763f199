"""Block C: the authorization cache."""

from __future__ import annotations

from tests.octt import states
from tests.octt.bench import BLOCKED, EXPIRED, INVALID, VALID, VALID_2
from tests.octt.tester import EVENT, TOKEN_TYPE, Tester
from tests.octt.verify import OMITTED, must, one_of, verify


def use_the_cache(t: Tester, *, first: bool = True) -> None:
    """The cache is on; with `first` it is asked before the CSMS is."""
    t.configure("AuthCacheCtrlr", "Enabled", value=True)
    t.configure("AuthCtrlr", "LocalPreAuthorize", value=first)
    t.configure("AuthCacheCtrlr", "DisablePostAuthorize", value=False)
    t.configure("LocalAuthListCtrlr", "Enabled", value=True)


def tc_c_32_cs(t: Tester) -> None:
    use_the_cache(t)
    states.id_token_cached(t)
    states.booted(t)
    states.authorized(t, cached=True)
    states.ev_connected_pre_session(t)
    states.energy_transfer_started(t)


def tc_c_33_cs(t: Tester) -> None:
    use_the_cache(t)
    states.ev_connected_pre_session(t)
    states.authorized(t)
    states.energy_transfer_started(t)
    states.stop_authorized(t)
    states.ev_connected_post_session(t)
    states.ev_disconnected(t)
    states.ev_connected_pre_session(t)
    states.authorized(t, cached=True)


def tc_c_34_cs(t: Tester) -> None:
    use_the_cache(t)
    t.configure("TxCtrlr", "StopTxOnInvalidId", value=True)
    t.configure("TxCtrlr", "MaxEnergyOnInvalidId", 0)
    states.id_token_cached(t)
    t.csms.answers.know(VALID, "Invalid")
    states.ev_connected_pre_session(t)
    states.authorized(t, cached=True)
    states.deauthorized(t)
    states.ev_disconnected(t)
    states.ev_connected_pre_session(t)
    t.present()
    states.authorize(t, "step 7")


def tc_c_36_cs(t: Tester) -> None:
    use_the_cache(t, first=False)
    states.id_token_cached(t)
    t.csms.answers.know(VALID, "Invalid")
    t.present()
    states.authorize(t, "step 1")


def tc_c_37_cs(t: Tester) -> None:
    use_the_cache(t)
    states.id_token_cached(t)
    t.call("step 1", "ClearCache", {}, {"status": "Accepted"})
    states.ev_connected_pre_session(t)
    states.authorized(t)
    states.energy_transfer_started(t)


def tc_c_38_cs(t: Tester) -> None:
    t.configure("AuthCacheCtrlr", "Enabled", value=True)
    states.id_token_cached(t)
    t.configure("AuthCacheCtrlr", "Enabled", value=False)
    t.call("step 1", "ClearCache", {}, {"status": "Rejected"})


def tc_c_41_cs(t: Tester) -> None:
    use_the_cache(t)
    states.id_token_cached(t, VALID)
    states.id_token_cached(t, VALID_2)
    states.ev_connected_pre_session(t)
    states.authorized(t, VALID, cached=True)
    states.energy_transfer_started(t)
    t.wait(t.settings.transaction_s)
    t.present(VALID_2)
    t.event(
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
    use_the_cache(t)
    states.id_token_cached(t, VALID)
    states.id_token_cached(t, INVALID)
    states.ev_connected_pre_session(t)
    states.authorized(t, VALID, cached=True)
    states.energy_transfer_started(t)
    t.present(INVALID)
    states.authorize(t, "step 4", INVALID)
    t.no_events("step 4")
    states.charging_goes_on(t, "afterwards")


def tc_c_08_cs(t: Tester) -> None:
    use_the_cache(t)
    states.id_token_cached(t)
    states.ev_connected_pre_session(t)
    states.authorized(t, cached=True)
    states.energy_transfer_started(t)


def _asked_again(t: Tester, id_token: str) -> None:
    """What the cache holds as not accepted is asked of the CSMS again, and refused again."""
    use_the_cache(t)
    states.id_token_cached(t, id_token)
    states.ev_connected_pre_session(t)
    t.present(id_token)
    states.authorize(t, "step 1", id_token)
    t.silent("step 2", EVENT, wait_s=2.0)


def tc_c_09_cs(t: Tester) -> None:
    _asked_again(t, INVALID)


def tc_c_10_cs(t: Tester) -> None:
    _asked_again(t, BLOCKED)


def tc_c_11_cs(t: Tester) -> None:
    _asked_again(t, EXPIRED)


def tc_c_12_cs(t: Tester) -> None:
    use_the_cache(t)
    states.id_token_cached(t, INVALID)
    t.csms.answers.know(INVALID)
    states.ev_connected_pre_session(t)
    states.authorized(t, INVALID)
    states.energy_transfer_started(t)


def tc_c_13_cs(t: Tester) -> None:
    use_the_cache(t)
    states.id_token_cached(t)
    states.authorized(t, cached=True)
    states.ev_connected_pre_session(t)
    states.energy_transfer_started(t)


def _accepted_offline(t: Tester, allowance_wh: int = 0) -> None:
    """A cached token starts a transaction offline; the CSMS then calls it Invalid."""
    use_the_cache(t)
    t.configure("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    t.configure("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    t.configure("TxCtrlr", "MaxEnergyOnInvalidId", allowance_wh)
    states.id_token_cached(t)
    states.ev_connected_pre_session(t)
    t.go_offline()
    t.csms.answers.know(VALID, "Invalid")
    t.present()
    t.wait(5)
    t.go_online()
    session = t.session()
    session.id_token = VALID
    event = t.event(
        "step 3", {"triggerReason": one_of("Authorized", "CablePluggedIn"), "offline": True}
    )
    verify("step 3", event, {"idToken.idToken": VALID, "idToken.type": TOKEN_TYPE})
    while True:
        t.event("step 3", {"triggerReason": "ChargingStateChanged", "offline": True})
        t.bench.wait_settled()
        if not t.waiting(EVENT, {"offline": True}):
            return


def tc_c_16_cs(t: Tester) -> None:
    t.configure("TxCtrlr", "StopTxOnInvalidId", value=True)
    _accepted_offline(t)
    t.event("step 5", {"triggerReason": "Deauthorized"})
    _no_energy(t)


def tc_c_17_cs(t: Tester) -> None:
    t.configure("TxCtrlr", "StopTxOnInvalidId", value=False)
    _accepted_offline(t)
    t.event(
        "step 5",
        {
            "triggerReason": one_of("ChargingStateChanged", "Deauthorized"),
            "transactionInfo.chargingState": "SuspendedEVSE",
            "eventType": "Updated",
        },
    )
    _no_energy(t)


def _no_energy(t: Tester) -> None:
    t.until(lambda: not t.power_flows(), "afterwards", "end of the energy flow")
    t.wait(1)
    must("afterwards", not t.power_flows(), "no energy may flow")


# With a limit of energy for a token that turned invalid (C-03), a life time (C-53), and without
# asking again about a refused one (C-59).


def tc_c_15_cs(t: Tester) -> None:
    t.configure("TxCtrlr", "StopTxOnInvalidId", value=False)
    _accepted_offline(t, allowance_wh=10_000)
    deauthorized = t.waiting(EVENT, {"triggerReason": "Deauthorized"})
    suspended = t.waiting(EVENT, {"transactionInfo.chargingState": "SuspendedEVSE"})
    must("step 3", not deauthorized, "the transaction may not be deauthorized")
    must("step 3", not suspended, "the energy transfer may not be suspended")
    must("afterwards", t.power_flows(), "energy must flow on")


def tc_c_18_cs(t: Tester) -> None:
    t.configure("TxCtrlr", "StopTxOnInvalidId", value=True)
    _accepted_offline(t, allowance_wh=500)
    t.event("step 5", {"triggerReason": "Deauthorized", "offline": one_of(False, OMITTED)})
    _no_energy(t)


def tc_c_26_cs(t: Tester) -> None:
    t.configure("AuthCtrlr", "LocalPreAuthorize", value=True)
    t.configure("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    t.configure("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    t.configure("TxCtrlr", "MaxEnergyOnInvalidId", 0)
    t.configure("TxCtrlr", "StopTxOnInvalidId", value=False)
    t.csms.answers.know(VALID, "Invalid")
    states.start_offline_transaction(t)
    t.session().id_token = VALID
    while not t.session().open or t.next_event("step 1").get("offline"):
        t.event("step 1", {"offline": True})
    t.event("step 1", {"transactionInfo.chargingState": "SuspendedEVSE"})
    t.csms.answers.know(VALID)
    t.present()
    t.event("step 3", {"triggerReason": "StopAuthorized"})
    t.unplug()


def tc_c_46_cs(t: Tester) -> None:
    use_the_cache(t)
    life_s = 6
    t.configure("AuthCacheCtrlr", "LifeTime", life_s)
    states.id_token_cached(t)
    states.ev_connected_pre_session(t)
    t.wait(life_s + 1)
    states.authorized(t)


def tc_c_57_cs(t: Tester) -> None:
    use_the_cache(t)
    t.configure("AuthCacheCtrlr", "DisablePostAuthorize", value=True)
    states.id_token_cached(t, INVALID)
    states.ev_connected_pre_session(t)
    t.present(INVALID)
    t.silent("step 1", "Authorize")
    must("step 1", not t.waiting(EVENT), "the authorization must be refused")
    must("step 1", not t.power_flows(), "no energy may flow")
