"""Block K: smart charging, and a product without it (TC_K_38).

Limits are multiplied as errata 6.2.69 requires: 690 in W for three phases. The startPeriod values
of a composite schedule are compared with the start of the profiles, within `TOLERANCE_S`: the
station answers a schedule that starts at a whole second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import OMITTED, Expectation, check_fields, require
from tests.support.csms import Payload

PHASES = 3
LIMIT_MULTIPLIER = {"A": 1, "W": 690}
TOLERANCE_S = 2.0
UNKNOWN_TRANSACTION = "UNKNOWN-TRANSACTION-ID"
DEFAULT = "TxDefaultProfile"
MAXIMUM = "ChargingStationMaxProfile"
TRANSACTION = "TxProfile"

Periods = Sequence[tuple[int, int]]  # startPeriod in s, limit before the multiplier


# Building and checking.


def rate_unit(tester: Tester) -> str:
    """The configured chargingRateUnit: the first that the station supports."""
    return tester.profile.charging_rate_units[0]


def unsupported_unit(tester: Tester) -> str:
    [unit] = {"A", "W"} - set(tester.profile.charging_rate_units)
    return unit


def scaled(tester: Tester, limit: int) -> int:
    return limit * LIMIT_MULTIPLIER[rate_unit(tester)]


def now() -> datetime:
    return datetime.now(UTC)


def as_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_profile(
    tester: Tester,
    periods: Periods = ((0, 6),),
    *,
    purpose: str = DEFAULT,
    kind: str = "Absolute",
    stack_level: int = 0,
    start: datetime | None = None,
    duration: int | None = None,
    valid: tuple[datetime | None, datetime | None] = (None, None),
    unit: str | None = None,
    **more: Any,
) -> Payload:
    """A charging profile; without `start`, an Absolute or Recurring one starts now."""
    schedule: Payload = {
        "id": 1,
        "chargingRateUnit": unit or rate_unit(tester),
        "chargingSchedulePeriod": [
            {"startPeriod": at_s, "limit": scaled(tester, limit), "numberPhases": PHASES}
            for at_s, limit in periods
        ],
    }
    if kind != "Relative":
        schedule["startSchedule"] = as_text(start or now())
    if duration is not None:
        schedule["duration"] = duration
    profile: Payload = {
        "id": tester.next_id(),
        "stackLevel": stack_level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [schedule],
        **more,
    }
    for name, moment in zip(("validFrom", "validTo"), valid, strict=True):
        if moment is not None:
            profile[name] = as_text(moment)
    return profile


def set_profile(
    tester: Tester,
    step: str,
    profile: Payload,
    evse_id: int | None = None,
    status: str = "Accepted",
) -> Payload:
    """SetChargingProfile is answered with this status; returns the profile."""
    request = {
        "evseId": tester.evse_id if evse_id is None else evse_id,
        "chargingProfile": profile,
    }
    tester.send_call(step, "SetChargingProfile", request, {"status": status})
    return profile


def reported_profiles(
    tester: Tester, step: str, criterion: Payload, evse_id: int | None = None
) -> list[tuple[int, Payload]]:
    """GetChargingProfiles is accepted; returns (evseId, profile) of all its reports."""
    request_id = tester.next_id()
    request: Payload = {"requestId": request_id, "chargingProfile": criterion}
    if evse_id is not None:
        request["evseId"] = evse_id
    tester.send_call(step, "GetChargingProfiles", request, {"status": "Accepted"})
    return list(_receive_reports(tester, step, request_id))


def _receive_reports(tester: Tester, step: str, request_id: int) -> Iterator[tuple[int, Payload]]:
    """The reports of a request, up to the one without tbc."""
    while True:
        report = tester.expect_call(step, "ReportChargingProfiles", {"requestId": request_id})
        for profile in report["chargingProfile"]:
            yield report["evseId"], profile
        if not report.get("tbc", False):
            return


def check_reported(
    tester: Tester,
    step: str,
    criterion: Payload,
    expected: Sequence[tuple[int, Payload]],
    evse_id: int | None = None,
) -> None:
    """Exactly these profiles are reported, each as it was sent."""
    reported = reported_profiles(tester, step, criterion, evse_id)
    key = _profile_id
    require(
        step,
        sorted(reported, key=key) == sorted(expected, key=key),
        f"reported must be {expected}, is {reported}",
    )


def _profile_id(row: tuple[int, Payload]) -> int:
    profile_id: int = row[1]["id"]
    return profile_id


def check_none_reported(
    tester: Tester, step: str, criterion: Payload, evse_id: int | None = None
) -> None:
    request: Payload = {"requestId": tester.next_id(), "chargingProfile": criterion}
    if evse_id is not None:
        request["evseId"] = evse_id
    tester.send_call(step, "GetChargingProfiles", request, {"status": "NoProfiles"})


def composite_schedule(tester: Tester, step: str, evse_id: int, duration: int) -> Payload:
    """GetCompositeSchedule is accepted; returns the schedule."""
    unit = rate_unit(tester)
    asked = now()
    response = tester.send_call(
        step,
        "GetCompositeSchedule",
        {"evseId": evse_id, "duration": duration, "chargingRateUnit": unit},
        {
            "status": "Accepted",
            "schedule.evseId": evse_id,
            "schedule.duration": duration,
            "schedule.chargingRateUnit": unit,
            "schedule.chargingSchedulePeriod[0].startPeriod": 0,
        },
    )
    schedule: Payload = response["schedule"]
    start = datetime.fromisoformat(schedule["scheduleStart"])
    require(
        step,
        abs((start - asked).total_seconds()) <= tester.settings.deviation_s,
        f"scheduleStart must be the time of the request, is {start - asked} after it",
    )
    return schedule


def check_composite(
    tester: Tester,
    step: str,
    evse_id: int,
    duration: int,
    expected: Sequence[tuple[datetime | None, int | None]],
) -> None:
    """The periods begin at these moments (None: the start) with these limits (None: any)."""
    schedule = composite_schedule(tester, step, evse_id, duration)
    start = datetime.fromisoformat(schedule["scheduleStart"])
    periods = schedule["chargingSchedulePeriod"]
    require(
        step,
        len(periods) == len(expected),
        f"there must be {len(expected)} periods, are {periods}",
    )
    for index, (moment, limit) in enumerate(expected):
        at_s = 0.0 if moment is None else (moment - start).total_seconds()
        path = f"chargingSchedulePeriod[{index}]"
        checks: dict[str, Any] = {f"{path}.startPeriod": _near(at_s)}
        if limit is not None:
            checks[f"{path}.limit"] = _equal_to(scaled(tester, limit))
        check_fields(step, schedule, checks)


def _near(seconds: float) -> Expectation:
    return Expectation(
        f"{seconds:.1f} s within {TOLERANCE_S:.0f} s",
        lambda value: abs(float(value) - seconds) <= TOLERANCE_S,
    )


def _equal_to(limit: int) -> Expectation:
    return Expectation(str(limit), lambda value: Decimal(str(value)) == limit)


# Set (K01).


def tc_k_01_cs(tester: Tester) -> None:
    profile = set_profile(tester, "step 1", make_profile(tester, duration=300))
    check_reported(
        tester, "step 3", {"chargingProfileId": [profile["id"]]}, [(tester.evse_id, profile)]
    )


def tc_k_10_cs(tester: Tester) -> None:
    profile = set_profile(tester, "step 1", make_profile(tester, duration=300), 0)
    check_reported(tester, "step 3", {"chargingProfileId": [profile["id"]]}, [(0, profile)])


def tc_k_60_cs(tester: Tester) -> None:
    transaction_id = states.start_energy_transfer(tester)
    profile = make_profile(
        tester, purpose=TRANSACTION, kind="Relative", transactionId=transaction_id
    )
    set_profile(tester, "step 1", profile)
    check_reported(
        tester, "step 3", {"chargingProfileId": [profile["id"]]}, [(tester.evse_id, profile)]
    )


def tc_k_02_cs(tester: Tester) -> None:
    profile = make_profile(tester, purpose=TRANSACTION, transactionId=UNKNOWN_TRANSACTION)
    set_profile(tester, "step 1", profile, status="Rejected")


def tc_k_11_cs(tester: Tester) -> None:
    profile = make_profile(tester, purpose=TRANSACTION, transactionId=UNKNOWN_TRANSACTION)
    set_profile(tester, "step 1", profile, 0, status="Rejected")


def tc_k_03_cs(tester: Tester) -> None:
    profile = make_profile(tester, purpose=MAXIMUM, duration=300)
    set_profile(tester, "step 1", profile, 0)
    check_reported(tester, "step 3", {"chargingProfileId": [profile["id"]]}, [(0, profile)])


def tc_k_19_cs(tester: Tester) -> None:
    profile = make_profile(tester, kind="Recurring", recurrencyKind="Daily", duration=300)
    set_profile(tester, "step 1", profile)


def tc_k_12_cs(tester: Tester) -> None:
    profile = make_profile(tester, unit=unsupported_unit(tester))
    set_profile(tester, "step 1", profile, status="Rejected")


def tc_k_13_cs(tester: Tester) -> None:
    profile = set_profile(tester, "step 1", make_profile(tester, duration=300))
    states.reset_and_boot(tester)
    check_reported(
        tester, "step 4", {"chargingProfileId": [profile["id"]]}, [(tester.evse_id, profile)]
    )


def tc_k_14_cs(tester: Tester) -> None:
    unknown_evse = len(tester.profile.evse) + 1
    set_profile(tester, "step 1", make_profile(tester), unknown_evse, status="Rejected")


def tc_k_28_cs(tester: Tester) -> None:
    tester.configure_variable("SmartChargingCtrlr", "LimitChangeSignificance", "1.0")
    states.start_energy_transfer(tester)
    start = now() - timedelta(seconds=tester.settings.deviation_s)
    duration = 400 + int(tester.settings.deviation_s)
    set_profile(tester, "step 1", make_profile(tester, start=start, duration=duration))
    check_composite(tester, "step 3", tester.evse_id, 300, [(None, 6)])


def tc_k_16_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    profile = make_profile(tester, purpose=TRANSACTION, transactionId=UNKNOWN_TRANSACTION)
    set_profile(tester, "step 1", profile, status="Rejected")


def tc_k_21_cs(tester: Tester) -> None:
    valid_from = now() + timedelta(seconds=300)
    profile = make_profile(tester, kind="Relative", valid=(valid_from, None))
    set_profile(tester, "step 1", profile)
    check_composite(tester, "step 3", tester.evse_id, 400, [(None, None), (valid_from, 6)])


def tc_k_22_cs(tester: Tester) -> None:
    started = now()
    valid = (
        started - timedelta(seconds=tester.settings.deviation_s),
        started + timedelta(seconds=300),
    )
    set_profile(tester, "step 1", make_profile(tester, start=started, valid=valid), 0)
    for evse_id in (0, *tester.profile.evse_ids):
        limit = 6 if evse_id else 6 * len(tester.profile.evse)
        expected = [(None, limit), (valid[1], None)]
        check_composite(tester, f"step 3, EVSE {evse_id}", evse_id, 400, expected)


def tc_k_23_cs(tester: Tester) -> None:
    start = now() + timedelta(seconds=60)
    set_profile(tester, "step 1", make_profile(tester, start=start))
    check_composite(tester, "step 3", tester.evse_id, 300, [(None, None), (start, 6)])


def tc_k_04_cs(tester: Tester) -> None:
    profile = set_profile(tester, "preparation", make_profile(tester))
    changed = make_profile(tester, [(0, 10)]) | {"id": profile["id"]}
    set_profile(tester, "step 1", changed)
    check_reported(
        tester, "step 3", {"chargingProfileId": [profile["id"]]}, [(tester.evse_id, changed)]
    )


# Remote start (K05).


def tc_k_37_cs(tester: Tester) -> None:
    states.ev_connected_pre_session(tester)
    profile = make_profile(tester, purpose=TRANSACTION, kind="Relative")
    _start_with_profile(tester, profile)
    check_reported(
        tester, "step 8", {"chargingProfileId": [profile["id"]]}, [(tester.evse_id, profile)]
    )
    check_composite(tester, "afterwards", tester.evse_id, 60, [(None, 6)])


def tc_k_38_cs(tester: Tester) -> None:
    """For a product without smart charging, which has no chargingRateUnit."""
    states.ev_connected_pre_session(tester)
    period = {"startPeriod": 0, "limit": 6000, "numberPhases": PHASES}
    schedule = {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [period]}
    profile = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": TRANSACTION,
        "chargingProfileKind": "Relative",
        "chargingSchedule": [schedule],
    }
    _start_with_profile(tester, profile)


def _start_with_profile(tester: Tester, profile: Payload) -> None:
    """Steps 1 to 7: a RequestStartTransaction with a profile leads to energy transfer."""
    remote_start_id = states.request_start(tester, "step 1", more={"chargingProfile": profile})
    session = tester.session_on()
    if tester.read_value("AuthCtrlr", "AuthorizeRemoteStart") == "true":
        states.expect_authorize(tester, "step 3")
    session.id_token, session.remote_start_id = VALID, remote_start_id
    if states.starts_by_authorization(tester, session):
        states.first_event_after_authorization(tester, "step 5", None, "RemoteStart")
    states.start_energy_transfer(tester)


# Composite schedule (K08).


def tc_k_39_cs(tester: Tester) -> None:
    composite_schedule(tester, "step 1", 0, 300)


def tc_k_40_cs(tester: Tester) -> None:
    deviation_s = int(tester.settings.deviation_s)
    start = now() - timedelta(seconds=deviation_s)
    valid = start, now() + timedelta(seconds=deviation_s + 401)
    low = make_profile(
        tester,
        [(0, 6), (100, 8), (200, 10)],
        start=start,
        duration=400 + deviation_s,
        valid=valid,
    )
    high = make_profile(
        tester,
        [(0, 7), (100, 9)],
        stack_level=1,
        start=start,
        duration=150 + deviation_s,
        valid=valid,
    )
    set_profile(tester, "preparation", low)
    set_profile(tester, "preparation", high)
    expected = [
        (None, 7),
        (start + timedelta(seconds=100), 9),
        (start + timedelta(seconds=150 + deviation_s), 8),
        (start + timedelta(seconds=200), 10),
    ]
    check_composite(tester, "step 1", tester.evse_id, 350, expected)


def tc_k_41_cs(tester: Tester) -> None:
    transaction_id = states.start_energy_transfer(tester)
    deviation_s = int(tester.settings.deviation_s)
    start = now() - timedelta(seconds=deviation_s)
    valid = start, now() + timedelta(seconds=deviation_s + 401)
    maximum = make_profile(
        tester, [(0, 10)], purpose=MAXIMUM, start=start, duration=86_400 + deviation_s
    )
    default = make_profile(
        tester,
        [(0, 6), (60, 10), (120, 8), (180, 15), (260, 8)],
        start=start,
        duration=300 + deviation_s,
        valid=valid,
    )
    own = make_profile(
        tester,
        [(0, 8), (50, 11), (140, 16), (200, 6), (240, 12)],
        purpose=TRANSACTION,
        start=start,
        duration=260 + deviation_s,
        valid=valid,
        transactionId=transaction_id,
    )
    set_profile(tester, "preparation", maximum, 0)
    set_profile(tester, "preparation", default)
    set_profile(tester, "preparation", own)
    expected = [
        (None, 8),
        (start + timedelta(seconds=50), 10),
        (start + timedelta(seconds=200), 6),
        (start + timedelta(seconds=240), 10),
        (start + timedelta(seconds=260 + deviation_s), 8),
        (start + timedelta(seconds=300 + deviation_s), 10),
    ]
    check_composite(tester, "step 1", tester.evse_id, 400, expected)


def tc_k_42_cs(tester: Tester) -> None:
    request = {"evseId": 0, "duration": 300, "chargingRateUnit": unsupported_unit(tester)}
    expected = {"status": "Rejected", "schedule": OMITTED}
    tester.send_call("step 1", "GetCompositeSchedule", request, expected)


def tc_k_47_cs(tester: Tester) -> None:
    request = {
        "evseId": len(tester.profile.evse) + 1,
        "duration": 300,
        "chargingRateUnit": rate_unit(tester),
    }
    expected = {"status": "Rejected", "schedule": OMITTED}
    tester.send_call("step 1", "GetCompositeSchedule", request, expected)


# Reports (K09).


def two_profiles(tester: Tester, second_level: int = 0) -> tuple[Payload, Payload]:
    """Memory state: a ChargingStationMaxProfile, and a TxDefaultProfile on the EVSE."""
    maximum = set_profile(tester, "preparation", make_profile(tester, purpose=MAXIMUM), 0)
    default = make_profile(tester, stack_level=second_level)
    return maximum, set_profile(tester, "preparation", default)


def tc_k_29_cs(tester: Tester) -> None:
    maximum, _ = two_profiles(tester)
    check_reported(tester, "step 1", {}, [(0, maximum)], 0)


def tc_k_30_cs(tester: Tester) -> None:
    _, default = two_profiles(tester)
    check_reported(tester, "step 1", {}, [(tester.evse_id, default)], tester.evse_id)


def tc_k_31_cs(tester: Tester) -> None:
    maximum, default = two_profiles(tester)
    check_reported(tester, "step 1", {}, [(0, maximum), (tester.evse_id, default)])


def tc_k_32_cs(tester: Tester) -> None:
    maximum, _ = two_profiles(tester)
    check_reported(tester, "step 1", {"chargingProfileId": [maximum["id"]]}, [(0, maximum)])


def tc_k_33_cs(tester: Tester) -> None:
    _, default = two_profiles(tester, second_level=1)
    evse_id = tester.evse_id
    check_reported(tester, "step 1", {"stackLevel": 1}, [(evse_id, default)], evse_id)
    check_none_reported(tester, "afterwards", {"stackLevel": 0}, evse_id)


def tc_k_34_cs(tester: Tester) -> None:
    default = set_profile(tester, "preparation", make_profile(tester, stack_level=1))
    evse_id = tester.evse_id
    check_reported(
        tester, "step 1", {"chargingLimitSource": ["CSO"]}, [(evse_id, default)], evse_id
    )
    check_none_reported(tester, "step 5", {"chargingLimitSource": ["SO"]}, evse_id)


def tc_k_35_cs(tester: Tester) -> None:
    transaction_id = states.start_energy_transfer(tester)
    _, default = two_profiles(tester)
    evse_id = tester.evse_id
    own = make_profile(tester, purpose=TRANSACTION, kind="Relative", transactionId=transaction_id)
    set_profile(tester, "preparation", own)
    for purpose, profile in ((DEFAULT, default), (TRANSACTION, own)):
        criterion = {"chargingProfilePurpose": purpose}
        check_reported(tester, "step 1", criterion, [(evse_id, profile)], evse_id)


def tc_k_36_cs(tester: Tester) -> None:
    _, default = two_profiles(tester)
    other = set_profile(tester, "preparation", make_profile(tester, stack_level=1))
    evse_id = tester.evse_id
    for level, profile in enumerate((default, other)):
        criterion = {"chargingProfilePurpose": DEFAULT, "stackLevel": level}
        check_reported(tester, "step 1", criterion, [(evse_id, profile)], evse_id)


# Clear (K10).


def clear_profiles(tester: Tester, step: str, request: Payload, status: str = "Accepted") -> None:
    tester.send_call(step, "ClearChargingProfile", request, {"status": status})


def tc_k_05_cs(tester: Tester) -> None:
    profile = set_profile(tester, "preparation", make_profile(tester))
    clear_profiles(tester, "step 1", {"chargingProfileId": profile["id"]})
    check_none_reported(tester, "step 3", {"chargingProfileId": [profile["id"]]})


def tc_k_06_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    set_profile(tester, "preparation", make_profile(tester))
    criteria = {"chargingProfilePurpose": DEFAULT, "stackLevel": 0}
    clear_profiles(tester, "step 1", {"chargingProfileCriteria": criteria})
    check_none_reported(tester, "step 3", criteria)


def tc_k_07_cs(tester: Tester) -> None:
    set_profile(tester, "preparation", make_profile(tester, stack_level=1))
    criteria = {"chargingProfilePurpose": MAXIMUM, "stackLevel": 0}
    clear_profiles(tester, "step 1", {"chargingProfileCriteria": criteria}, "Unknown")


def tc_k_08_cs(tester: Tester) -> None:
    clear_profiles(tester, "step 1", {"chargingProfileId": tester.next_id()}, "Unknown")


def tc_k_09_cs(tester: Tester) -> None:
    tester.configure_variable("SmartChargingCtrlr", "LimitChangeSignificance", "1.0")
    duration = 400 + int(tester.settings.deviation_s)
    set_profile(tester, "preparation", make_profile(tester, duration=duration))
    states.start_energy_transfer(tester)
    check_composite(tester, "step 1", tester.evse_id, 300, [(None, 6)])
    criteria = {"chargingProfilePurpose": DEFAULT}
    clear_profiles(tester, "step 3", {"chargingProfileCriteria": criteria})
    schedule = composite_schedule(tester, "step 5", tester.evse_id, 300)
    limit = Decimal(str(schedule["chargingSchedulePeriod"][0]["limit"]))
    require("step 5", limit != scaled(tester, 6), f"the limit must have ended, is {limit}")


def tc_k_24_cs(tester: Tester) -> None:
    for evse_id in (tester.evse_id, tester.settings.second_evse_id):
        set_profile(tester, "preparation", make_profile(tester), evse_id)
    criteria = {"chargingProfilePurpose": DEFAULT, "stackLevel": 0}
    clear_profiles(tester, "step 1", {"chargingProfileCriteria": criteria})
    check_none_reported(tester, "step 3", criteria)
