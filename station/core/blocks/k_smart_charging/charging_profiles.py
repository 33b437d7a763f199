"""SetChargingProfile, ClearChargingProfile, and the end of TxProfiles. K01, K05, K10."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from journal.projections.charging_profiles import (
    ChargingProfileInstalled,
    ChargingProfileRemoved,
    InstalledProfile,
)
from station.core.blocks.k_smart_charging.profile_checks import Candidate, find_refusal
from station.core.blocks.k_smart_charging.schedule import PURPOSE_TX
from station.core.blocks.k_smart_charging.support import (
    UNSUPPORTED_REQUEST,
    Refusal,
    is_enabled,
    requires_smart_charging,
)
from station.core.context import Call, Context, call_result, encode_raw, status_info
from station.ocpp.messages.datatypes import ChargingProfileType
from station.ocpp.messages.k_smart_charging import (
    ClearChargingProfileRequest,
    ClearChargingProfileResponse,
    ClearChargingProfileType,
    SetChargingProfileRequest,
    SetChargingProfileResponse,
)

START_REASON_CODES: Final = frozenset({"InvalidProfile", "InvalidSchedule"})  # F01.FR.26

# --- Set -----------------------------------------------------------------------------------------


@requires_smart_charging(None)  # K01.FR.29
def set_charging_profile(
    ctx: Context, call: Call, request: SetChargingProfileRequest
) -> Iterator[Decision]:
    """Install a profile, or replace the one with its id. K01.FR.05, K01.FR.07."""
    profile = request.charging_profile
    refusal = (
        find_refusal(Candidate(ctx, request.evse_id, profile, profile.transaction_id or ""))
        if is_enabled(ctx)
        else Refusal("NotEnabled", "smart charging is disabled")
    )
    if refusal:
        yield call_result(
            call,
            SetChargingProfileResponse(status="Rejected", status_info=refusal.as_status_info()),
        )
        return
    yield ChargingProfileInstalled(
        evse_id=request.evse_id,
        profile_id=profile.id,
        purpose=profile.charging_profile_purpose,
        stack_level=profile.stack_level,
        transaction_id=profile.transaction_id or "",
        profile=encode_raw(profile),
    )
    yield call_result(call, SetChargingProfileResponse(status="Accepted"))


# --- With RequestStartTransaction ----------------------------------------------------------------


def find_start_refusal(
    ctx: Context, evse_id: int, profile: ChargingProfileType | None
) -> Refusal | None:
    """Why a RequestStartTransaction is refused for its profile. K05.FR.02/05, F01.FR.26, F02.FR.27.

    None if there is no profile, or smart charging is off: then it is ignored. K05.FR.04.
    """
    if profile is None or not is_enabled(ctx):
        return None
    if profile.charging_profile_purpose != PURPOSE_TX:
        return Refusal("InvalidProfile", f"the purpose must be {PURPOSE_TX}")
    if profile.transaction_id is not None:
        return Refusal("InvalidProfile", "the transactionId is not known before the start")
    running = ctx.state.transactions.on_evse(evse_id)
    transaction_id = running.transaction_id if running else None
    refusal = find_refusal(Candidate(ctx, evse_id, profile, transaction_id))
    if refusal is None or refusal.reason_code in START_REASON_CODES:
        return refusal
    return Refusal("InvalidProfile", refusal.text)


def install_with_start(
    ctx: Context, evse_id: int, profile: ChargingProfileType | None, remote_start_id: int
) -> Iterator[Decision]:
    """Install the profile of an accepted RequestStartTransaction. K05.FR.03.

    It counts for the transaction on the EVSE, or for the one that this request starts.
    """
    if profile is None or not is_enabled(ctx):
        return
    running = ctx.state.transactions.on_evse(evse_id)
    yield ChargingProfileInstalled(
        evse_id=evse_id,
        profile_id=profile.id,
        purpose=profile.charging_profile_purpose,
        stack_level=profile.stack_level,
        transaction_id=running.transaction_id if running else "",
        remote_start_id=None if running else remote_start_id,
        profile=encode_raw(profile),
    )


# --- Clear ---------------------------------------------------------------------------------------


@requires_smart_charging(
    ClearChargingProfileResponse(status="Unknown", status_info=UNSUPPORTED_REQUEST)
)
def clear_charging_profile(
    ctx: Context, call: Call, request: ClearChargingProfileRequest
) -> Iterator[Decision]:
    """Remove the profile with an id, or all that match. K10.FR.01, K10.FR.03, K10.FR.04.

    External limits are no profiles of the CSMS: they never match. K10.FR.08, K10.FR.09.
    """
    matching = [
        installed
        for installed in ctx.state.charging_profiles.installed
        if _is_cleared(installed, request)
    ]
    for installed in matching:
        yield ChargingProfileRemoved(installed.profile_id, "cleared")
    if matching:
        yield call_result(call, ClearChargingProfileResponse(status="Accepted"))
    else:
        yield call_result(
            call,
            ClearChargingProfileResponse(status="Unknown", status_info=status_info("NotFound")),
        )


def _is_cleared(installed: InstalledProfile, request: ClearChargingProfileRequest) -> bool:
    if request.charging_profile_id is not None:
        return installed.profile_id == request.charging_profile_id
    criteria = request.charging_profile_criteria or ClearChargingProfileType()
    return (
        criteria.evse_id in (None, installed.evse_id)
        and criteria.charging_profile_purpose in (None, installed.purpose)
        and criteria.stack_level in (None, installed.stack_level)
    )


# --- The end of TxProfiles -----------------------------------------------------------------------


def end_transaction_profiles(ctx: Context) -> Iterator[Decision]:
    """Remove each TxProfile whose transaction has ended, or will not start. K02.FR.05."""
    for installed in ctx.state.charging_profiles.installed:
        if installed.purpose != PURPOSE_TX:
            continue
        if installed.transaction_id:
            if ctx.state.transactions.by_id(installed.transaction_id) is None:
                yield ChargingProfileRemoved(installed.profile_id, "transaction_ended")
        elif not _is_start_awaited(ctx, installed.remote_start_id):
            yield ChargingProfileRemoved(installed.profile_id, "not_started")


def _is_start_awaited(ctx: Context, remote_start_id: int | None) -> bool:
    """Whether a RequestStartTransaction may still lead to a transaction."""
    authorizations = ctx.state.authorizations
    return any(
        authorization.granted.remote_start_id == remote_start_id
        for authorization in authorizations.active
    ) or any(
        pending.request.remote_start_id == remote_start_id for pending in authorizations.pending
    )
