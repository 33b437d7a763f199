"""SetChargingProfile, RequestStartTransaction with a profile, ClearChargingProfile."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from journal.projections.charging_profiles import ChargingProfileInstalled, ChargingProfileRemoved
from journal.projections.pending_replies import CallResultQueued
from station.core.blocks.k_smart_charging.limits import present_limit
from station.core.context import Context
from tests.core.blocks.k_smart_charging.profiles import (
    charging_profile,
    installed,
    installed_ids,
    instant,
    reason_in,
    set_profile,
)
from tests.support.story import (
    ALICE,
    LINK_LOST,
    ONLINE,
    Json,
    Station,
    Step,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    csms_answers,
    error_code_in,
    given,
    id_token_payload,
    in_transaction,
    of_kind,
    payload_of,
    presented,
    response_payload_in,
    result_received_for,
    station_restarted,
    time_passed,
    variable_preset,
)


def limit_w(station: Station, evse_id: int) -> Decimal | None:
    """The limit in force now."""
    return present_limit(
        Context(station.product, station.state, station.entries[-1]), evse_id
    ).limit_w


def tx_profile(station: Station, *periods: tuple[int, Any], **more: Any) -> Json:
    """A TxProfile of the open transaction."""
    more = {"purpose": "TxProfile", "kind": "Relative", "profile_id": 7, **more}
    return charging_profile(*periods, transactionId=station.open_transaction.transaction_id, **more)


# --- Accepted ------------------------------------------------------------------------------------


def test_a_default_profile_of_an_evse_counts_there_only_k01_fr_15_k01_fr_07() -> None:
    """The schedule is per EVSE: K04.FR.01."""
    station = given(ONLINE, installed(2, charging_profile((0, 6000))))
    assert limit_w(station, 1) is None
    assert limit_w(station, 2) == 6000


def test_a_default_profile_of_evse_0_counts_at_every_evse_k01_fr_14() -> None:
    """It is kept once, for EVSE 0, and does not limit the station as a whole."""
    station = given(ONLINE, installed(0, charging_profile((0, 6000))))
    assert [limit_w(station, evse_id) for evse_id in (1, 2)] == [6000, 6000]
    assert limit_w(station, 0) is None
    [profile] = station.state.charging_profiles.installed
    assert profile.evse_id == 0


def test_a_station_max_profile_limits_the_station_and_every_evse_k04_fr_03_k04_fr_05() -> None:
    station = given(
        ONLINE, installed(0, charging_profile((0, 50_000), purpose="ChargingStationMaxProfile"))
    )
    assert [limit_w(station, evse_id) for evse_id in (0, 1, 2)] == [50_000, 50_000, 50_000]


def test_a_running_transaction_continues_with_a_new_default_profile_k01_fr_32() -> None:
    """As K03.FR.03 requires of a profile that a Local Controller sends."""
    station = given(ONLINE, in_transaction(1))
    transaction_id = station.open_transaction.transaction_id
    station.when(installed(0, charging_profile((0, 6000))))
    assert limit_w(station, 1) == 6000
    station.when(installed(0, charging_profile((0, 8000))))
    assert limit_w(station, 1) == 8000
    assert station.open_transaction.transaction_id == transaction_id
    assert station.desired.evses[0].energy_allowed


def test_a_tx_profile_overrules_the_default_profile_k01_fr_04_k02_fr_04() -> None:
    station = given(ONLINE, in_transaction(1), installed(0, charging_profile((0, 6000))))
    station.when(installed(1, tx_profile(station, (0, 20_000))))
    assert limit_w(station, 1) == 20_000
    assert limit_w(station, 2) == 6000


def test_a_known_id_replaces_the_profile_k01_fr_05() -> None:
    station = given(ONLINE, installed(1, charging_profile((0, 6000))))
    station.when(installed(2, charging_profile((0, 10_000), level=3)))
    assert installed_ids(station) == [1]
    assert limit_w(station, 1) is None
    assert limit_w(station, 2) == 10_000


def test_the_profile_is_in_the_journal_before_the_response() -> None:
    decisions = given(ONLINE).when(set_profile(1, charging_profile()))
    kinds = [type(decision) for decision in decisions]
    assert kinds.index(ChargingProfileInstalled) < kinds.index(CallResultQueued)


def test_phases_are_accepted_and_ignored_on_a_dc_evse_k01_fr_44() -> None:
    periods = [{"startPeriod": 0, "limit": 6000, "numberPhases": 1, "phaseToUse": 2}]
    profile = charging_profile(schedule={"chargingSchedulePeriod": periods})
    assert limit_w(given(ONLINE, installed(1, profile)), 1) == 6000


def test_a_schedule_in_the_future_limits_from_its_start_k01_fr_30() -> None:
    station = given(ONLINE, installed(1, charging_profile((0, 6000), start_s=60)))
    station.when(time_passed(seconds=59))
    assert limit_w(station, 1) is None
    station.when(time_passed(seconds=1))
    assert limit_w(station, 1) == 6000


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_profiles_are_kept_over_a_restart_and_a_reboot_k01_fr_27(boot_id: str) -> None:
    station = given(ONLINE, in_transaction(1), installed(0, charging_profile((0, 6000))))
    station.when(installed(1, tx_profile(station, (0, 20_000))))
    station.when(station_restarted(boot_id=boot_id, gap_s=30))
    assert installed_ids(station) == [1, 7]
    assert limit_w(station, 1) == 20_000


def test_profiles_are_used_offline_k06_fr_01_k07_fr_01() -> None:
    station = given(ONLINE, in_transaction(1), installed(0, charging_profile((0, 6000))))
    station.when(installed(1, tx_profile(station, (0, 20_000), (100, 3000))), LINK_LOST)
    station.when(time_passed(seconds=99))
    assert limit_w(station, 1) == 20_000
    station.when(time_passed(seconds=1))
    assert limit_w(station, 1) == 3000
    assert limit_w(station, 2) == 6000


def test_offline_without_profiles_there_is_no_constraint_k06_fr_02() -> None:
    assert limit_w(given(ONLINE, in_transaction(1), LINK_LOST), 1) is None


# --- Rejected ------------------------------------------------------------------------------------

REJECTED: list[tuple[str, int, Json, str]] = [
    (
        "K01.FR.22",
        0,
        charging_profile(purpose="ChargingStationExternalConstraints"),
        "InvalidProfile",
    ),
    ("K01.FR.28", 3, charging_profile(), "UnknownEvse"),
    ("K01.FR.28 negative", -1, charging_profile(), "UnknownEvse"),
    ("K01.FR.16", 0, charging_profile(purpose="TxProfile", transactionId="x"), "InvalidProfile"),
    ("K04.FR.03", 1, charging_profile(purpose="ChargingStationMaxProfile"), "InvalidProfile"),
    ("transactionId", 1, charging_profile(transactionId="x"), "InvalidProfile"),
    ("stackLevel too high", 1, charging_profile(level=10), "InvalidStackLevel"),
    ("stackLevel negative", 1, charging_profile(level=-1), "InvalidStackLevel"),
    (
        "K01.FR.38",
        0,
        charging_profile(purpose="ChargingStationMaxProfile", kind="Relative"),
        "InvalidProfile",
    ),
    (
        "K01.FR.41",
        1,
        charging_profile(kind="Relative", schedule={"startSchedule": instant()}),
        "InvalidSchedule",
    ),
    ("recurrencyKind", 1, charging_profile(kind="Recurring"), "InvalidProfile"),
    (
        "validity",
        1,
        charging_profile(validFrom=instant(60), validTo=instant(60)),
        "InvalidProfile",
    ),
    (
        "K01.FR.26",
        1,
        charging_profile(schedule={"chargingRateUnit": "A"}),
        "UnsupportedRateUnit",
    ),
    (
        "PeriodsPerSchedule",
        1,
        charging_profile(*((second, 1) for second in range(1001))),
        "TooManyElements",
    ),
    ("K01.FR.31", 1, charging_profile((1, 6000)), "InvalidSchedule"),
    ("K01.FR.35", 1, charging_profile((0, 1), (60, 2), (30, 3)), "InvalidSchedule"),
    ("K01.FR.35 equal", 1, charging_profile((0, 1), (60, 2), (60, 3)), "InvalidSchedule"),
    ("startPeriod", 1, charging_profile((0, 1), (2**62, 2)), "InvalidSchedule"),
    ("duration", 1, charging_profile(schedule={"duration": 0}), "InvalidSchedule"),
    ("negative limit", 1, charging_profile((0, -1)), "InvalidSchedule"),
    ("great limit", 1, charging_profile((0, 1e300)), "InvalidSchedule"),
    ("minChargingRate", 1, charging_profile(schedule={"minChargingRate": -1}), "InvalidSchedule"),
    ("K01.FR.09", 1, charging_profile(purpose="TxProfile", transactionId="x"), "TxNotFound"),
]


@pytest.mark.parametrize(
    ("evse_id", "profile", "reason"),
    [row[1:] for row in REJECTED],
    ids=[row[0] for row in REJECTED],
)
def test_an_invalid_profile_is_rejected_with_its_reason(
    evse_id: int, profile: Json, reason: str
) -> None:
    station = given(ONLINE)
    assert reason_in(station.when(set_profile(evse_id, profile))) == reason
    assert installed_ids(station) == []


def test_absolute_and_recurring_need_start_schedule_k01_fr_40() -> None:
    for kind in ("Absolute", "Recurring"):
        profile = charging_profile(kind=kind, recurrencyKind="Daily")
        del profile["chargingSchedule"][0]["startSchedule"]
        assert reason_in(given(ONLINE).when(set_profile(1, profile))) == "InvalidSchedule"


def test_more_than_one_schedule_needs_iso_15118_k01_fr_34() -> None:
    profile = charging_profile()
    profile["chargingSchedule"] *= 2
    assert reason_in(given(ONLINE).when(set_profile(1, profile))) == "TooManyElements"


def test_a_tx_profile_needs_the_transaction_of_its_evse_k01_fr_03_k01_fr_33() -> None:
    station = given(ONLINE, in_transaction(1))
    unknown = charging_profile(purpose="TxProfile", transactionId="unknown")
    assert reason_in(station.when(set_profile(1, unknown))) == "TxNotFound"
    absent = charging_profile(purpose="TxProfile")
    assert reason_in(station.when(set_profile(1, absent))) == "MissingParam"
    assert reason_in(station.when(set_profile(2, tx_profile(station)))) == "TxNotFound"


def test_one_stack_level_of_a_purpose_is_given_once_k01_fr_06() -> None:
    for evse_id, purpose in ((0, "ChargingStationMaxProfile"), (1, "TxDefaultProfile")):
        station = given(ONLINE, installed(evse_id, charging_profile(purpose=purpose)))
        second = charging_profile(purpose=purpose, profile_id=2)
        assert reason_in(station.when(set_profile(evse_id, second))) == "DuplicateProfile"
        station.when(installed(evse_id, {**second, "stackLevel": 1}))


def test_one_stack_level_can_be_valid_at_different_times_k01_fr_06() -> None:
    station = given(ONLINE, installed(1, charging_profile(validTo=instant(60))))
    later = charging_profile(profile_id=2, validFrom=instant(60))
    station.when(installed(1, later))
    overlapping = charging_profile(profile_id=3, validFrom=instant(59), validTo=instant(61))
    assert reason_in(station.when(set_profile(1, overlapping))) == "DuplicateProfile"


def test_a_default_profile_of_evse_0_refuses_one_of_an_evse_k01_fr_53() -> None:
    station = given(ONLINE, installed(0, charging_profile()))
    own = charging_profile(profile_id=2)
    assert reason_in(station.when(set_profile(1, own))) == "DuplicateProfile"
    station.when(installed(1, {**own, "stackLevel": 1}))
    station.when(installed(1, {**own, "id": 1}))  # the same id replaces it


def test_a_default_profile_of_an_evse_refuses_one_of_evse_0_k01_fr_52() -> None:
    station = given(ONLINE, installed(2, charging_profile()))
    common = charging_profile(profile_id=2)
    assert reason_in(station.when(set_profile(0, common))) == "DuplicateProfile"
    station.when(installed(1, common))


def test_one_stack_level_of_a_transaction_is_given_once_k01_fr_39() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(installed(1, tx_profile(station)))
    second = tx_profile(station, profile_id=8)
    assert reason_in(station.when(set_profile(1, second))) == "DuplicateProfile"
    station.when(installed(1, {**second, "stackLevel": 1}))


def test_the_number_of_profiles_is_limited_as_published() -> None:
    station = given(ONLINE)
    for number in range(32):
        purpose = ("ChargingStationMaxProfile", "TxDefaultProfile")[number % 2]
        station.when(
            installed(
                0 if purpose == "ChargingStationMaxProfile" else 1,
                charging_profile(
                    profile_id=number,
                    purpose=purpose,
                    validFrom=instant(number),
                    validTo=instant(number + 1),
                ),
            )
        )
    more = charging_profile(profile_id=99, validFrom=instant(200))
    assert reason_in(station.when(set_profile(1, more))) == "TooManyElements"
    station.when(installed(1, {**more, "id": 1}))  # replacing one is possible
    [result] = response_payload_in(
        station.when(
            called(
                "GetVariables",
                getVariableData=[
                    {
                        "component": {"name": "SmartChargingCtrlr"},
                        "variable": {"name": "Entries", "instance": "ChargingProfiles"},
                    }
                ],
            )
        )
    )["getVariableResult"]
    assert result["attributeValue"] == "32"


def test_disabled_smart_charging_refuses_profiles_and_uses_none() -> None:
    station = given(ONLINE, installed(1, charging_profile((0, 6000))))
    disable = {
        "component": {"name": "SmartChargingCtrlr"},
        "variable": {"name": "Enabled"},
    }
    station.when(called("SetVariables", setVariableData=[{**disable, "attributeValue": "false"}]))
    assert limit_w(station, 1) is None
    assert reason_in(station.when(set_profile(1, charging_profile()))) == "NotEnabled"
    station.when(called("SetVariables", setVariableData=[{**disable, "attributeValue": "true"}]))
    assert limit_w(station, 1) == 6000


def test_without_smart_charging_the_request_is_not_supported_k01_fr_29() -> None:
    station = given(ONLINE, profile_name="evs-flash-300")
    assert error_code_in(station.when(set_profile(1, charging_profile()))) == "NotSupported"


# --- The end of a TxProfile ----------------------------------------------------------------------


def test_a_tx_profile_ends_with_its_transaction_k02_fr_05() -> None:
    station = given(ONLINE, in_transaction(1), installed(0, charging_profile((0, 6000))))
    station.when(installed(1, tx_profile(station)))
    decisions = station.with_csms(
        lambda action, payload: {},
        presented(ALICE, evse_id=1),
        charging_stopped(1),
        cable_unplugged(1),
    )
    assert of_kind(decisions, ChargingProfileRemoved) == [
        ChargingProfileRemoved(7, "transaction_ended")
    ]
    assert installed_ids(station) == [1]


def test_a_relative_profile_starts_when_the_evse_is_ready_k01_fr_42() -> None:
    """And not when it is received; corrections and restarts do not move it."""
    station = given(ONLINE, in_transaction(1), time_passed(seconds=100))
    station.when(installed(1, tx_profile(station, (0, 20_000), (150, 3000))))
    assert limit_w(station, 1) == 20_000
    station.when(station_restarted(gap_s=10), time_passed(seconds=39))
    assert limit_w(station, 1) == 20_000
    station.when(time_passed(seconds=1))
    assert limit_w(station, 1) == 3000


def test_the_falling_back_after_a_tx_profile_k02_fr_08() -> None:
    station = given(ONLINE, in_transaction(1), installed(0, charging_profile((0, 6000))))
    station.when(installed(1, tx_profile(station, (0, 20_000), schedule={"duration": 60})))
    station.when(time_passed(seconds=60))
    assert limit_w(station, 1) == 6000


# --- With RequestStartTransaction ----------------------------------------------------------------


def start_requested(profile: Json, **more: Any) -> Step:
    return called(
        "RequestStartTransaction",
        idToken=id_token_payload(ALICE),
        remoteStartId=5,
        evseId=1,
        chargingProfile=profile,
        **more,
    )


START_PROFILE = charging_profile((0, 9000), purpose="TxProfile", kind="Relative", profile_id=7)


def test_a_profile_of_a_remote_start_counts_for_its_transaction_k05_fr_03() -> None:
    """F01.FR.10, F02.FR.18."""
    station = given(ONLINE, cable_plugged(1))
    assert response_payload_in(station.when(start_requested(START_PROFILE)))["status"] == "Accepted"
    assert limit_w(station, 1) is None  # it is not a profile of the EVSE
    station.when(csms_answers(), charging_started(1))
    [profile] = station.state.charging_profiles.installed
    assert profile.transaction_id == station.open_transaction.transaction_id
    assert limit_w(station, 1) == 9000


def test_a_profile_of_a_remote_start_counts_for_a_running_transaction_f01_fr_13() -> None:
    station = given(
        variable_preset("TxCtrlr.TxStartPoint", "EVConnected"), ONLINE, cable_plugged(1)
    )
    station.when(start_requested(START_PROFILE))
    [profile] = station.state.charging_profiles.installed
    assert profile.transaction_id == station.open_transaction.transaction_id


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chargingProfilePurpose": "TxDefaultProfile"}, "InvalidProfile"),
        ({"transactionId": "x"}, "InvalidProfile"),
        ({"stackLevel": 99}, "InvalidProfile"),
        ({"chargingProfileKind": "Absolute"}, "InvalidSchedule"),
    ],
)
def test_an_invalid_profile_refuses_the_remote_start_k05_fr_02_k05_fr_05(
    change: Json, reason: str
) -> None:
    """F01.FR.11, F01.FR.26, F02.FR.19, F02.FR.27."""
    station = given(ONLINE, cable_plugged(1))
    assert reason_in(station.when(start_requested({**START_PROFILE, **change}))) == reason
    assert not station.state.authorizations.active
    assert installed_ids(station) == []


def test_without_smart_charging_the_profile_is_ignored_k05_fr_04() -> None:
    station = given(ONLINE, cable_plugged(1), profile_name="evs-flash-300")
    profile = {**START_PROFILE, "stackLevel": 99}
    assert response_payload_in(station.when(start_requested(profile)))["status"] == "Accepted"
    assert installed_ids(station) == []


def test_a_profile_of_a_refused_remote_start_is_removed() -> None:
    station = given(ONLINE, cable_plugged(1))
    station.when(start_requested(START_PROFILE))
    decisions = station.when(result_received_for("Authorize", idTokenInfo={"status": "Blocked"}))
    assert of_kind(decisions, ChargingProfileRemoved) == [ChargingProfileRemoved(7, "not_started")]


def test_a_profile_of_a_remote_start_without_an_ev_is_removed() -> None:
    """EVConnectionTimeOut ends the authorization."""
    station = given(ONLINE)
    station.when(start_requested(START_PROFILE), csms_answers())
    assert installed_ids(station) == [7]
    station.when(time_passed(seconds=3600))
    assert installed_ids(station) == []


def test_a_profile_of_a_remote_start_ends_with_its_authorization() -> None:
    """A restart ends the authorization of an EV driver who has not plugged in."""
    station = given(ONLINE)
    station.when(start_requested(START_PROFILE), csms_answers())
    decisions = station.when(station_restarted())
    assert not station.state.authorizations.active
    assert of_kind(decisions, ChargingProfileRemoved) == [ChargingProfileRemoved(7, "not_started")]


# --- Clear ---------------------------------------------------------------------------------------


def cleared(station: Station, **request: Any) -> str:
    [response] = of_kind(station.when(called("ClearChargingProfile", **request)), CallResultQueued)
    status: str = payload_of(response)["status"]
    return status


def three_profiles() -> Station:
    return given(
        ONLINE,
        installed(
            0, charging_profile((0, 50_000), profile_id=1, purpose="ChargingStationMaxProfile")
        ),
        installed(1, charging_profile((0, 6000), profile_id=2)),
        installed(2, charging_profile((0, 6000), profile_id=3)),
        installed(2, charging_profile((0, 8000), profile_id=4, level=1)),
    )


def test_a_profile_is_cleared_by_its_id_k10_fr_03() -> None:
    station = three_profiles()
    assert cleared(station, chargingProfileId=4) == "Accepted"
    assert installed_ids(station) == [1, 2, 3]
    assert limit_w(station, 2) == 6000  # K10.FR.05


@pytest.mark.parametrize(
    ("criteria", "left"),
    [
        ({"evseId": 2}, [1, 2]),
        ({"evseId": 0}, [2, 3, 4]),
        ({"chargingProfilePurpose": "TxDefaultProfile"}, [1]),
        ({"stackLevel": 0}, [4]),
        ({"chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 0}, [1, 4]),
        ({"evseId": 2, "stackLevel": 1}, [1, 2, 3]),
        ({}, []),
    ],
)
def test_all_given_criteria_must_match_k10_fr_04(criteria: Json, left: list[int]) -> None:
    station = three_profiles()
    assert cleared(station, chargingProfileCriteria=criteria) == "Accepted"
    assert installed_ids(station) == left


def test_without_a_match_the_status_is_unknown_k10_fr_01() -> None:
    station = three_profiles()
    assert cleared(station, chargingProfileId=99) == "Unknown"
    assert cleared(station, chargingProfileCriteria={"stackLevel": 5}) == "Unknown"
    assert installed_ids(station) == [1, 2, 3, 4]


def test_a_transaction_goes_on_without_its_default_profile_k10_fr_05_k10_fr_07() -> None:
    station = given(ONLINE, installed(1, charging_profile((0, 6000))), in_transaction(1))
    assert limit_w(station, 1) == 6000
    cleared(station, chargingProfileCriteria={"chargingProfilePurpose": "TxDefaultProfile"})
    assert limit_w(station, 1) is None
    assert station.desired.evses[0].energy_allowed
