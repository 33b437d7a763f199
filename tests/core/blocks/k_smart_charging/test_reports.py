"""GetChargingProfiles: criteria, parts, and what cannot be reported now."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from journal.observations import ExternalLimitReported, LimitPeriod
from tests.core.blocks.k_smart_charging.profiles import charging_profile, installed, instant
from tests.support.story import (
    ONLINE,
    Json,
    Station,
    called,
    csms_answers,
    error_code_in,
    given,
    queued_payloads,
    response_payload_in,
)

MAX = charging_profile((0, 50_000), profile_id=1, purpose="ChargingStationMaxProfile")
FIRST = charging_profile((0, 6000), profile_id=2)
SECOND = charging_profile((0, 7000.5), (60, 3), profile_id=3, level=1, customData={"vendorId": "x"})
EXTERNAL = ExternalLimitReported(0, "test", "EMS", (LimitPeriod(0, Decimal(40_000)),), 600)


def station_with_profiles() -> Station:
    return given(ONLINE, installed(0, MAX), installed(1, FIRST), installed(2, SECOND))


def reports_of(station: Station, criterion: Json, **request: Any) -> list[Json]:
    """The ReportChargingProfilesRequests that follow a request."""
    decisions = station.when(
        called("GetChargingProfiles", requestId=4, chargingProfile=criterion, **request)
    )
    assert response_payload_in(decisions) == {"status": "Accepted"}
    reports = queued_payloads(decisions, "ReportChargingProfiles")
    station.when(csms_answers())
    return reports


def ids_in(reports: list[Json]) -> list[int]:
    return [profile["id"] for report in reports for profile in report["chargingProfile"]]


def test_a_profile_is_reported_as_it_was_received_k09_fr_01() -> None:
    [report] = reports_of(station_with_profiles(), {"chargingProfileId": [3]})
    assert report == {
        "requestId": 4,
        "chargingLimitSource": "CSO",
        "chargingProfile": [SECOND],
        "evseId": 2,
        "tbc": False,
    }


@pytest.mark.parametrize(
    ("criterion", "request_fields", "ids"),
    [
        ({}, {}, [1, 2, 3]),  # K09.FR.06
        ({}, {"evseId": 0}, [1]),  # K09.FR.05
        ({}, {"evseId": 1}, [2]),  # K09.FR.04
        ({"chargingProfileId": [1, 3, 9]}, {}, [1, 3]),
        ({"stackLevel": 1}, {}, [3]),
        ({"chargingProfilePurpose": "TxDefaultProfile"}, {}, [2, 3]),
        ({"chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 0}, {}, [2]),
        ({"chargingLimitSource": ["CSO", "EMS"]}, {"evseId": 2}, [3]),
    ],
)
def test_all_criteria_must_match_k09_fr_04_k09_fr_05_k09_fr_06(
    criterion: Json, request_fields: Json, ids: list[int]
) -> None:
    assert ids_in(reports_of(station_with_profiles(), criterion, **request_fields)) == ids


@pytest.mark.parametrize(
    ("criterion", "request_fields"),
    [
        ({"chargingProfileId": [9]}, {}),
        ({"chargingLimitSource": ["SO"]}, {}),
        ({"stackLevel": 1}, {"evseId": 1}),
        ({}, {"evseId": 7}),
        ({"chargingProfilePurpose": "ChargingStationExternalConstraints"}, {}),
    ],
)
def test_without_a_match_there_are_no_profiles_k09(criterion: Json, request_fields: Json) -> None:
    decisions = station_with_profiles().when(
        called("GetChargingProfiles", requestId=4, chargingProfile=criterion, **request_fields)
    )
    assert response_payload_in(decisions)["status"] == "NoProfiles"
    assert not queued_payloads(decisions, "ReportChargingProfiles")


def test_each_evse_and_source_has_its_own_report_and_all_but_the_last_tbc_k09_fr_02() -> None:
    station = station_with_profiles()
    station.when(EXTERNAL, csms_answers())
    reports = reports_of(station, {})
    assert [
        (report["evseId"], report["chargingLimitSource"], report["tbc"]) for report in reports
    ] == [(0, "CSO", True), (0, "EMS", True), (1, "CSO", True), (2, "CSO", False)]


def test_large_profiles_are_reported_one_by_one_k09_fr_02() -> None:
    station = given(ONLINE)
    for level in range(3):
        large = charging_profile(
            *((second * 60, 1000 + second) for second in range(1000)),
            profile_id=level,
            level=level,
        )
        station.when(installed(1, large))
    reports = reports_of(station, {})
    assert [len(report["chargingProfile"]) for report in reports] == [1, 1, 1]
    assert ids_in(reports) == [0, 1, 2]
    assert [report["tbc"] for report in reports] == [True, True, False]


def test_an_external_limit_is_reported_as_external_constraint_k11_fr_06_k12_fr_05() -> None:
    station = given(ONLINE, EXTERNAL)
    [report] = reports_of(station, {"chargingProfilePurpose": "ChargingStationExternalConstraints"})
    [profile] = report["chargingProfile"]
    assert report["chargingLimitSource"] == "EMS"
    assert profile.pop("id") < 0
    assert profile == {
        "stackLevel": 0,
        "chargingProfilePurpose": "ChargingStationExternalConstraints",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [
            {
                "id": 1,
                "startSchedule": instant(),
                "duration": 600,
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 40_000}],
            }
        ],
    }


def test_an_external_limit_is_neither_replaced_nor_cleared_k01_fr_05_k10_fr_08_k10_fr_09() -> None:
    station = given(ONLINE, EXTERNAL)
    [limit] = station.state.external_limits.limits
    requests: tuple[Json, ...] = (
        {"chargingProfileId": limit.profile_id},
        {"chargingProfileCriteria": {}},
        {
            "chargingProfileCriteria": {
                "chargingProfilePurpose": "ChargingStationExternalConstraints"
            }
        },
    )
    for request in requests:
        decisions = station.when(called("ClearChargingProfile", **request))
        assert response_payload_in(decisions)["status"] == "Unknown"
    replacement = charging_profile(profile_id=limit.profile_id)
    decisions = station.when(called("SetChargingProfile", evseId=1, chargingProfile=replacement))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert station.state.external_limits.limits == (limit,)


def test_a_second_report_waits_until_the_first_is_sent() -> None:
    station = station_with_profiles()
    request: Json = {"requestId": 4, "chargingProfile": {}}
    station.when(called("GetChargingProfiles", **request))
    assert error_code_in(station.when(called("GetChargingProfiles", **request))) == "GenericError"
    station.when(csms_answers())
    decisions = station.when(called("GetChargingProfiles", **request))
    assert response_payload_in(decisions) == {"status": "Accepted"}
