"""Rules of block C that no other test names: what an AuthorizeRequest is for, who is not cached."""

from __future__ import annotations

from tests.story import (
    ALICE,
    ONLINE,
    Json,
    accepting,
    called,
    charging,
    discharged,
    given,
    id_token,
    plugged,
    presented,
    queued,
    unplugged,
)

NOBODY: Json = {"idToken": "", "type": "NoAuthorization"}


def test_only_who_wants_to_charge_is_asked_about_c01_fr_04_c06_fr_03() -> None:
    station = given(ONLINE)
    said = station.with_csms(
        accepting, plugged(1), presented(ALICE), charging(1), presented(ALICE), discharged(1)
    )
    said += station.with_csms(accepting, unplugged(1))
    assert queued(said, "Authorize") == [{"idToken": id_token(ALICE)}]


def test_nobody_in_particular_is_not_cached_c02_fr_03() -> None:
    station = given(ONLINE, plugged(1))
    asked = called("RequestStartTransaction", remoteStartId=9, evseId=1, idToken=NOBODY)
    said = station.with_csms(accepting, asked)
    [event] = queued(said, "TransactionEvent")
    assert event["idToken"] == NOBODY  # and the CSMS answered with an idTokenInfo
    assert not station.state.auth_cache.entries
