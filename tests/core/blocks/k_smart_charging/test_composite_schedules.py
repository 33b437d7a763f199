"""GetCompositeSchedule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from journal.observations import ExternalLimitReported, LimitPeriod
from tests.core.blocks.k_smart_charging.profiles import (
    charging_profile,
    installed,
    instant,
    reason_in,
)
from tests.support.story import (
    ONLINE,
    Json,
    Station,
    called,
    given,
    in_transaction,
    response_payload_in,
    time_passed,
)


def schedule_of(station: Station, evse_id: int, duration: int, **more: Any) -> Json:
    response = response_payload_in(
        station.when(called("GetCompositeSchedule", evseId=evse_id, duration=duration, **more))
    )
    assert response["status"] == "Accepted"
    schedule: Json = response["schedule"]
    return schedule


def periods_of(schedule: Json) -> list[tuple[int, float]]:
    return [(each["startPeriod"], each["limit"]) for each in schedule["chargingSchedulePeriod"]]


def test_without_profiles_the_hardware_is_the_limit_k08_fr_02_k08_fr_03() -> None:
    """The fixed limit of K04.FR.02 is in the product profile."""
    schedule = schedule_of(given(ONLINE), 0, 300, chargingRateUnit="W")
    assert schedule == {
        "evseId": 0,
        "duration": 300,
        "scheduleStart": instant(),
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 300_000.0}],
    }


def test_the_schedule_starts_when_the_request_arrives_k08_fr_02() -> None:
    station = given(ONLINE, installed(1, charging_profile((0, 6000), (60, 3000))))
    station.when(time_passed(seconds=20.7))
    schedule = schedule_of(station, 1, 100)
    assert schedule["scheduleStart"] == instant(20)
    assert periods_of(schedule) == [(0, 6000), (40, 3000)]


def test_an_evse_without_a_transaction_uses_the_default_profile_k08_fr_06() -> None:
    profile = charging_profile((0, 6000), (60, 3000), kind="Relative")
    station = given(ONLINE, installed(1, profile), time_passed(seconds=500))
    assert periods_of(schedule_of(station, 1, 100)) == [(0, 6000), (60, 3000)]


def test_evse_0_is_the_sum_of_all_evses_under_the_limits_of_the_station_k08_fr_03() -> None:
    station = given(ONLINE, installed(0, charging_profile((0, 6000), profile_id=1)))
    assert periods_of(schedule_of(station, 0, 100)) == [(0, 12_000)]
    maximum = charging_profile((0, 10_000), profile_id=2, purpose="ChargingStationMaxProfile")
    station.when(installed(0, maximum))
    assert periods_of(schedule_of(station, 0, 100)) == [(0, 10_000)]
    assert periods_of(schedule_of(station, 1, 100)) == [(0, 6000)]


def test_the_lowest_of_all_purposes_and_external_limits_k08_fr_04_sc_01() -> None:
    station = given(ONLINE, in_transaction(1))
    own = charging_profile(
        (0, 8000),
        (50, 11_000),
        (140, 16_000),
        (200, 6000),
        (240, 12_000),
        profile_id=3,
        purpose="TxProfile",
        transactionId=station.open_transaction.transaction_id,
        schedule={"duration": 260},
    )
    default = charging_profile(
        (0, 6000),
        (60, 10_000),
        (120, 8000),
        (180, 15_000),
        (260, 8000),
        profile_id=2,
        schedule={"duration": 300},
    )
    maximum = charging_profile((0, 10_000), profile_id=1, purpose="ChargingStationMaxProfile")
    station.when(installed(0, maximum), installed(1, default), installed(1, own))
    assert periods_of(schedule_of(station, 1, 400)) == [  # as TC_K_41 has it
        (0, 8000),
        (50, 10_000),
        (200, 6000),
        (240, 10_000),
        (260, 8000),
        (300, 10_000),
    ]
    station.when(external_limit(7000))
    assert periods_of(schedule_of(station, 1, 400)) == [(0, 7000), (200, 6000), (240, 7000)]


def external_limit(limit_w: int) -> ExternalLimitReported:
    return ExternalLimitReported(1, "test", "EMS", (LimitPeriod(0, Decimal(limit_w)),))


@pytest.mark.parametrize(
    ("request_fields", "reason"),
    [
        ({"evseId": 3, "duration": 60}, "UnknownEvse"),  # K08.FR.05
        ({"evseId": -1, "duration": 60}, "UnknownEvse"),
        ({"evseId": 1, "duration": 60, "chargingRateUnit": "A"}, "UnsupportedRateUnit"),
        ({"evseId": 1, "duration": -1}, "InvalidValue"),
    ],
)
def test_what_cannot_be_reported_is_rejected_k08_fr_05_k08_fr_07(
    request_fields: Json, reason: str
) -> None:
    decisions = given(ONLINE).when(called("GetCompositeSchedule", **request_fields))
    assert reason_in(decisions) == reason
    assert "schedule" not in response_payload_in(decisions)


def test_a_window_of_no_length_has_the_present_limit() -> None:
    station = given(ONLINE, installed(1, charging_profile((0, 6000), (60, 3000))))
    schedule = schedule_of(station, 1, 0)
    assert (periods_of(schedule), schedule["duration"]) == ([(0, 6000)], 0)


def test_a_window_of_centuries_is_cut_where_its_periods_end() -> None:
    """One response has at most 1024 periods; its duration ends where they end."""
    daily = charging_profile(
        (0, 6000), kind="Recurring", recurrencyKind="Daily", schedule={"duration": 3600}
    )
    schedule = schedule_of(given(ONLINE, installed(1, daily)), 1, 2**31 - 1)
    assert len(schedule["chargingSchedulePeriod"]) == 1024
    assert schedule["duration"] == 512 * 86_400


def test_the_year_9999_ends_no_computation() -> None:
    station = given(ONLINE, installed(1, charging_profile((0, 6000))))
    assert schedule_of(station, 1, 2**62)["duration"] == 2**62
