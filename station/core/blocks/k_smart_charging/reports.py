"""GetChargingProfiles and ReportChargingProfiles, with external limits among them. K09.

A ReportChargingProfiles has profiles of one EVSE and one source. They are split so that no message
is larger than `REPORT_BYTES`, and all parts but the last have `tbc` (K09.FR.02).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

import msgspec

from journal.events import Decision
from journal.projections.charging_profiles import InstalledProfile
from journal.projections.external_limits import ExternalLimit
from station.core.blocks.k_smart_charging.limits import LIMIT_SOURCE_CSO
from station.core.blocks.k_smart_charging.schedule import PURPOSE_EXTERNAL
from station.core.blocks.k_smart_charging.support import (
    UNSUPPORTED_REQUEST,
    requires_smart_charging,
)
from station.core.context import Call, Context, call_error, call_result, encode_raw, status_info
from station.core.report_messages import (
    REPORT_BYTES,
    is_report_queued,
    queue_report_messages,
    split_into_messages,
)
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.datatypes import (
    ChargingProfileType,
    ChargingSchedulePeriodType,
    ChargingScheduleType,
)
from station.ocpp.messages.k_smart_charging import (
    ChargingProfileCriterionType,
    GetChargingProfilesRequest,
    GetChargingProfilesResponse,
)

REPORT_ACTION: Final = "ReportChargingProfiles"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ReportedProfile(NamedTuple):
    """A profile or an external limit, as it is reported and selected."""

    evse_id: int
    limit_source: str  # ChargingLimitSourceEnumType
    profile_id: int
    purpose: str
    stack_level: int
    profile: msgspec.Raw


@requires_smart_charging(
    GetChargingProfilesResponse(status="NoProfiles", status_info=UNSUPPORTED_REQUEST)
)
def get_charging_profiles(
    ctx: Context, call: Call, request: GetChargingProfilesRequest
) -> Iterator[Decision]:
    """Report the profiles that match. K09.FR.01 to 06."""
    if is_report_queued(ctx, REPORT_ACTION):
        yield call_error(call, "GenericError", "an earlier report is still being sent")
        return
    selected = [
        profile
        for profile in reported_profiles(ctx)
        if request.evse_id in (None, profile.evse_id)  # K09.FR.04 to 06
        and _matches(profile, request.charging_profile)
    ]
    if not selected:
        yield call_result(
            call,
            GetChargingProfilesResponse(status="NoProfiles", status_info=status_info("NotFound")),
        )
        return
    yield call_result(call, GetChargingProfilesResponse(status="Accepted"))
    yield from _queue_report(ctx, request.request_id, selected)


def reported_profiles(ctx: Context) -> tuple[ReportedProfile, ...]:
    """Everything that can be reported, by EVSE, source and id."""
    profiles = (_from_profile(each) for each in ctx.state.charging_profiles.installed)
    limits = (_from_external_limit(each) for each in ctx.state.external_limits.limits)
    return tuple(sorted((*profiles, *limits), key=lambda each: each[:3]))


def _from_profile(installed: InstalledProfile) -> ReportedProfile:
    return ReportedProfile(
        evse_id=installed.evse_id,
        limit_source=LIMIT_SOURCE_CSO,
        profile_id=installed.profile_id,
        purpose=installed.purpose,
        stack_level=installed.stack_level,
        profile=installed.profile,
    )


def _from_external_limit(limit: ExternalLimit) -> ReportedProfile:
    """It has the purpose ChargingStationExternalConstraints. K11.FR.06, K12.FR.05."""
    profile = ChargingProfileType(
        id=limit.profile_id,
        stack_level=0,
        charging_profile_purpose=PURPOSE_EXTERNAL,
        charging_profile_kind="Absolute",
        charging_schedule=(external_schedule(limit),),
    )
    return ReportedProfile(
        evse_id=limit.evse_id,
        limit_source=limit.source,
        profile_id=limit.profile_id,
        purpose=PURPOSE_EXTERNAL,
        stack_level=0,
        profile=encode_raw(profile),
    )


def external_schedule(limit: ExternalLimit) -> ChargingScheduleType:
    """An external limit as a schedule in W from its report."""
    start = _EPOCH + timedelta(milliseconds=limit.since_unix_ms)
    return ChargingScheduleType(
        id=1,
        start_schedule=format_timestamp(start),
        duration=limit.duration_s,
        charging_rate_unit="W",
        charging_schedule_period=tuple(
            ChargingSchedulePeriodType(start_period=period.start_s, limit=period.limit_w)
            for period in limit.periods
        ),
    )


def _matches(profile: ReportedProfile, criterion: ChargingProfileCriterionType) -> bool:
    """Whether all given criteria match; without any, every profile matches. K09.FR.03."""
    ids, sources = criterion.charging_profile_id, criterion.charging_limit_source
    return (
        (ids is None or profile.profile_id in ids)
        and (sources is None or profile.limit_source in sources)
        and criterion.charging_profile_purpose in (None, profile.purpose)
        and criterion.stack_level in (None, profile.stack_level)
    )


def _queue_report(
    ctx: Context, request_id: int, profiles: Sequence[ReportedProfile]
) -> Iterator[Decision]:
    parts = tuple(_split_into_parts(profiles))
    payloads = (
        {
            "requestId": request_id,  # K09.FR.01
            "chargingLimitSource": part[0].limit_source,
            "chargingProfile": [profile.profile for profile in part],
            "evseId": part[0].evse_id,
            "tbc": number < len(parts),  # K09.FR.02
        }
        for number, part in enumerate(parts, start=1)
    )
    yield from queue_report_messages(ctx, REPORT_ACTION, payloads)


def _split_into_parts(profiles: Sequence[ReportedProfile]) -> Iterator[Sequence[ReportedProfile]]:
    for _, group in groupby(profiles, key=lambda each: (each.evse_id, each.limit_source)):
        members = tuple(group)
        sizes = [len(bytes(member.profile)) for member in members]
        for part in split_into_messages(sizes, len(members), REPORT_BYTES):
            yield [members[index] for index in part]
