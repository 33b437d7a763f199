"""`station why` about reservations: why Reserved, why kept free, why refused, used or ended."""

from __future__ import annotations

import pytest

from journal.events import Event
from journal.projections.authorizations import AuthorizationGranted, AuthorizationRefused
from journal.projections.outbox import CallQueued
from journal.projections.pending_replies import CallResultQueued
from journal.projections.reservations import ReservationEnded, ReservationUsed
from station.history.explain.explanation import explain_entry
from tests.core.blocks.test_h_reservation import (
    cancel,
    change_availability,
    enabled,
    reserve,
)
from tests.history.explain.test_explanation import (
    answers_about,
    causes_of_last,
    history_of,
)
from tests.support.story import (
    ALICE,
    BOB,
    LINK_LOST,
    ONLINE,
    Step,
    accept_everything,
    cable_plugged,
    device_faulted,
    given,
    in_sequence,
    in_transaction,
    presented,
    time_passed,
)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((reserve(1),), "a reservation names the EVSE (H01.FR.23)"),
        (
            (reserve(), in_transaction(1, BOB)),
            "every free EVSE is kept for a reservation that names no EVSE (H01.FR.07",
        ),
    ],
    ids=["named", "kept free"],
)
def test_why_a_connector_is_reserved(steps: tuple[Step, ...], why: str) -> None:
    station = given(ONLINE, *steps)
    seq = next(
        entry.seq
        for entry in reversed(station.entries)
        if isinstance(entry.event, CallQueued)
        and entry.event.connector_status
        and entry.event.connector_status.status == "Reserved"
    )
    explanation = explain_entry(history_of(station), seq)
    assert why in explanation.answers[0]
    kinds = [
        type(each.entry.event).__name__ for each in explanation.sections[0].entries if each.entry
    ]
    assert "ReservationMade" in kinds
    assert kinds[0] == "FrameReceived"


def test_why_a_reservation_is_refused_without_status_info() -> None:
    station = given(ONLINE, reserve(1), reserve(1, number=8))
    assert answers_about(station, CallResultQueued).startswith(
        "Because every EVSE that it asks for is in use or kept for another reservation (H01.FR.11)."
    )


def test_why_a_card_is_refused_at_a_reserved_evse() -> None:
    station = given(ONLINE, reserve(1), cable_plugged(1), presented(BOB, evse_id=1))
    assert answers_about(station, AuthorizationRefused).startswith(
        "Because a reservation names the EVSE (H01.FR.23)."
    )
    assert "ReservationMade" in causes_of_last(station, AuthorizationRefused)


def test_why_a_reservation_is_used() -> None:
    station = given(ONLINE, reserve(1), cable_plugged(1), presented(ALICE))
    answer = answers_about(station, ReservationUsed)
    assert answer.startswith("Because the IdToken it was made for was authorized (H03.FR.09).")
    causes = causes_of_last(station, ReservationUsed)
    assert {"ReservationMade", "AuthorizationGranted"} <= {*causes}


def test_why_an_idtoken_is_accepted_offline() -> None:
    station = given(ONLINE, reserve(1), LINK_LOST, presented(ALICE))
    assert "had made a reservation" in answers_about(station, AuthorizationGranted)
    assert "LinkClosed" in causes_of_last(station, AuthorizationGranted)


@pytest.mark.parametrize(
    ("steps", "why", "cause"),
    [
        ((cancel(),), "the CSMS requested it (H02.FR.02)", "FrameReceived"),
        (
            (time_passed(seconds=3601),),
            "its expiryDateTime was reached (H04.FR.01)",
            "ReservationMade",
        ),
        (
            (time_passed(seconds=61), device_faulted(1)),
            "EVSE 1 had a fault, contactor welded (H01.FR.16)",
            "DeviceFaulted",
        ),
        (
            (change_availability(1),),
            "the CSMS requested Inoperative for EVSE 1 (H01.FR.17)",
            "AvailabilityChanged",
        ),
        (
            (enabled("false"), in_transaction(1, BOB), enabled("true")),
            "no EVSE was left for it when ReservationCtrlr was enabled again (H04.FR.01)",
            "ReservationMade",
        ),
    ],
    ids=["cancelled", "expired", "fault", "out of service", "taken"],
)
def test_why_a_reservation_ends(steps: tuple[Step, ...], why: str, cause: str) -> None:
    station = given(ONLINE, reserve(1))
    station.with_csms(accept_everything, in_sequence(*steps))
    kind: type[Event] = ReservationEnded
    assert answers_about(station, kind).startswith(f"Because {why}.")
    assert cause in causes_of_last(station, kind)
