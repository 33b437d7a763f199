"""Charging profiles as the CSMS sends them, for tests of the core at NOON."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from journal.events import Decision
from station.ocpp.messages import format_timestamp
from tests.support.story import NOON, Json, Station, Step, called, response_payload_in


def instant(seconds: float = 0) -> str:
    """Seconds after NOON, where every story begins."""
    return format_timestamp(NOON + timedelta(seconds=seconds))


def charging_profile(
    *periods: tuple[int, Any],
    profile_id: int = 1,
    purpose: str = "TxDefaultProfile",
    kind: str = "Absolute",
    level: int = 0,
    start_s: float = 0,
    schedule: Json | None = None,
    **more: Any,
) -> Json:
    """A profile in W; `schedule`: other fields of its schedule, `more`: other fields."""
    body: Json = {
        "id": 1,
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [
            {"startPeriod": start, "limit": limit} for start, limit in periods or ((0, 6000),)
        ],
    }
    if kind != "Relative":
        body["startSchedule"] = instant(start_s)
    return {
        "id": profile_id,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [{**body, **(schedule or {})}],
        **more,
    }


def set_profile(evse_id: int, profile: Json) -> Step:
    """A SetChargingProfileRequest."""
    return called("SetChargingProfile", evseId=evse_id, chargingProfile=profile)


def installed(evse_id: int, profile: Json) -> Step:
    """As `set_profile`; asserts that it is accepted."""

    def step(station: Station) -> list[Decision]:
        decisions = station.when(set_profile(evse_id, profile))
        assert response_payload_in(decisions) == {"status": "Accepted"}
        return decisions

    return step


def installed_ids(station: Station) -> list[int]:
    return [each.profile_id for each in station.state.charging_profiles.installed]


def reason_in(decisions: list[Decision]) -> str:
    """The reason code of a response with status Rejected."""
    response = response_payload_in(decisions)
    assert response["status"] == "Rejected"
    code: str = response["statusInfo"]["reasonCode"]
    return code
