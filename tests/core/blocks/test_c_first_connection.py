"""An idToken that is presented while the program makes its first connection. C01, C12, C13, C15."""

from __future__ import annotations

import pytest

from journal.observations import LinkFailed
from journal.projections.authorizations import AuthorizationGranted, AuthorizationRefused
from journal.projections.outbox import CallsDropped
from station.core.blocks.c_without_csms import FIRST_CONNECTION_MS
from tests.support.story import (
    ALICE,
    BOB,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    called,
    given,
    of_kind,
    presented,
    queued_payloads,
    result_received_for,
    shown_at,
    station_restarted,
    time_passed,
    variable_preset,
)

LIMIT_S = FIRST_CONNECTION_MS / 1000


def restarted_station(*steps: Step) -> Station:
    """A station that the CSMS accepted in an earlier run, just after its start, with an EV."""
    station = given(*steps, ONLINE)
    station.when(LINK_LOST, station_restarted(), IDLE, cable_plugged(1))
    assert not station.state.link.online
    return station


def boot_response(status: str) -> Step:
    return result_received_for(
        "BootNotification", status=status, interval=60, currentTime="2026-03-01T12:00:00Z"
    )


def test_it_waits_and_the_csms_decides_c01_fr_02() -> None:
    station = restarted_station()
    decisions = station.when(presented(ALICE, evse_id=1))
    assert of_kind(decisions, AuthorizationRefused) == []
    assert shown_at(station, 1).situation == "card.checking"
    decisions = station.with_csms(accept_everything, time_passed(seconds=1), LINK_OPENED)
    [granted] = of_kind(decisions, AuthorizationGranted)
    assert (granted.authorized_by, granted.evse_id) == ("CSMS", 1)
    assert station.state.authorizations.pending == ()


def test_without_a_connection_it_is_refused_in_time_and_never_asked_about_c13_fr_02() -> None:
    station = restarted_station()
    station.when(presented(ALICE, evse_id=1), time_passed(seconds=LIMIT_S - 0.1))
    assert len(station.state.authorizations.pending) == 1
    assert station.state.outbox.general_count("Authorize") == 1
    decisions = station.when(time_passed(seconds=0.1))
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert (refused.status, refused.because) == ("Offline", "not_asked/not_cached")
    assert station.state.outbox.general_count("Authorize") == 0
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    assert of_kind(decisions, AuthorizationGranted) == []


def test_later_it_is_refused_at_once_as_before() -> None:
    station = restarted_station()
    station.when(time_passed(seconds=LIMIT_S))
    assert of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRefused)


@pytest.mark.parametrize(
    "steps",
    [
        (LinkFailed(1, "refused"),),
        (LINK_OPENED, boot_response("Rejected")),
        (LINK_OPENED, boot_response("Pending")),
        (LINK_OPENED, LINK_LOST),
    ],
    ids=["attempt failed", "rejected", "pending", "link lost"],
)
def test_what_ends_the_wait_decides_at_once(steps: tuple[Step, ...]) -> None:
    station = restarted_station()
    station.when(presented(ALICE, evse_id=1), presented(BOB, evse_id=2))
    decisions = station.when(*steps)
    assert len(of_kind(decisions, AuthorizationRefused)) == 2
    assert of_kind(decisions, CallsDropped)
    assert station.state.authorizations.pending == ()
    assert station.state.outbox.general_count("Authorize") == 0
    assert of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRefused)


def test_what_would_be_granted_is_granted_at_once_c13_fr_04_c15_fr_08() -> None:
    unknown = variable_preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    station = restarted_station(unknown)
    [granted] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationGranted)
    assert granted.authorized_by == "OfflineUnknownId"
    station = given(ONLINE)
    entry = {
        "idToken": {"idToken": ALICE.ref, "type": ALICE.type},
        "idTokenInfo": {"status": "Accepted"},
    }
    station.when(
        called("SendLocalList", versionNumber=1, updateType="Full", localAuthorizationList=[entry]),
        LINK_LOST,
        station_restarted(),
        IDLE,
        cable_plugged(1),
    )
    [granted] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationGranted)
    assert granted.authorized_by == "LocalList"


def test_the_same_card_again_waits_once() -> None:
    station = restarted_station()
    decisions = station.when(presented(ALICE, evse_id=1), presented(ALICE, evse_id=1))
    assert len(queued_payloads(decisions, "Authorize")) == 1


def test_a_restart_while_it_waits_leaves_nothing() -> None:
    station = restarted_station()
    station.when(presented(ALICE, evse_id=1), station_restarted(), IDLE)
    assert station.state.authorizations.pending == ()
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    assert of_kind(decisions, AuthorizationGranted) == []


def test_a_link_that_was_lost_in_this_run_is_not_waited_for() -> None:
    station = given(ONLINE, cable_plugged(1))
    decisions = station.when(LINK_LOST, presented(ALICE, evse_id=1))
    assert of_kind(decisions, AuthorizationRefused)
