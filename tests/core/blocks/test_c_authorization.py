"""Authorization: idTokens, the cache, groups, and the EVSE an idToken means. Block C, AQ-8."""

from __future__ import annotations

import pytest

from journal.events import IdToken
from journal.projections.auth_cache import AuthCacheEntryExpired, AuthCacheUpdated
from journal.projections.authorizations import (
    AuthorizationBoundToEvse,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
)
from journal.projections.security import SecurityEventLogged
from station.core.blocks import c_authorization, c_authorization_cache
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    FAMILY,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    CsmsBehavior,
    Json,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    csms_answers,
    device_faulted,
    error_code_in,
    error_received,
    event_triggers,
    given,
    id_token_named,
    id_token_payload,
    in_transaction,
    meter_read,
    of_kind,
    presented,
    queued_payloads,
    response_payload_in,
    result_received_for,
    shown_at,
    station_restarted,
    time_passed,
    variable_preset,
)

PRE_AUTHORIZE = variable_preset("AuthCtrlr.LocalPreAuthorize", "true")
SECOND_TAP_OVER = time_passed(seconds=c_authorization.SECOND_TAP_MS / 1000)
UNKNOWN_OFFLINE = variable_preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
NO_CACHE = variable_preset("AuthCacheCtrlr.Enabled", "false")


def id_token_info(status: str, **info: object) -> Json:
    return {"idTokenInfo": {"status": status, **info}}


def csms_responding(**answer: Json) -> CsmsBehavior:
    """A CSMS that accepts everything but answers some actions differently."""
    return lambda action, payload: answer.get(action, accept_everything(action, payload))


def csms_with_one_group() -> CsmsBehavior:
    """A CSMS that answers the same group for every idToken."""
    known = id_token_info("Accepted", groupIdToken=id_token_payload(FAMILY))
    return csms_responding(Authorize=known)


def station_with_cached_token(
    id_token: IdToken, status: str = "Accepted", **info: object
) -> Station:
    """A station with a cached idToken and no authorization."""
    station = given(ONLINE)
    station.with_csms(
        csms_responding(Authorize=id_token_info(status, **info)), presented(id_token, evse_id=1)
    )
    if station.state.authorizations.active:
        station.with_csms(accept_everything, SECOND_TAP_OVER, presented(id_token))
    assert not station.state.authorizations.active
    return station


def active_tokens(station: Station) -> dict[int | None, str]:
    """EVSE -> the reference of its active authorization."""
    return {
        authorization.evse_id: authorization.id_token.ref
        for authorization in station.state.authorizations.active
    }


# --- C01: asking ---------------------------------------------------------------------------------


def test_no_energy_before_authorization_c01_fr_01() -> None:
    station = given(ONLINE, cable_plugged(1))
    assert not station.desired.evses[0].energy_allowed
    station.when(presented(ALICE))
    assert not station.desired.evses[0].energy_allowed
    station.when(result_received_for("Authorize", **id_token_info("Accepted")))
    assert station.desired.evses[0].energy_allowed
    assert not station.desired.evses[1].energy_allowed


def test_an_unknown_token_is_asked_about_c01_fr_02() -> None:
    [request] = queued_payloads(given(ONLINE, cable_plugged(1)).when(presented(ALICE)), "Authorize")
    assert request == {"idToken": id_token_payload(ALICE)}


def test_the_same_token_twice_is_asked_about_once_c01_fr_02() -> None:
    decisions = given(ONLINE, cable_plugged(1)).when(presented(ALICE), presented(ALICE))
    assert len(queued_payloads(decisions, "Authorize")) == 1


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
def test_an_id_token_the_csms_refuses_does_not_charge_c01_fr_07(status: str) -> None:
    station = given(ONLINE, cable_plugged(1))
    decisions = station.when(
        presented(ALICE), result_received_for("Authorize", **id_token_info(status))
    )
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert refused.status == status
    assert not station.desired.evses[0].energy_allowed
    assert not station.state.transactions.open


def test_the_same_token_ends_what_it_began_c01_fr_03() -> None:
    decisions = given(ONLINE, in_transaction(1)).when(presented(ALICE))
    assert [decision.stopped_reason for decision in of_kind(decisions, AuthorizationEnded)] == [
        "Local"
    ]
    assert not queued_payloads(decisions, "Authorize")


def test_the_same_value_of_another_type_is_another_id_token_c01_fr_25() -> None:
    station = given(ONLINE, in_transaction(1, id_token_named("alice", "ISO14443")))
    station.when(presented(id_token_named("alice", "ISO15693"), evse_id=1))
    assert station.open_transaction.stop_order is None
    assert station.desired.evses[0].energy_allowed


def test_additional_info_does_not_tell_tokens_apart_c01_fr_25() -> None:
    station = given(ONLINE, cable_plugged(1))
    additional = [{"additionalIdToken": "#more", "type": "vendor"}]
    who = id_token_payload(ALICE) | {"additionalInfo": additional}
    station.with_csms(
        accept_everything,
        called("RequestStartTransaction", idToken=who, remoteStartId=1, evseId=1),
        charging_started(1),
    )
    assert station.desired.evses[0].energy_allowed
    station.when(presented(ALICE, evse_id=1))
    assert not station.desired.evses[0].energy_allowed


def test_only_the_evses_the_csms_names_c01_fr_21() -> None:
    station = given(ONLINE, cable_plugged(1))
    decisions = station.when(
        presented(ALICE), result_received_for("Authorize", **id_token_info("Accepted", evseId=[2]))
    )
    assert not active_tokens(station)
    assert of_kind(decisions, AuthorizationRefused)


def test_a_person_waiting_gets_only_an_evse_the_csms_named_c01_fr_21() -> None:
    station = given(ONLINE)
    station.when(
        presented(ALICE), result_received_for("Authorize", **id_token_info("Accepted", evseId=[2]))
    )
    station.when(cable_plugged(1))
    assert active_tokens(station) == {None: ALICE.ref}
    station.when(cable_plugged(2))
    assert active_tokens(station) == {2: ALICE.ref}


def test_a_cached_token_keeps_to_the_evses_the_csms_named_c01_fr_21() -> None:
    station = station_with_cached_token(ALICE, evseId=[1])
    station.when(PRE_AUTHORIZE, cable_plugged(2))
    decisions = station.when(presented(ALICE, evse_id=2))
    assert not of_kind(decisions, AuthorizationGranted)


def test_another_id_token_cannot_take_over_an_open_transaction_c01_fr_23() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStopPoint", "EVConnected"),
        ONLINE,
        in_transaction(1),
        presented(ALICE),
    )
    station.with_csms(accept_everything, presented(BOB, evse_id=1))
    assert not active_tokens(station)
    assert station.open_transaction.id_token == ALICE


def test_the_id_token_that_began_it_may_charge_again_e02_fr_20() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStopPoint", "EVConnected"),
        ONLINE,
        in_transaction(1),
        presented(ALICE),
    )
    decisions = station.with_csms(accept_everything, presented(ALICE, evse_id=1))
    assert active_tokens(station) == {1: ALICE.ref}
    assert ("Updated", "Authorized") in event_triggers(decisions)


# --- C03, C05: the CSMS's own tokens -------------------------------------------------------------


def test_a_token_of_the_csms_is_not_asked_about_c03_fr_01_c05_fr_01() -> None:
    station = given(ONLINE, cable_plugged(1))
    central = id_token_named("c", "Central")
    decisions = station.when(
        called(
            "RequestStartTransaction", remoteStartId=5, evseId=1, idToken=id_token_payload(central)
        )
    )
    assert not queued_payloads(decisions, "Authorize")
    [started] = queued_payloads(decisions, "TransactionEvent")
    assert started["idToken"] == id_token_payload(central)  # C05.FR.05
    assert started["transactionInfo"]["remoteStartId"] == 5  # C05.FR.03


def test_a_token_of_the_csms_is_not_cached_c03_fr_02_c05_fr_02() -> None:
    station = given(ONLINE, cable_plugged(1))
    central = id_token_payload(id_token_named("c", "Central"))
    start = called("RequestStartTransaction", remoteStartId=5, evseId=1, idToken=central)
    decisions = station.with_csms(accept_everything, start)
    assert not of_kind(decisions, AuthCacheUpdated)
    assert not station.state.auth_cache.entries


# --- C09: groups ---------------------------------------------------------------------------------


def test_a_token_of_the_same_group_may_stop_c09_fr_03_c09_fr_05() -> None:
    station = given(ONLINE)
    station.with_csms(csms_with_one_group(), in_transaction(1))
    station = given(ONLINE)
    station.with_csms(
        csms_with_one_group(), cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1)
    )
    decisions = station.when(presented(BOB, evse_id=1))
    assert queued_payloads(decisions, "Authorize")
    assert active_tokens(station) == {1: ALICE.ref}
    decisions = station.when(
        result_received_for(
            "Authorize", **id_token_info("Accepted", groupIdToken=id_token_payload(FAMILY))
        )
    )
    [end] = of_kind(decisions, AuthorizationEnded)
    assert end.ended_by_id_token == BOB
    [ended] = queued_payloads(station.when(charging_stopped(1)), "TransactionEvent")
    assert ended["idToken"] == id_token_payload(BOB)  # E07.FR.02


def charging_with_group() -> Station:
    """Alice charges, Bob is cached as of the same group."""
    station = given(ONLINE)
    station.with_csms(
        csms_with_one_group(), presented(BOB, evse_id=2), SECOND_TAP_OVER, presented(BOB)
    )
    station.with_csms(
        csms_with_one_group(), cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1)
    )
    return station


def test_a_cached_token_of_the_group_stops_without_asking_c09_fr_07() -> None:
    decisions = charging_with_group().when(presented(BOB, evse_id=1))
    assert not queued_payloads(decisions, "Authorize")
    assert of_kind(decisions, AuthorizationEnded)


def test_a_token_of_the_group_that_is_not_accepted_stops_nothing_c09_fr_11() -> None:
    station = given(ONLINE)
    station.with_csms(
        csms_with_one_group(), cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1)
    )
    blocked = id_token_info("Blocked", groupIdToken=id_token_payload(FAMILY))
    decisions = station.when(presented(BOB, evse_id=1), result_received_for("Authorize", **blocked))
    assert not of_kind(decisions, AuthorizationEnded)
    decisions = station.when(presented(BOB, evse_id=1))  # cached now, as blocked
    assert not of_kind(decisions, AuthorizationEnded)


def test_a_token_of_another_group_stops_nothing_c09_fr_03() -> None:
    station = given(ONLINE)
    station.with_csms(
        csms_with_one_group(), cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1)
    )
    others = id_token_info(
        "Accepted", groupIdToken=id_token_payload(id_token_named("others", "Central"))
    )
    decisions = station.when(presented(BOB, evse_id=1), result_received_for("Authorize", **others))
    assert not of_kind(decisions, AuthorizationEnded)
    assert of_kind(decisions, AuthorizationRefused)


def test_the_group_may_come_with_a_transaction_event_response_c09_fr_12() -> None:
    station = given(ONLINE, cable_plugged(1))
    station.when(presented(ALICE), result_received_for("Authorize", **id_token_info("Accepted")))
    station.when(
        result_received_for(
            "TransactionEvent", **id_token_info("Accepted", groupIdToken=id_token_payload(FAMILY))
        )
    )
    assert station.open_transaction.group_id_token == FAMILY
    station.when(charging_started(1))
    station.with_csms(accept_everything, time_passed(seconds=1))
    station.when(presented(BOB, evse_id=1))
    family = id_token_info("Accepted", groupIdToken=id_token_payload(FAMILY))
    decisions = station.when(result_received_for("Authorize", **family))
    assert of_kind(decisions, AuthorizationEnded)


# --- C10, C11, C12: the cache --------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Accepted", "Blocked", "Invalid", "Unknown"])
def test_every_answer_is_cached_whatever_its_status_c10_fr_01_c10_fr_04(status: str) -> None:
    assert (
        station_with_cached_token(ALICE, status).state.auth_cache.entries[ALICE.ref].status
        == status
    )


def test_the_cache_outlives_a_restart_c10_fr_02() -> None:
    station = station_with_cached_token(ALICE)
    station.when(station_restarted(boot_id="boot-2"))
    assert ALICE.ref in station.state.auth_cache.entries


@pytest.mark.parametrize("status", ["Blocked", "Expired"])
def test_a_cached_refusal_is_asked_about_again_c10_fr_03_c12_fr_05(status: str) -> None:
    station = station_with_cached_token(ALICE, status)
    station.when(PRE_AUTHORIZE)
    decisions = station.when(presented(ALICE, evse_id=1))
    assert queued_payloads(decisions, "Authorize")


def test_a_transaction_event_answer_updates_the_cache_c10_fr_05_c12_fr_06() -> None:
    station = given(ONLINE, cable_plugged(1))
    station.when(presented(ALICE), result_received_for("Authorize", **id_token_info("Accepted")))
    decisions = station.when(result_received_for("TransactionEvent", **id_token_info("Blocked")))
    assert [decision.status for decision in of_kind(decisions, AuthCacheUpdated)] == ["Blocked"]
    assert station.state.auth_cache.entries[ALICE.ref].status == "Blocked"


def test_also_when_the_transaction_is_long_over_c10_fr_05() -> None:
    station = station_with_cached_token(ALICE)
    station.when(
        cable_plugged(1), LINK_LOST, presented(ALICE), charging_started(1), presented(ALICE)
    )
    station.when(charging_stopped(1), cable_unplugged(1), station_restarted(boot_id="boot-2"))
    station.with_csms(csms_responding(TransactionEvent=id_token_info("Blocked")), LINK_OPENED)
    assert station.state.auth_cache.entries[ALICE.ref].status == "Blocked"


def test_a_full_cache_forgets_refusals_first_then_the_oldest_c10_fr_07(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(c_authorization_cache, "CACHE_ENTRIES_MAX", 3)
    station = given(ONLINE)
    for name, status in (("a", "Accepted"), ("b", "Blocked"), ("c", "Accepted")):
        csms = csms_responding(Authorize=id_token_info(status))
        station.with_csms(csms, presented(id_token_named(name), evse_id=1))
        if station.state.authorizations.active:
            station.with_csms(csms, SECOND_TAP_OVER, presented(id_token_named(name)))
    assert set(station.state.auth_cache.entries) == {"#a", "#b", "#c"}
    station.with_csms(
        accept_everything,
        presented(id_token_named("d"), evse_id=1),
        SECOND_TAP_OVER,
        presented(id_token_named("d")),
    )
    assert set(station.state.auth_cache.entries) == {"#a", "#c", "#d"}
    station.with_csms(accept_everything, presented(id_token_named("e"), evse_id=1))
    assert set(station.state.auth_cache.entries) == {"#c", "#d", "#e"}


def test_an_entry_expires_by_its_life_time_c10_fr_08_c10_fr_10() -> None:
    station = given(variable_preset("AuthCacheCtrlr.LifeTime", "100"), PRE_AUTHORIZE, ONLINE)
    station.with_csms(accept_everything, presented(ALICE, evse_id=1), presented(ALICE))
    station.with_csms(accept_everything, time_passed(seconds=100))
    decisions = station.when(presented(ALICE, evse_id=1))
    assert [decision.ref for decision in of_kind(decisions, AuthCacheEntryExpired)] == [ALICE.ref]
    assert queued_payloads(decisions, "Authorize")


def test_life_time_counts_from_the_last_use_c10_fr_08() -> None:
    station = given(variable_preset("AuthCacheCtrlr.LifeTime", "100"), PRE_AUTHORIZE, ONLINE)
    station.with_csms(accept_everything, presented(ALICE, evse_id=1), presented(ALICE))
    station.with_csms(accept_everything, time_passed(seconds=99))
    station.with_csms(accept_everything, presented(ALICE, evse_id=1), presented(ALICE))
    station.with_csms(accept_everything, time_passed(seconds=99))
    assert not queued_payloads(station.when(presented(ALICE, evse_id=1)), "Authorize")


def test_an_entry_expires_at_the_time_of_the_csms_c10_fr_13() -> None:
    station = given(PRE_AUTHORIZE, ONLINE)
    info = id_token_info("Accepted", cacheExpiryDateTime="2026-03-01T13:00:10+01:00")
    station.with_csms(
        csms_responding(Authorize=info),
        presented(ALICE, evse_id=1),
        SECOND_TAP_OVER,
        presented(ALICE),
    )
    assert station.state.auth_cache.entries[ALICE.ref].expires_at == "2026-03-01T12:00:10.000Z"
    station.with_csms(accept_everything, time_passed(seconds=10))
    assert queued_payloads(station.when(presented(ALICE, evse_id=1)), "Authorize")


def test_without_a_cache_nothing_is_kept_c10_fr_11() -> None:
    station = given(NO_CACHE, PRE_AUTHORIZE, ONLINE)
    station.with_csms(
        accept_everything, presented(ALICE, evse_id=1), SECOND_TAP_OVER, presented(ALICE)
    )
    assert not station.state.auth_cache.entries
    assert queued_payloads(station.when(presented(ALICE, evse_id=1)), "Authorize")


def test_a_random_uid_is_not_cached() -> None:
    station = given(ONLINE)
    station.with_csms(accept_everything, presented(ALICE, evse_id=1, cacheable=False))
    assert active_tokens(station)
    assert not station.state.auth_cache.entries


def test_clear_cache_forgets_everybody_c11_fr_01_c11_fr_03() -> None:
    station = station_with_cached_token(ALICE)
    assert response_payload_in(station.when(called("ClearCache"))) == {"status": "Accepted"}
    assert not station.state.auth_cache.entries


def test_a_cache_that_is_off_cannot_be_cleared_c11_fr_04() -> None:
    station = given(NO_CACHE, ONLINE)
    assert response_payload_in(station.when(called("ClearCache")))["status"] == "Rejected"


def test_a_cached_token_begins_without_asking_c12_fr_02_c12_fr_04() -> None:
    station = station_with_cached_token(ALICE)
    station.when(PRE_AUTHORIZE, cable_plugged(1))
    decisions = station.when(presented(ALICE))
    assert not queued_payloads(decisions, "Authorize")
    [started] = queued_payloads(decisions, "TransactionEvent")
    assert started["idToken"] == id_token_payload(ALICE)
    assert station.desired.evses[0].energy_allowed


def test_without_pre_authorization_a_cached_token_is_asked_about_c01_fr_05() -> None:
    station = station_with_cached_token(ALICE)
    assert queued_payloads(station.when(cable_plugged(1), presented(ALICE)), "Authorize")


def test_without_remote_authorization_only_the_cache_counts() -> None:
    station = station_with_cached_token(ALICE)
    station.when(variable_preset("AuthCtrlr.DisableRemoteAuthorization", "true"))
    decisions = station.when(presented(BOB, evse_id=1))
    assert not queued_payloads(decisions, "Authorize")
    assert of_kind(decisions, AuthorizationRefused)
    assert of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationGranted)


# --- Offline -------------------------------------------------------------------------------------


def test_offline_a_cached_token_may_charge_c01_c12() -> None:
    station = station_with_cached_token(ALICE)
    station.when(LINK_LOST, cable_plugged(1), presented(ALICE))
    assert active_tokens(station) == {1: ALICE.ref}
    assert station.open_transaction.id_token == ALICE


def test_offline_a_token_for_other_evses_is_refused_as_one_c01_fr_21() -> None:
    station = station_with_cached_token(ALICE, evseId=[2])
    decisions = station.when(LINK_LOST, cable_plugged(1), presented(ALICE, evse_id=1))
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert refused.status == "NotAllowedTypeEVSE"


def test_offline_a_cached_refusal_counts() -> None:
    station = station_with_cached_token(ALICE, "Blocked")
    station.when(UNKNOWN_OFFLINE, LINK_LOST, cable_plugged(1), presented(ALICE))
    assert not active_tokens(station)


def test_offline_without_local_authorization_the_cache_does_not_count() -> None:
    station = station_with_cached_token(ALICE)
    station.when(
        variable_preset("AuthCtrlr.LocalAuthorizeOffline", "false"), LINK_LOST, cable_plugged(1)
    )
    station.when(presented(ALICE))
    assert not active_tokens(station)


def test_offline_an_unknown_token_may_not_charge() -> None:
    station = given(ONLINE, LINK_LOST, cable_plugged(1), presented(ALICE))
    assert not active_tokens(station)


def test_offline_an_unknown_token_may_charge_where_that_is_allowed_c15_fr_08() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, LINK_LOST, cable_plugged(1), presented(ALICE))
    assert active_tokens(station) == {1: ALICE.ref}


def test_an_unknown_token_is_not_cached_for_that_c15_fr_01() -> None:
    station = given(
        UNKNOWN_OFFLINE, ONLINE, LINK_LOST, cable_plugged(1), presented(ALICE), charging_started(1)
    )
    station.with_csms(accept_everything, LINK_OPENED)
    assert not station.state.auth_cache.entries


def test_what_began_offline_is_reported_and_ends_if_refused_c15_fr_02_c15_fr_04() -> None:
    station = given(
        UNKNOWN_OFFLINE, ONLINE, LINK_LOST, cable_plugged(1), presented(ALICE), charging_started(1)
    )
    csms = csms_responding(TransactionEvent=id_token_info("Invalid"))
    decisions = station.with_csms(csms, LINK_OPENED, charging_stopped(1))
    assert event_triggers(decisions)[-1] == ("Ended", "Deauthorized")


def test_c15_fr_03_only_the_energy_stops_where_txstoppoint_is_evconnected() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStopPoint", "EVConnected"),
        UNKNOWN_OFFLINE,
        ONLINE,
        LINK_LOST,
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
    )
    decisions = station.with_csms(
        csms_responding(TransactionEvent=id_token_info("Invalid")), LINK_OPENED
    )
    assert ("Updated", "Deauthorized") in event_triggers(decisions)
    assert station.open_transaction.stop_order is None
    assert not station.desired.evses[0].energy_allowed


@pytest.mark.parametrize(("energy_wh", "flows"), [(None, False), ("500", True)])
def test_or_it_goes_on_without_energy_or_with_some_c15_fr_06_c15_fr_07(
    energy_wh: str | None, flows: bool
) -> None:
    station = given(
        variable_preset("TxCtrlr.StopTxOnInvalidId", "false"),
        *([variable_preset("TxCtrlr.MaxEnergyOnInvalidId", energy_wh)] if energy_wh else []),
        UNKNOWN_OFFLINE,
        ONLINE,
        LINK_LOST,
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
    )
    csms = csms_responding(TransactionEvent=id_token_info("Invalid"))
    station.with_csms(csms, meter_read(1, "1000.0"), LINK_OPENED)
    assert station.open_transaction.stop_order is None
    assert station.desired.evses[0].energy_allowed is flows
    station.with_csms(csms, meter_read(1, "1499.9"))
    assert station.desired.evses[0].energy_allowed is flows
    station.with_csms(csms, meter_read(1, "1500.0"))
    assert not station.desired.evses[0].energy_allowed


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_offline_since_the_start_a_known_station_serves(boot_id: str) -> None:
    station = station_with_cached_token(ALICE)
    station.when(station_restarted(boot_id=boot_id), IDLE, cable_plugged(1), presented(ALICE))
    assert active_tokens(station) == {1: ALICE.ref}


def test_a_station_that_was_never_accepted_starts_no_transaction_b03_fr_01() -> None:
    station = given(UNKNOWN_OFFLINE, BOOTED, IDLE, cable_plugged(1), presented(ALICE))
    assert not active_tokens(station)


def test_unless_it_may_begin_before_acceptance_b02_fr_03_b03_fr_01() -> None:
    station = given(
        UNKNOWN_OFFLINE,
        variable_preset("TxCtrlr.TxBeforeAcceptedEnabled", "true"),
        BOOTED,
        IDLE,
        cable_plugged(1),
        presented(ALICE),
    )
    assert active_tokens(station) == {1: ALICE.ref}


@pytest.mark.parametrize(
    "silence",
    [
        LINK_LOST,
        time_passed(seconds=30),
        error_received("InternalError"),
    ],
)
def test_a_question_without_an_answer_is_judged_as_offline(silence: Step) -> None:
    station = station_with_cached_token(ALICE)
    station.when(cable_plugged(1), cable_plugged(2), presented(ALICE, evse_id=1))
    station.when(
        result_received_for("StatusNotification"), result_received_for("StatusNotification")
    )
    station.when(silence)
    assert active_tokens(station) == {1: ALICE.ref}
    station = given(ONLINE, cable_plugged(1))
    station.when(presented(ALICE), silence)
    assert active_tokens(station) == {}


def test_of_two_who_asked_for_one_evse_only_the_first_charges_when_the_link_breaks() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, cable_plugged(1))
    decisions = station.when(presented(ALICE, evse_id=1), presented(BOB, evse_id=1), LINK_LOST)
    assert active_tokens(station) == {1: ALICE.ref}
    assert [decision.id_token for decision in of_kind(decisions, AuthorizationRefused)] == [BOB]


def test_a_request_for_an_evse_that_was_taken_since_is_refused() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE, cable_plugged(1))
    central = id_token_payload(id_token_named("c", "Central"))
    station.when(
        presented(ALICE, evse_id=1),
        called("RequestStartTransaction", remoteStartId=5, evseId=1, idToken=central),
        LINK_LOST,
    )
    assert active_tokens(station) == {1: "#c"}


def test_an_ev_plugged_in_while_the_csms_did_not_answer_charges() -> None:
    station = given(UNKNOWN_OFFLINE, ONLINE)
    station.when(presented(ALICE), cable_plugged(2), LINK_LOST)
    assert active_tokens(station) == {2: ALICE.ref}


def test_an_evse_that_does_not_exist_is_refused() -> None:
    station = given(ONLINE)
    station.with_csms(accept_everything, presented(ALICE, evse_id=7))
    assert active_tokens(station) == {}


# --- AQ-8: which EVSE a card means ---------------------------------------------------------------


def test_the_evse_that_is_named_is_meant() -> None:
    station = given(ONLINE, cable_plugged(1), cable_plugged(2), presented(ALICE, evse_id=1))
    assert active_tokens(station) == {1: ALICE.ref}


def test_where_the_token_charges_it_stops_though_another_evse_waits() -> None:
    station = given(ONLINE, in_transaction(1), cable_plugged(2), presented(ALICE))
    assert active_tokens(station) == {}


def test_the_evse_plugged_in_last_is_meant() -> None:
    station = given(ONLINE, cable_plugged(1), cable_plugged(2), presented(ALICE))
    assert active_tokens(station) == {2: ALICE.ref}
    station = given(ONLINE, cable_plugged(2), cable_plugged(1), presented(ALICE))
    assert active_tokens(station) == {1: ALICE.ref}


def test_the_second_id_token_means_the_evse_plugged_in_before() -> None:
    station = given(ONLINE, cable_plugged(1), cable_plugged(2), presented(ALICE), presented(BOB))
    assert active_tokens(station) == {2: ALICE.ref, 1: BOB.ref}


def test_an_evse_that_waits_is_meant_before_a_group_is_stopped() -> None:
    station = charging_with_group()
    station.with_csms(csms_with_one_group(), cable_plugged(2), presented(BOB))
    assert active_tokens(station) == {1: ALICE.ref, 2: BOB.ref}


def test_a_token_of_the_group_stops_before_it_waits_for_a_cable() -> None:
    station = charging_with_group()
    station.when(presented(BOB))
    assert active_tokens(station) == {}


def test_the_next_cable_is_meant() -> None:
    station = given(ONLINE, presented(ALICE))
    assert active_tokens(station) == {None: ALICE.ref}
    decisions = station.when(cable_plugged(2))
    assert [decision.evse_id for decision in of_kind(decisions, AuthorizationBoundToEvse)] == [2]
    assert active_tokens(station) == {2: ALICE.ref}


def test_the_authorization_that_waited_longest_gets_the_next_cable() -> None:
    station = given(ONLINE, presented(ALICE), presented(BOB), cable_plugged(2))
    assert active_tokens(station) == {2: ALICE.ref, None: BOB.ref}
    station.when(cable_plugged(1))
    assert active_tokens(station) == {2: ALICE.ref, 1: BOB.ref}


def test_no_more_may_wait_than_there_are_evses() -> None:
    station = given(ONLINE, presented(ALICE), presented(BOB), presented(id_token_named("carol")))
    assert set(active_tokens(station).values()) <= {ALICE.ref, BOB.ref}
    assert len(station.state.authorizations.active) == 2


def test_a_faulted_evse_is_not_meant() -> None:
    station = given(ONLINE, cable_plugged(1), cable_plugged(2), device_faulted(2), presented(ALICE))
    assert active_tokens(station) == {1: ALICE.ref}


def test_an_inoperative_evse_is_not_meant() -> None:
    station = given(ONLINE, cable_plugged(1), cable_plugged(2))
    station.when(called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 2}))
    station.with_csms(accept_everything, presented(ALICE))
    assert active_tokens(station) == {1: ALICE.ref}


def test_the_evse_may_be_taken_while_the_csms_thinks() -> None:
    station = given(ONLINE, cable_plugged(1))
    station.when(presented(ALICE, evse_id=1))
    station.when(presented(BOB, evse_id=1))
    decisions = station.with_csms(accept_everything, time_passed(seconds=0))
    assert active_tokens(station) == {1: ALICE.ref}
    assert [decision.id_token for decision in of_kind(decisions, AuthorizationRefused)] == [BOB]


# --- Answers that cannot be used ------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"idTokenInfo": None},
        {"idTokenInfo": "Accepted"},
        {"idTokenInfo": {}},
        {"idTokenInfo": {"status": "Yes"}},
        {"idTokenInfo": {"status": "accepted"}},
        {"idTokenInfo": {"status": None}},
        {"idTokenInfo": {"status": "Accepted", "evseId": ["one"]}},  # valid there only
    ],
)
def test_an_answer_without_a_usable_status_refuses(answer: Json) -> None:
    """It fails closed: neither the cache nor OfflineTxForUnknownIdEnabled decides instead."""
    station = station_with_cached_token(ALICE)
    station.when(variable_preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true"))
    station.when(cable_plugged(1), csms_answers(), presented(ALICE, evse_id=1))
    decisions = station.when(result_received_for("Authorize", **answer))
    assert active_tokens(station) == {}
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert refused.status == "Unknown"
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert "answer to Authorize: $.idTokenInfo" in logged.tech_info


@pytest.mark.parametrize(
    "surplus",
    [
        {"groupIdToken": None},
        {"cacheExpiryDateTime": ""},
        {"personalMessage": {"content": "Hello"}},
        {"chargingPriority": "1"},
        {"evseId": []},
        {"isNew": True},
    ],
)
def test_an_unusable_field_beside_the_status_refuses_nobody(surplus: Json) -> None:
    station = given(ONLINE, cable_plugged(1))
    station.when(presented(ALICE))
    info = {"status": "Accepted", **surplus}
    decisions = station.when(result_received_for("Authorize", idTokenInfo=info))
    assert active_tokens(station) == {1: ALICE.ref}
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert logged.type == "InvalidMessages"
    assert f"$.idTokenInfo.{next(iter(surplus))}" in logged.tech_info or "isNew" in logged.tech_info


def test_the_usable_evses_of_an_answer_stay_the_only_allowed_ones() -> None:
    station = given(ONLINE, cable_plugged(1))
    station.when(presented(ALICE))
    info = {"status": "Accepted", "evseId": [2, "one"]}
    [refused] = of_kind(
        station.when(result_received_for("Authorize", idTokenInfo=info)), AuthorizationRefused
    )
    assert refused.status == "NotAllowedTypeEVSE"


def test_a_clear_cache_with_a_surplus_field_is_no_message() -> None:
    assert error_code_in(given(ONLINE).when(called("ClearCache", all=True))) == "ProtocolError"


@pytest.mark.parametrize("evse_id", [1, None])
def test_a_second_tap_on_a_card_just_accepted_does_not_stop(evse_id: int | None) -> None:
    station = given(ONLINE, cable_plugged(1))
    station.with_csms(accept_everything, presented(ALICE))
    assert shown_at(station, 1).situation == "evse.connecting"
    assert not of_kind(
        station.when(time_passed(seconds=0.9), presented(ALICE, evse_id)), AuthorizationEnded
    )
    assert active_tokens(station) == {1: ALICE.ref}
    assert shown_at(station, 1).situation == "evse.connecting"
    assert station.desired.display.notice is not None
    assert station.desired.display.notice.words.headline == "card.accepted_here"
    station.when(time_passed(seconds=2.1), presented(ALICE, evse_id))
    assert active_tokens(station) == {}


def test_the_card_stops_at_once_when_energy_flows() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(presented(ALICE))
    assert active_tokens(station) == {}


def test_a_tap_right_after_a_restart_of_the_program_stops_e07_fr_01() -> None:
    """The EV driver presents the card for the second time, whenever the program started."""
    station = given(ONLINE, in_transaction(1), time_passed(seconds=60))
    station.when(station_restarted(), cable_plugged(1))
    assert of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationEnded)


def test_a_csms_that_does_not_answer_has_a_limit_of_waiting_id_tokens_p6() -> None:
    station = given(ONLINE)
    for number in range(c_authorization.PENDING_MAX):
        assert not of_kind(
            station.when(presented(id_token_named(f"card{number}"))), AuthorizationRefused
        )
    assert not station.when(presented(id_token_named("card0")))  # it waits already
    [refused] = of_kind(station.when(presented(ALICE)), AuthorizationRefused)
    assert (refused.status, refused.because) == ("Offline", "too_many_pending/not_cached")
    station.with_csms(accept_everything, csms_answers())
    assert not station.state.authorizations.pending
