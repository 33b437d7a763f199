"""Rules of block C that no other test names: AuthorizeRequests, what is not cached."""

from __future__ import annotations

from tests.support.story import (
    ALICE,
    ONLINE,
    Json,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    given,
    id_token_payload,
    presented,
    queued_payloads,
)

NO_AUTHORIZATION: Json = {"idToken": "", "type": "NoAuthorization"}


def test_only_who_wants_to_charge_is_asked_about_c01_fr_04_c06_fr_03() -> None:
    station = given(ONLINE)
    decisions = station.with_csms(
        accept_everything,
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
        presented(ALICE),
        charging_stopped(1),
    )
    decisions += station.with_csms(accept_everything, cable_unplugged(1))
    assert queued_payloads(decisions, "Authorize") == [{"idToken": id_token_payload(ALICE)}]


def test_an_empty_id_token_is_not_cached_c02_fr_03() -> None:
    station = given(ONLINE, cable_plugged(1))
    requested = called(
        "RequestStartTransaction", remoteStartId=9, evseId=1, idToken=NO_AUTHORIZATION
    )
    decisions = station.with_csms(accept_everything, requested)
    [event] = queued_payloads(decisions, "TransactionEvent")
    assert event["idToken"] == NO_AUTHORIZATION  # and the CSMS answered with an idTokenInfo
    assert not station.state.auth_cache.entries
