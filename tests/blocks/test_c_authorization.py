"""Who may charge, and which EVSE does a card mean? (Block C, AQ-8)"""

from __future__ import annotations

import pytest

from journal.projections.auth_cache import CacheExpired, CacheUpdated
from journal.projections.authorizations import (
    AuthorizationBound,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
)
from journal.terms import IdToken
from station.blocks import c_authorization
from tests.story import (
    ALICE,
    BOB,
    BOOTED,
    FAMILY,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Csms,
    Json,
    Station,
    Step,
    accepting,
    after,
    answers,
    called,
    charging,
    discharged,
    error_in,
    errs,
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
    restarted,
    several,
    token,
    told,
    unplugged,
)

PRE_AUTHORIZE = preset("AuthCtrlr.LocalPreAuthorize", "true")
UNKNOWN_OFFLINE = preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
NO_CACHE = preset("AuthCacheCtrlr.Enabled", "false")


def judged(status: str, **info: object) -> Json:
    return {"idTokenInfo": {"status": status, **info}}


def saying(**answer: Json) -> Csms:
    """An accepting CSMS that answers some actions its own way."""
    return lambda action, payload: answer.get(action, accepting(action, payload))


def of_family() -> Csms:
    """A CSMS that knows everybody as one family."""
    known = judged("Accepted", groupIdToken=id_token(FAMILY))
    return saying(Authorize=known)


def known(who: IdToken, status: str = "Accepted", **info: object) -> Station:
    """A station whose cache holds a token, and nobody charges."""
    station = given(ONLINE)
    station.with_csms(saying(Authorize=judged(status, **info)), presented(who, evse_id=1))
    if station.state.authorizations.held:
        station.with_csms(accepting, presented(who))
    assert not station.state.authorizations.held
    return station


def held_at(station: Station) -> dict[int | None, str]:
    """EVSE -> the reference of who may charge there."""
    return {one.evse_id: one.id_token.ref for one in station.state.authorizations.held}


# --- C01: asking ---------------------------------------------------------------------------------


def test_no_energy_before_authorization_c01_fr_01() -> None:
    station = given(ONLINE, plugged(1))
    assert not station.level.evses[0].energy
    station.when(presented(ALICE))
    assert not station.level.evses[0].energy
    station.when(answers("Authorize", **judged("Accepted")))
    assert station.level.evses[0].energy
    assert not station.level.evses[1].energy


def test_an_unknown_token_is_asked_about_c01_fr_02() -> None:
    [request] = queued(given(ONLINE, plugged(1)).when(presented(ALICE)), "Authorize")
    assert request == {"idToken": id_token(ALICE)}


def test_the_same_token_twice_is_asked_about_once_c01_fr_02() -> None:
    said = given(ONLINE, plugged(1)).when(presented(ALICE), presented(ALICE))
    assert len(queued(said, "Authorize")) == 1


@pytest.mark.parametrize(
    "status",
    [
        "Blocked",
        "ConcurrentTx",
        "Expired",
        "Invalid",
        "NoCredit",
        "NotAllowedTypeEVSE",
        "NotAtThisLocation",
        "NotAtThisTime",
        "Unknown",
    ],
)
def test_whoever_the_csms_refuses_does_not_charge_c01_fr_07(status: str) -> None:
    station = given(ONLINE, plugged(1))
    said = station.when(presented(ALICE), answers("Authorize", **judged(status)))
    [refused] = of_kind(said, AuthorizationRefused)
    assert refused.status == status
    assert not station.level.evses[0].energy
    assert not station.state.transactions.open


def test_the_same_token_ends_what_it_began_c01_fr_03() -> None:
    said = given(ONLINE, in_transaction(1)).when(presented(ALICE))
    assert [one.stopped_reason for one in of_kind(said, AuthorizationEnded)] == ["Local"]
    assert not queued(said, "Authorize")


def test_the_same_value_of_another_type_is_somebody_else_c01_fr_25() -> None:
    station = given(ONLINE, in_transaction(1, token("alice", "ISO14443")))
    station.when(presented(token("alice", "ISO15693"), evse_id=1))
    assert station.transaction.stopping is None
    assert station.level.evses[0].energy


def test_additional_info_does_not_tell_tokens_apart_c01_fr_25() -> None:
    station = given(ONLINE, plugged(1))
    additional = [{"additionalIdToken": "#more", "type": "vendor"}]
    who = id_token(ALICE) | {"additionalInfo": additional}
    station.with_csms(
        accepting,
        called("RequestStartTransaction", idToken=who, remoteStartId=1, evseId=1),
        charging(1),
    )
    assert station.level.evses[0].energy
    station.when(presented(ALICE, evse_id=1))
    assert not station.level.evses[0].energy


def test_only_the_evses_the_csms_names_c01_fr_21() -> None:
    station = given(ONLINE, plugged(1))
    said = station.when(presented(ALICE), answers("Authorize", **judged("Accepted", evseId=[2])))
    assert not held_at(station)
    assert of_kind(said, AuthorizationRefused)


def test_a_person_waiting_gets_only_an_evse_the_csms_named_c01_fr_21() -> None:
    station = given(ONLINE)
    station.when(presented(ALICE), answers("Authorize", **judged("Accepted", evseId=[2])))
    station.when(plugged(1))
    assert held_at(station) == {None: ALICE.ref}
    station.when(plugged(2))
    assert held_at(station) == {2: ALICE.ref}


def test_a_cached_token_keeps_to_the_evses_the_csms_named_c01_fr_21() -> None:
    station = known(ALICE, evseId=[1])
    station.when(PRE_AUTHORIZE, plugged(2))
    said = station.when(presented(ALICE, evse_id=2))
    assert not of_kind(said, AuthorizationGranted)


def test_nobody_else_takes_over_an_open_transaction_c01_fr_23() -> None:
    station = given(
        preset("TxCtrlr.TxStopPoint", "EVConnected"), ONLINE, in_transaction(1), presented(ALICE)
    )
    station.with_csms(accepting, presented(BOB, evse_id=1))
    assert not held_at(station)
    assert station.transaction.id_token == ALICE


def test_whoever_began_it_may_charge_on_e02_fr_20() -> None:
    station = given(
        preset("TxCtrlr.TxStopPoint", "EVConnected"), ONLINE, in_transaction(1), presented(ALICE)
    )
    said = station.with_csms(accepting, presented(ALICE, evse_id=1))
    assert held_at(station) == {1: ALICE.ref}
    assert ("Updated", "Authorized") in told(said)


# --- C03, C05: the CSMS's own tokens -------------------------------------------------------------


def test_a_token_of_the_csms_is_not_asked_about_c03_fr_01_c05_fr_01() -> None:
    station = given(ONLINE, plugged(1))
    central = token("c", "Central")
    said = station.when(
        called("RequestStartTransaction", remoteStartId=5, evseId=1, idToken=id_token(central))
    )
    assert not queued(said, "Authorize")
    [started] = queued(said, "TransactionEvent")
    assert started["idToken"] == id_token(central)  # C05.FR.05
    assert started["transactionInfo"]["remoteStartId"] == 5  # C05.FR.03


def test_a_token_of_the_csms_is_not_cached_c03_fr_02_c05_fr_02() -> None:
    station = given(ONLINE, plugged(1))
    central = id_token(token("c", "Central"))
    start = called("RequestStartTransaction", remoteStartId=5, evseId=1, idToken=central)
    said = station.with_csms(accepting, start)
    assert not of_kind(said, CacheUpdated)
    assert not station.state.auth_cache.entries


# --- C09: groups ---------------------------------------------------------------------------------


def test_a_token_of_the_same_group_may_stop_c09_fr_03_c09_fr_05() -> None:
    station = given(ONLINE)
    station.with_csms(of_family(), in_transaction(1))
    station = given(ONLINE)
    station.with_csms(of_family(), plugged(1), presented(ALICE, evse_id=1), charging(1))
    said = station.when(presented(BOB, evse_id=1))
    assert queued(said, "Authorize")
    assert held_at(station) == {1: ALICE.ref}
    said = station.when(answers("Authorize", **judged("Accepted", groupIdToken=id_token(FAMILY))))
    [end] = of_kind(said, AuthorizationEnded)
    assert end.id_token == BOB
    [ended] = queued(station.when(discharged(1)), "TransactionEvent")
    assert ended["idToken"] == id_token(BOB)  # E07.FR.02


def family_charges() -> Station:
    """Alice charges, Bob is cached as of the same group."""
    station = given(ONLINE)
    station.with_csms(of_family(), presented(BOB, evse_id=2), presented(BOB))
    station.with_csms(of_family(), plugged(1), presented(ALICE, evse_id=1), charging(1))
    return station


def test_a_cached_token_of_the_group_stops_without_asking_c09_fr_07() -> None:
    said = family_charges().when(presented(BOB, evse_id=1))
    assert not queued(said, "Authorize")
    assert of_kind(said, AuthorizationEnded)


def test_a_token_of_the_group_that_is_not_accepted_stops_nothing_c09_fr_11() -> None:
    station = given(ONLINE)
    station.with_csms(of_family(), plugged(1), presented(ALICE, evse_id=1), charging(1))
    blocked = judged("Blocked", groupIdToken=id_token(FAMILY))
    said = station.when(presented(BOB, evse_id=1), answers("Authorize", **blocked))
    assert not of_kind(said, AuthorizationEnded)
    said = station.when(presented(BOB, evse_id=1))  # cached now, as blocked
    assert not of_kind(said, AuthorizationEnded)


def test_a_token_of_another_group_stops_nothing_c09_fr_03() -> None:
    station = given(ONLINE)
    station.with_csms(of_family(), plugged(1), presented(ALICE, evse_id=1), charging(1))
    others = judged("Accepted", groupIdToken=id_token(token("others", "Central")))
    said = station.when(presented(BOB, evse_id=1), answers("Authorize", **others))
    assert not of_kind(said, AuthorizationEnded)
    assert of_kind(said, AuthorizationRefused)


def test_the_group_may_be_told_by_the_transaction_event_c09_fr_12() -> None:
    station = given(ONLINE, plugged(1))
    station.when(presented(ALICE), answers("Authorize", **judged("Accepted")))
    station.when(answers("TransactionEvent", **judged("Accepted", groupIdToken=id_token(FAMILY))))
    assert station.transaction.group == FAMILY
    station.when(charging(1))
    station.with_csms(accepting, after(seconds=1))
    station.when(presented(BOB, evse_id=1))
    family = judged("Accepted", groupIdToken=id_token(FAMILY))
    said = station.when(answers("Authorize", **family))
    assert of_kind(said, AuthorizationEnded)


# --- C10, C11, C12: the cache --------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Accepted", "Blocked", "Invalid", "Unknown"])
def test_every_answer_is_cached_whatever_it_says_c10_fr_01_c10_fr_04(status: str) -> None:
    assert known(ALICE, status).state.auth_cache.entries[ALICE.ref].status == status


def test_the_cache_outlives_a_restart_c10_fr_02() -> None:
    station = known(ALICE)
    station.when(restarted(boot_id="boot-2"))
    assert ALICE.ref in station.state.auth_cache.entries


@pytest.mark.parametrize("status", ["Blocked", "Expired"])
def test_a_cached_refusal_is_asked_about_again_c10_fr_03_c12_fr_05(status: str) -> None:
    station = known(ALICE, status)
    station.when(PRE_AUTHORIZE)
    said = station.when(presented(ALICE, evse_id=1))
    assert queued(said, "Authorize")


def test_a_transaction_event_answer_updates_the_cache_c10_fr_05_c12_fr_06() -> None:
    station = given(ONLINE, plugged(1))
    station.when(presented(ALICE), answers("Authorize", **judged("Accepted")))
    said = station.when(answers("TransactionEvent", **judged("Blocked")))
    assert [one.status for one in of_kind(said, CacheUpdated)] == ["Blocked"]
    assert station.state.auth_cache.entries[ALICE.ref].status == "Blocked"


def test_also_when_the_transaction_is_long_over_c10_fr_05() -> None:
    station = known(ALICE)
    station.when(plugged(1), LINK_LOST, presented(ALICE), charging(1), presented(ALICE))
    station.when(discharged(1), unplugged(1), restarted(boot_id="boot-2"))
    station.with_csms(saying(TransactionEvent=judged("Blocked")), LINK_OPENED)
    assert station.state.auth_cache.entries[ALICE.ref].status == "Blocked"


def test_a_full_cache_forgets_refusals_first_then_the_oldest_c10_fr_07(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(c_authorization, "CACHE_MAX", 3)
    station = given(ONLINE)
    for name, status in (("a", "Accepted"), ("b", "Blocked"), ("c", "Accepted")):
        csms = saying(Authorize=judged(status))
        station.with_csms(csms, presented(token(name), evse_id=1))
        if station.state.authorizations.held:
            station.with_csms(csms, presented(token(name)))
    assert set(station.state.auth_cache.entries) == {"#a", "#b", "#c"}
    station.with_csms(accepting, presented(token("d"), evse_id=1), presented(token("d")))
    assert set(station.state.auth_cache.entries) == {"#a", "#c", "#d"}
    station.with_csms(accepting, presented(token("e"), evse_id=1))
    assert set(station.state.auth_cache.entries) == {"#c", "#d", "#e"}


def test_an_entry_expires_by_its_life_time_c10_fr_08_c10_fr_10() -> None:
    station = given(preset("AuthCacheCtrlr.LifeTime", "100"), PRE_AUTHORIZE, ONLINE)
    station.with_csms(accepting, presented(ALICE, evse_id=1), presented(ALICE))
    station.with_csms(accepting, after(seconds=100))
    said = station.when(presented(ALICE, evse_id=1))
    assert [one.ref for one in of_kind(said, CacheExpired)] == [ALICE.ref]
    assert queued(said, "Authorize")


def test_life_time_counts_from_the_last_use_c10_fr_08() -> None:
    station = given(preset("AuthCacheCtrlr.LifeTime", "100"), PRE_AUTHORIZE, ONLINE)
    station.with_csms(accepting, presented(ALICE, evse_id=1), presented(ALICE))
    station.with_csms(accepting, after(seconds=99))
    station.with_csms(accepting, presented(ALICE, evse_id=1), presented(ALICE))
    station.with_csms(accepting, after(seconds=99))
    assert not queued(station.when(presented(ALICE, evse_id=1)), "Authorize")


def test_an_entry_expires_when_the_csms_says_c10_fr_13() -> None:
    station = given(PRE_AUTHORIZE, ONLINE)
    info = judged("Accepted", cacheExpiryDateTime="2026-03-01T13:00:10+01:00")
    station.with_csms(saying(Authorize=info), presented(ALICE, evse_id=1), presented(ALICE))
    assert station.state.auth_cache.entries[ALICE.ref].until == "2026-03-01T12:00:10.000Z"
    station.with_csms(accepting, after(seconds=10))
    assert queued(station.when(presented(ALICE, evse_id=1)), "Authorize")


def test_without_a_cache_nothing_is_kept_c10_fr_11() -> None:
    station = given(NO_CACHE, PRE_AUTHORIZE, ONLINE)
    station.with_csms(accepting, presented(ALICE, evse_id=1), presented(ALICE))
    assert not station.state.auth_cache.entries
    assert queued(station.when(presented(ALICE, evse_id=1)), "Authorize")


def test_a_random_uid_is_not_cached() -> None:
    station = given(ONLINE)
    station.with_csms(accepting, presented(ALICE, evse_id=1, lasting=False))
    assert held_at(station)
    assert not station.state.auth_cache.entries


def test_clear_cache_forgets_everybody_c11_fr_01_c11_fr_03() -> None:
    station = known(ALICE)
    assert reply_in(station.when(called("ClearCache"))) == {"status": "Accepted"}
    assert not station.state.auth_cache.entries


def test_a_cache_that_is_off_cannot_be_cleared_c11_fr_04() -> None:
    station = given(NO_CACHE, ONLINE)
    assert reply_in(station.when(called("ClearCache")))["status"] == "Rejected"


def test_a_cached_token_begins_without_asking_c12_fr_02_c12_fr_04() -> None:
    station = known(ALICE)
    station.when(PRE_AUTHORIZE, plugged(1))
    said = station.when(presented(ALICE))
    assert not queued(said, "Authorize")
    [started] = queued(said, "TransactionEvent")
    assert started["idToken"] == id_token(ALICE)
    assert station.level.evses[0].energy


def test_without_pre_authorization_a_cached_token_is_asked_about_c01_fr_05() -> None:
    station = known(ALICE)
    assert queued(station.when(plugged(1), presented(ALICE)), "Authorize")


def test_without_remote_authorization_only_the_cache_counts() -> None:
    station = known(ALICE)
    station.when(preset("AuthCtrlr.DisableRemoteAuthorization", "true"))
    said = station.when(presented(BOB, evse_id=1))
    assert not queued(said, "Authorize")
    assert of_kind(said, AuthorizationRefused)
    assert of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationGranted)


# --- Offline -------------------------------------------------------------------------------------


def test_offline_a_cached_token_may_charge_c01_c12() -> None:
    station = known(ALICE)
    station.when(LINK_LOST, plugged(1), presented(ALICE))
    assert held_at(station) == {1: ALICE.ref}
    assert station.transaction.id_token == ALICE


def test_offline_a_token_for_other_evses_is_refused_as_one_c01_fr_21() -> None:
    station = known(ALICE, evseId=[2])
    said = station.when(LINK_LOST, plugged(1), presented(ALICE, evse_id=1))
    [refused] = of_kind(said, AuthorizationRefused)
    assert refused.status == "NotAllowedTypeEVSE"


def test_offline_a_cached_refusal_counts() -> None:
    station = known(ALICE, "Blocked")
    station.when(UNKNOWN_OFFLINE, LINK_LOST, plugged(1), presented(ALICE))
    assert not held_at(station)


def test_offline_without_local_authorization_the_cache_does_not_count() -> None:
    station = known(ALICE)
    station.when(preset("AuthCtrlr.LocalAuthorizeOffline", "false"), LINK_LOST, plugged(1))
    station.when(presented(ALICE))
    assert not held_at(station)


def test_offline_an_unknown_token_may_not_charge() -> None:
    station = given(ONLINE, LINK_LOST, plugged(1), presented(ALICE))
    assert not held_at(station)


def test_offline_an_unknown_token_may_charge_where_that_is_allowed_c15_fr_08() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, LINK_LOST, plugged(1), presented(ALICE))
    assert held_at(station) == {1: ALICE.ref}


def test_an_unknown_token_is_not_cached_for_that_c15_fr_01() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, LINK_LOST, plugged(1), presented(ALICE), charging(1))
    station.with_csms(accepting, LINK_OPENED)
    assert not station.state.auth_cache.entries


def test_what_began_offline_is_told_and_ends_if_refused_c15_fr_02_c15_fr_04() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, LINK_LOST, plugged(1), presented(ALICE), charging(1))
    csms = saying(TransactionEvent=judged("Invalid"))
    said = station.with_csms(csms, LINK_OPENED, discharged(1))
    assert told(said)[-1] == ("Ended", "Deauthorized")


def test_c15_fr_03_only_the_energy_stops_where_txstoppoint_is_evconnected() -> None:
    station = given(
        preset("TxCtrlr.TxStopPoint", "EVConnected"),
        UNKNOWN_OFFLINE,
        ONLINE,
        LINK_LOST,
        plugged(1),
        presented(ALICE),
        charging(1),
    )
    said = station.with_csms(saying(TransactionEvent=judged("Invalid")), LINK_OPENED)
    assert ("Updated", "Deauthorized") in told(said)
    assert station.transaction.stopping is None
    assert not station.level.evses[0].energy


@pytest.mark.parametrize(("energy_wh", "flows"), [(None, False), ("500", True)])
def test_or_it_goes_on_without_energy_or_with_some_c15_fr_06_c15_fr_07(
    energy_wh: str | None, flows: bool
) -> None:
    station = given(
        preset("TxCtrlr.StopTxOnInvalidId", "false"),
        *([preset("TxCtrlr.MaxEnergyOnInvalidId", energy_wh)] if energy_wh else []),
        UNKNOWN_OFFLINE,
        ONLINE,
        LINK_LOST,
        plugged(1),
        presented(ALICE),
        charging(1),
    )
    csms = saying(TransactionEvent=judged("Invalid"))
    station.with_csms(csms, read(1, "1000.0"), LINK_OPENED)
    assert station.transaction.stopping is None
    assert station.level.evses[0].energy is flows
    station.with_csms(csms, read(1, "1499.9"))
    assert station.level.evses[0].energy is flows
    station.with_csms(csms, read(1, "1500.0"))
    assert not station.level.evses[0].energy


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_offline_since_the_start_a_known_station_serves(boot_id: str) -> None:
    station = known(ALICE)
    station.when(restarted(boot_id=boot_id), IDLE, plugged(1), presented(ALICE))
    assert held_at(station) == {1: ALICE.ref}


def test_a_station_that_was_never_accepted_serves_nobody_b03_fr_01() -> None:
    station = given(UNKNOWN_OFFLINE, BOOTED, IDLE, plugged(1), presented(ALICE))
    assert not held_at(station)


def test_unless_it_may_begin_before_acceptance_b02_fr_03_b03_fr_01() -> None:
    station = given(
        UNKNOWN_OFFLINE,
        preset("TxCtrlr.TxBeforeAcceptedEnabled", "true"),
        BOOTED,
        IDLE,
        plugged(1),
        presented(ALICE),
    )
    assert held_at(station) == {1: ALICE.ref}


@pytest.mark.parametrize(
    "silence", [LINK_LOST, after(seconds=30), errs("InternalError"), answers("Authorize")]
)
def test_a_question_without_an_answer_is_judged_as_offline(silence: Step) -> None:
    station = known(ALICE)
    station.when(plugged(1), plugged(2), presented(ALICE, evse_id=1))
    station.when(answers("StatusNotification"), answers("StatusNotification"))
    station.when(silence)
    assert held_at(station) == {1: ALICE.ref}
    station = given(ONLINE, plugged(1))
    station.when(presented(ALICE), silence)
    assert held_at(station) == {}


def test_of_two_who_asked_for_one_evse_only_the_first_charges_when_the_link_breaks() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, plugged(1))
    said = station.when(presented(ALICE, evse_id=1), presented(BOB, evse_id=1), LINK_LOST)
    assert held_at(station) == {1: ALICE.ref}
    assert [one.id_token for one in of_kind(said, AuthorizationRefused)] == [BOB]


def test_who_asked_for_what_is_taken_meanwhile_does_not_charge() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, plugged(1))
    central = id_token(token("c", "Central"))
    station.when(
        presented(ALICE, evse_id=1),
        called("RequestStartTransaction", remoteStartId=5, evseId=1, idToken=central),
        LINK_LOST,
    )
    assert held_at(station) == {1: "#c"}


def test_who_plugged_in_while_the_csms_was_silent_charges_there() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE)
    station.when(presented(ALICE), plugged(2), LINK_LOST)
    assert held_at(station) == {2: ALICE.ref}


def test_an_evse_that_does_not_exist_serves_nobody() -> None:
    station = given(ONLINE)
    station.with_csms(accepting, presented(ALICE, evse_id=7))
    assert held_at(station) == {}


# --- AQ-8: which EVSE a card means ---------------------------------------------------------------


def test_the_evse_that_is_named_is_meant() -> None:
    station = given(ONLINE, plugged(1), plugged(2), presented(ALICE, evse_id=1))
    assert held_at(station) == {1: ALICE.ref}


def test_where_the_token_charges_it_stops_though_another_evse_waits() -> None:
    station = given(ONLINE, in_transaction(1), plugged(2), presented(ALICE))
    assert held_at(station) == {}


def test_the_evse_plugged_in_last_is_meant() -> None:
    station = given(ONLINE, plugged(1), plugged(2), presented(ALICE))
    assert held_at(station) == {2: ALICE.ref}
    station = given(ONLINE, plugged(2), plugged(1), presented(ALICE))
    assert held_at(station) == {1: ALICE.ref}


def test_then_the_one_before() -> None:
    station = given(ONLINE, plugged(1), plugged(2), presented(ALICE), presented(BOB))
    assert held_at(station) == {2: ALICE.ref, 1: BOB.ref}


def test_an_evse_that_waits_is_meant_before_a_group_is_stopped() -> None:
    station = family_charges()
    station.with_csms(of_family(), plugged(2), presented(BOB))
    assert held_at(station) == {1: ALICE.ref, 2: BOB.ref}


def test_a_group_is_stopped_before_somebody_waits_for_a_cable() -> None:
    station = family_charges()
    station.when(presented(BOB))
    assert held_at(station) == {}


def test_the_next_cable_is_meant() -> None:
    station = given(ONLINE, presented(ALICE))
    assert held_at(station) == {None: ALICE.ref}
    said = station.when(plugged(2))
    assert [one.evse_id for one in of_kind(said, AuthorizationBound)] == [2]
    assert held_at(station) == {2: ALICE.ref}


def test_whoever_waits_longest_gets_the_next_cable() -> None:
    station = given(ONLINE, presented(ALICE), presented(BOB), plugged(2))
    assert held_at(station) == {2: ALICE.ref, None: BOB.ref}
    station.when(plugged(1))
    assert held_at(station) == {2: ALICE.ref, 1: BOB.ref}


def test_no_more_may_wait_than_there_are_evses() -> None:
    station = given(ONLINE, presented(ALICE), presented(BOB), presented(token("carol")))
    assert set(held_at(station).values()) <= {ALICE.ref, BOB.ref}
    assert len(station.state.authorizations.held) == 2


def test_a_faulted_evse_is_not_meant() -> None:
    station = given(ONLINE, plugged(1), plugged(2), faulted(2), presented(ALICE))
    assert held_at(station) == {1: ALICE.ref}


def test_an_inoperative_evse_is_not_meant() -> None:
    station = given(ONLINE, plugged(1), plugged(2))
    station.when(called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 2}))
    station.with_csms(accepting, presented(ALICE))
    assert held_at(station) == {1: ALICE.ref}


def test_the_evse_may_be_taken_while_the_csms_thinks() -> None:
    station = given(ONLINE, plugged(1))
    station.when(presented(ALICE, evse_id=1))
    station.when(presented(BOB, evse_id=1))
    said = station.with_csms(accepting, after(seconds=0))
    assert held_at(station) == {1: ALICE.ref}
    assert [one.id_token for one in of_kind(said, AuthorizationRefused)] == [BOB]


# --- The cable and the right ---------------------------------------------------------------------


def test_a_right_without_a_cable_runs_out_c01_fr_26_e03_fr_05() -> None:
    station = given(preset("TxCtrlr.EVConnectionTimeOut", "50"), ONLINE, presented(ALICE))
    assert not of_kind(station.when(after(seconds=49)), AuthorizationEnded)
    [ended] = of_kind(station.when(after(seconds=1)), AuthorizationEnded)
    assert ended.stopped_reason == "Timeout"


def test_a_right_does_not_wait_through_a_power_cut() -> None:
    station = given(ONLINE, presented(ALICE), restarted(boot_id="boot-2", gap_s=5))
    assert held_at(station) == {}
    station.when(IDLE, plugged(1))
    assert held_at(station) == {}


def test_a_cable_that_is_pulled_before_anything_began_leaves_the_time_to_come_back() -> None:
    station = given(
        preset("TxCtrlr.TxStartPoint", "EnergyTransfer"),
        preset("TxCtrlr.EVConnectionTimeOut", "50"),
        ONLINE,
        plugged(1),
        presented(ALICE),
        after(seconds=1000),
        unplugged(1),
    )
    assert held_at(station) == {1: ALICE.ref}
    station.when(after(seconds=49))
    assert held_at(station) == {1: ALICE.ref}
    station.when(after(seconds=1))
    assert held_at(station) == {}


def test_where_nobody_need_be_authorised_a_cable_is_enough_c01_fr_01() -> None:
    station = given(preset("AuthCtrlr.Enabled", "false"), ONLINE, plugged(1))
    assert station.level.evses[0].energy
    [event] = [station.payload(entry.seq) for entry in station.entries if is_event(entry.event)]
    assert event["idToken"] == {"idToken": "", "type": "NoAuthorization"}


def is_event(event: object) -> bool:
    return getattr(event, "action", "") == "TransactionEvent" and hasattr(event, "payload")


def test_hostile_answers_change_nothing() -> None:
    station = given(ONLINE, plugged(1))
    station.when(presented(ALICE))
    said = station.when(several(answers("Authorize", idTokenInfo={"status": "Yes"})))
    assert held_at(station) == {}
    assert of_kind(said, AuthorizationRefused)


def test_a_clear_cache_with_a_surplus_field_is_no_message() -> None:
    assert error_in(given(ONLINE).when(called("ClearCache", all=True))) == "ProtocolError"
