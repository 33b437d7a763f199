"""Autocharge: the EVCCID of an EV as an idToken of type MacAddress. C-34, C01."""

from __future__ import annotations

import pytest

from journal.events import IdToken
from journal.observations import EvTokenReported
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
)
from station.core.desired import DesiredEvse
from tests.support.story import (
    ALICE,
    IDLE,
    LINK_LOST,
    ONLINE,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    given,
    id_token_named,
    in_transaction,
    of_kind,
    presented,
    queued_payloads,
    station_restarted,
    time_passed,
    variable_preset,
)

EV: IdToken = id_token_named("ev", "MacAddress")
ENABLED = variable_preset("AuthCtrlr.AutochargeEnabled", "true")
REPORTED = EvTokenReported(1, EV)


def desired_evse(station: Station, evse_id: int) -> DesiredEvse:
    return next(evse for evse in station.desired.evses if evse.evse_id == evse_id)


def test_the_csms_authorizes_the_evccid_of_an_ev_c01_fr_02() -> None:
    station = given(ENABLED, ONLINE, cable_plugged(1))
    assert desired_evse(station, 1).identify_ev
    assert not desired_evse(station, 2).identify_ev
    decisions = station.when(REPORTED)
    [requested] = of_kind(decisions, AuthorizationRequested)
    assert (requested.id_token, requested.evse_id) == (EV, 1)
    [payload] = queued_payloads(decisions, "Authorize")
    assert payload["idToken"]["type"] == "MacAddress"
    [granted] = of_kind(station.answer_calls(accept_everything), AuthorizationGranted)
    assert (granted.id_token, granted.evse_id) == (EV, 1)
    assert not desired_evse(station, 1).identify_ev
    assert desired_evse(station, 1).energy_allowed


@pytest.mark.parametrize(
    ("profile_name", "steps"),
    [
        ("development", (ONLINE, cable_plugged(1))),
        ("evs-flash-300", (ONLINE, cable_plugged(1))),
    ],
)
def test_without_the_profile_and_the_variable_nothing_follows(
    profile_name: str, steps: tuple[Step, ...]
) -> None:
    station = given(*steps, profile_name=profile_name)
    assert not station.desired.autocharge
    assert not desired_evse(station, 1).identify_ev
    assert station.when(REPORTED) == []


def test_an_evccid_never_ends_a_transaction() -> None:
    """It is reported again after a restart, and when the EV communicates again."""
    station = given(ENABLED, ONLINE, cable_plugged(1), REPORTED, charging_started(1))
    assert station.open_transaction.id_token == EV
    assert of_kind(station.when(REPORTED, station_restarted(), REPORTED), AuthorizationEnded) == []


def test_after_its_transaction_the_ev_needs_a_new_plug() -> None:
    station = given(ENABLED, ONLINE, cable_plugged(1), REPORTED, charging_started(1))
    station.with_csms(accept_everything, presented(EV, 1), charging_stopped(1))
    assert not station.state.transactions.open
    assert station.when(REPORTED) == []
    assert not desired_evse(station, 1).identify_ev
    station.with_csms(accept_everything, cable_unplugged(1), cable_plugged(1))
    assert desired_evse(station, 1).identify_ev
    assert of_kind(station.when(REPORTED), AuthorizationRequested) != []


def test_a_transaction_that_began_with_the_cable_is_authorized_e02() -> None:
    start_point = variable_preset("TxCtrlr.TxStartPoint", "EVConnected")
    station = given(ENABLED, start_point, ONLINE, cable_plugged(1))
    assert station.open_transaction.id_token is None
    assert desired_evse(station, 1).identify_ev
    station.with_csms(accept_everything, REPORTED)
    assert station.open_transaction.id_token == EV
    assert not desired_evse(station, 1).identify_ev
    assert station.when(REPORTED) == []


def test_a_card_that_was_presented_first_is_used() -> None:
    station = given(ENABLED, ONLINE, presented(ALICE), cable_plugged(1))
    assert not desired_evse(station, 1).identify_ev
    assert station.when(REPORTED) == []


def test_a_refused_ev_may_charge_with_a_card_and_is_not_shown_as_refused() -> None:
    def refuse_evs(action: str, payload: dict[str, object]) -> dict[str, object] | None:
        token = payload.get("idToken")
        if isinstance(token, dict) and token["type"] == "MacAddress":
            return {"idTokenInfo": {"status": "Unknown"}}
        return accept_everything(action, payload)

    station = given(ENABLED, ONLINE, cable_plugged(1))
    refused = of_kind(station.with_csms(refuse_evs, REPORTED), AuthorizationRefused)
    assert [each.status for each in refused] == ["Unknown"]
    assert station.state.ev_driver_actions.card is None
    granted = of_kind(station.with_csms(refuse_evs, presented(ALICE)), AuthorizationGranted)
    assert [each.evse_id for each in granted] == [1]


def test_offline_the_cache_decides_c12_fr_02() -> None:
    station = given(ENABLED, ONLINE, cable_plugged(1), REPORTED, time_passed(seconds=3))
    station.with_csms(accept_everything, presented(EV, 1), cable_unplugged(1))
    assert not station.state.authorizations.active
    station.when(LINK_LOST, cable_plugged(1))
    [granted] = of_kind(station.when(REPORTED), AuthorizationGranted)
    assert granted.authorized_by == "Cache"


def test_reports_without_an_ev_or_an_evse_are_ignored() -> None:
    station = given(ENABLED, ONLINE, IDLE)
    assert station.when(REPORTED, EvTokenReported(9, EV)) == []


def test_another_evse_charges_on() -> None:
    station = given(ENABLED, ONLINE, in_transaction(2), cable_plugged(1))
    [requested] = of_kind(station.when(REPORTED), AuthorizationRequested)
    assert requested.evse_id == 1
