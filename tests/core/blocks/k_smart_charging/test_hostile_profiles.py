"""Profiles with extreme values: each is answered, and what is accepted can always be computed."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import event, given, settings
from hypothesis import strategies as st

from journal.events import Decision
from journal.projections.pending_replies import CallErrorQueued
from tests.core.blocks.k_smart_charging.profiles import charging_profile
from tests.core.blocks.k_smart_charging.test_charging_profiles import limit_w
from tests.support.story import (
    ONLINE,
    Json,
    Station,
    Step,
    called,
    in_transaction,
    of_kind,
    time_passed,
)
from tests.support.story import given as given_station

TIMESTAMPS: Final = st.sampled_from(
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:60Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:30.999999Z",
        "9999-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59-14:00",
    ]
)
INTEGERS: Final = st.sampled_from([-(2**63), -1, 0, 1, 2, 9, 86_400, 2**31, 2**62, 2**63 - 1])
NUMBERS: Final = st.sampled_from([-1, 0, 0.1, 6000, 999_999, 10**9, 1e300, 5e-324, 10**60])
STARTS: Final = st.sampled_from(
    [[0], [0, 1], [0, 60, 61], [0, 3_000_000_000], [0, 2**62], [0, 60, 30], [1], [-1, 0]]
)
PLACES: Final = st.sampled_from(
    [
        ("ChargingStationMaxProfile", 0),
        ("TxDefaultProfile", 0),
        ("TxDefaultProfile", 1),
        ("TxDefaultProfile", 2),
        ("TxProfile", 0),
        ("TxProfile", 1),
        ("TxProfile", 2),
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, Json]:
    """evseId and profile; at most a few fields are extreme, so that some profiles are accepted."""
    purpose, evse_id = draw(PLACES)
    kind = draw(st.sampled_from(["Absolute", "Recurring", "Relative"]))
    schedule: Json = {}
    more: Json = {}
    if kind != "Relative":
        schedule["startSchedule"] = draw(TIMESTAMPS)
    if kind == "Recurring":
        more["recurrencyKind"] = draw(st.sampled_from(["Daily", "Weekly"]))
    if draw(st.integers(0, 3)) == 0:
        schedule["duration"] = draw(INTEGERS)
    for key in ("validFrom", "validTo"):
        if draw(st.integers(0, 3)) == 0:
            more[key] = draw(TIMESTAMPS)
    limit = draw(NUMBERS) if draw(st.integers(0, 3)) == 0 else 6000
    profile = charging_profile(
        *((start, limit) for start in draw(STARTS)),
        profile_id=draw(INTEGERS),
        purpose=purpose,
        kind=kind,
        level=draw(st.integers(0, 9)),
        schedule=schedule,
        **more,
    )
    return evse_id, profile


def sent(evse_id: int, profile: Json) -> Step:
    """The request; a TxProfile is of the open transaction."""

    def step(station: Station) -> list[Decision]:
        received = dict(profile)
        if profile["chargingProfilePurpose"] == "TxProfile":
            received["transactionId"] = station.open_transaction.transaction_id
        return station.when(called("SetChargingProfile", evseId=evse_id, chargingProfile=received))

    return step


def schedule_requested(evse_id: int, duration: int) -> Step:
    return called("GetCompositeSchedule", evseId=evse_id, duration=duration)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(requests(), min_size=1, max_size=6), INTEGERS)
def test_no_profile_makes_a_computation_fail(
    received: list[tuple[int, Json]], duration: int
) -> None:
    """The story asserts that no rule fails and that the state survives encoding."""
    station = given_station(ONLINE, in_transaction(1))
    decisions: list[Any] = station.when(*(sent(*request) for request in received))
    decisions += station.when(time_passed(seconds=90))
    for evse_id in (0, 1, 2):
        decisions += station.when(schedule_requested(evse_id, duration))
        limit = limit_w(station, evse_id)
        assert limit is None or limit >= 0
    decisions += station.when(called("GetChargingProfiles", requestId=1, chargingProfile={}))
    assert of_kind(decisions, CallErrorQueued) == []
    event("accepted: " + str(len(station.state.charging_profiles.installed)))
