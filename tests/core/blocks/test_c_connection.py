"""Authorizations and the cable: bound, expired, granted without an idToken. Block C."""

from __future__ import annotations

from journal.projections.authorizations import AuthorizationEnded
from tests.support.story import (
    ALICE,
    IDLE,
    ONLINE,
    Station,
    cable_plugged,
    cable_unplugged,
    given,
    of_kind,
    presented,
    queued_payloads,
    station_restarted,
    time_passed,
    variable_preset,
)


def active_evses(station: Station) -> list[int | None]:
    """The EVSEs with an active authorization; None: one that has no EVSE yet."""
    return [authorization.evse_id for authorization in station.state.authorizations.active]


def test_a_right_without_a_cable_runs_out_c01_fr_26_e03_fr_05() -> None:
    station = given(variable_preset("TxCtrlr.EVConnectionTimeOut", "50"), ONLINE, presented(ALICE))
    assert not of_kind(station.when(time_passed(seconds=49)), AuthorizationEnded)
    [ended] = of_kind(station.when(time_passed(seconds=1)), AuthorizationEnded)
    assert ended.stopped_reason == "Timeout"


def test_a_right_does_not_wait_through_a_power_cut() -> None:
    station = given(ONLINE, presented(ALICE), station_restarted(boot_id="boot-2", gap_s=5))
    assert active_evses(station) == []
    station.when(IDLE, cable_plugged(1))
    assert active_evses(station) == []


def test_a_cable_that_is_pulled_before_anything_began_leaves_the_time_to_come_back() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStartPoint", "EnergyTransfer"),
        variable_preset("TxCtrlr.EVConnectionTimeOut", "50"),
        ONLINE,
        cable_plugged(1),
        presented(ALICE),
        time_passed(seconds=1000),
        cable_unplugged(1),
    )
    assert active_evses(station) == [1]
    station.when(time_passed(seconds=49))
    assert active_evses(station) == [1]
    station.when(time_passed(seconds=1))
    assert active_evses(station) == []


def test_without_authorization_a_cable_is_enough_c01_fr_01() -> None:
    station = given(variable_preset("AuthCtrlr.Enabled", "false"), ONLINE)
    decisions = station.when(cable_plugged(1))
    assert station.desired.evses[0].energy_allowed
    [event] = queued_payloads(decisions, "TransactionEvent")
    assert event["idToken"] == {"idToken": "", "type": "NoAuthorization"}
