"""Authorization of idTokens: grant, refuse, ask the CSMS. Block C.

An authorization is the permission to charge. It is *pending* while an Authorize call is open, then
*active* until it ends; it may be active before it has an EVSE. The steps and who takes them:

    idToken presented           on_id_token_presented         ends an authorization, or requests one
    EVCCID reported             on_ev_token_reported          requests one: Autocharge
    request to charge           request_charging              granted, refused, or sent to the CSMS
    answer of the CSMS          on_authorize_response         granted or refused
    link closed while pending   resolve_pending_offline       granted or refused as when offline
    no connection after a start end_wait_for_connection       granted or refused as when offline
    cable plugged in, or not    c_connection                  gets its EVSE; ends with a timeout

`c_id_token` finds out what an idToken means; `d_local_list` keeps the list that the CSMS sent, and
`c_authorization_cache` what it answered. `c_without_csms` decides without an answer.

`request_charging` takes the first of these that applies:

1. `local_refusal`: refused, whatever the CSMS would answer.
2. AuthCtrlr.Enabled is false: granted, no authorization is needed.
3. No call can be sent, also not soon (`may_ask_soon`), and
   the CSMS has not accepted the station: refused (B03.FR.01);
   the list and the cache do not have it, and a reservation is for it: granted (H03.FR.01 to 03).
4. The first row of `c_local_authorization.DECISION_TABLE` that applies: granted, refused, or an
   AuthorizeRequest is sent.

Without an answer to that request the rows for a CSMS that cannot be asked decide.

**Autocharge.** An EV reports its EVCCID when it is plugged in, not because somebody wants to charge
or to stop. So it requests a charge only for an EV that has had no authorization and no transaction
since it was plugged in, and never ends one. It is an identifier that any EV can imitate: the
feature needs the profile (C-34) and AuthCtrlr.AutochargeEnabled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event, IdToken
from journal.observations import EvTokenReported, IdTokenPresented
from journal.projections.authorizations import (
    Authorization,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
    PendingAuthorization,
)
from journal.projections.outbox import CallQueued
from station.core.blocks.c_authorization_cache import (
    cache_id_token_info,
)
from station.core.blocks.c_authorization_reasons import AUTHORIZATION_REASONS
from station.core.blocks.c_id_token import (
    Refusal,
    authorization_of_token,
    bound_authorizations,
    find_evse_for,
    group_of_authorization,
    has_free_evse,
    has_stopping_transaction,
    known_group,
    local_refusal,
    make_claimant,
)
from station.core.blocks.c_local_authorization import (
    LocalInfo,
    find_local_info,
    select_row,
)
from station.core.blocks.c_without_csms import (
    CODES,
    CONNECTING,
    ChargingRequest,
    decide_without_csms,
    end_wait_for_connection,
    grant_authorization,
    grant_locally,
    may_ask_soon,
    next_wait_due_ms,
    refusal_at_target,
    refusal_of_row,
    resolve_offline,
    resolve_pending_offline,
    target_evse,
)
from station.core.blocks.evse_conditions import charging_state, is_in_service
from station.core.blocks.i_tariff_and_cost import receive_authorization_info
from station.core.context import (
    Context,
    Deadline,
    ResultHandler,
    Rule,
    encode_raw,
    id_token_for_message,
    id_token_from_message,
)
from station.core.reasons import Reason
from station.ocpp.messages.c_authorization import AuthorizeRequest, AuthorizeResponse
from station.ocpp.messages.datatypes import IdTokenInfoType

AUTHORIZATION_ENABLED: Final = "AuthCtrlr.Enabled"
AUTOCHARGE_ENABLED: Final = "AuthCtrlr.AutochargeEnabled"

# A card presented again so soon is a second tap of an EV driver who has not seen that the first one
# was accepted, or a card that moves in the field of the reader. Preparing an EV for energy transfer
# takes longer than that, so a driver who has seen it start can always stop.
SECOND_TAP_MS: Final = 2_000

# Requests that wait for the CSMS, more than a station has EV drivers. Each is sent after the one
# before it was answered or timed out: without a limit, cards presented to a CSMS that does not
# answer would fill the memory. A further idToken is decided as when the CSMS gives no answer. No
# variable of AuthCtrlr fits this limit: it is in the threat model of station/README.md.
PENDING_MAX: Final = 16


# --- An idToken is presented ---------------------------------------------------------------------


def on_id_token_presented(ctx: Context) -> Iterator[Decision]:
    """End the authorization the idToken means, or request one. C01, C09, C10, C12, C15, E07."""
    presentation = ctx.entry.event
    assert isinstance(presentation, IdTokenPresented)
    own = authorization_of_token(ctx, presentation)
    if own:
        if not is_just_accepted(ctx, own):
            # C01.FR.03 (a), E07.FR.01
            yield end_by_id_token(own, presentation.id_token, "same_id_token")
        return
    claimant = make_claimant(ctx, presentation.id_token, asks_csms=True)
    evse_id = presentation.evse_id or find_evse_for(ctx, claimant)
    is_taken = evse_id is not None and ctx.state.authorizations.on_evse(evse_id) is not None
    if evse_id is None or is_taken:
        of_group = _authorization_of_group(ctx, presentation)
        if of_group:
            # C01.FR.03 (b), C09.FR.07
            yield end_by_id_token(of_group, presentation.id_token, "cached_group")
            return
    if is_taken or (evse_id is None and not has_free_evse(ctx, claimant)):
        yield from _request_stop(ctx, presentation)
        return
    yield from request_charging(
        ctx, presentation.id_token, evse_id=evse_id, cacheable=presentation.cacheable
    )


def on_ev_token_reported(ctx: Context) -> Iterator[Decision]:
    """Request a charge for the EV that was plugged in. C-34, C01.FR.02."""
    report = ctx.entry.event
    assert isinstance(report, EvTokenReported)
    if may_identify_ev(ctx, report.evse_id):
        yield from request_charging(ctx, report.id_token, evse_id=report.evse_id)


def is_autocharge_enabled(ctx: Context) -> bool:
    """Whether the EVCCID of an EV is an idToken. C-34."""
    return ctx.product.profile.supports("C-34") and ctx.variable_boolean(AUTOCHARGE_ENABLED)


def may_identify_ev(ctx: Context, evse_id: int) -> bool:
    """Whether the EVCCID of the EV at an EVSE would request a charge. C-34.

    A transaction may have started with the cable, before any authorization (E02).
    """
    if not is_autocharge_enabled(ctx) or evse_id not in ctx.state.lifecycle.evse_ids:
        return False
    evse, transaction = ctx.state.evses.by_id(evse_id), ctx.state.transactions.on_evse(evse_id)
    return (
        evse.is_plugged_in
        and ctx.state.authorizations.on_evse(evse_id) is None
        and (transaction is None or transaction.id_token is None)
        and not has_stopping_transaction(ctx, evse_id)
        and is_in_service(ctx, evse_id)
        and evse.cable_reported_seq > ctx.state.transactions.last_end_seq(evse_id)
    )


def is_just_accepted(ctx: Context, authorization: Authorization) -> bool:
    """Whether its idToken, presented again, does not mean stop; the display shows it accepted.

    Once energy flows the EV driver has seen that charging began, and may stop it at any time.
    """
    granted_before_start = authorization.seq < ctx.state.lifecycle.started_seq
    if granted_before_start or ctx.uptime_ms >= authorization.since_ms + SECOND_TAP_MS:
        return False  # a start sets `since_ms` again, but the EV driver has waited since the grant
    return authorization.evse_id is None or (
        charging_state(ctx, authorization.evse_id) != "Charging"
    )


def end_by_id_token(
    authorization: Authorization, id_token: IdToken, because: str
) -> AuthorizationEnded:
    """The end of an authorization by its own idToken or one of its group. E07.FR.02."""
    return AuthorizationEnded(
        authorization_seq=authorization.seq,
        evse_id=authorization.evse_id,
        trigger_reason="StopAuthorized",
        stopped_reason="Local",
        ended_by_id_token=id_token,
        because=because,
    )


def _authorization_of_group(ctx: Context, presentation: IdTokenPresented) -> Authorization | None:
    """The first authorization on an EVSE that has the group that is known of the idToken."""
    group = known_group(find_local_info(ctx, presentation.id_token))
    for authorization in bound_authorizations(ctx, presentation):
        if group is not None and group_of_authorization(ctx, authorization) == group:
            return authorization
    return None


def _request_stop(ctx: Context, presentation: IdTokenPresented) -> Iterator[Decision]:
    """Ask the CSMS for the group of an idToken that has no EVSE to start on. C09.FR.05."""
    has_group = any(
        group_of_authorization(ctx, authorization) is not None
        for authorization in bound_authorizations(ctx, presentation)
    )
    has_room = has_room_to_ask(ctx, presentation.id_token, presentation.evse_id)
    if not (has_group and has_room and ctx.may_send_calls):
        yield AuthorizationRefused(
            id_token=presentation.id_token, status="NoEvseFree", because="no_evse_free"
        )
        return
    info = find_local_info(ctx, presentation.id_token)
    row = select_row(ctx, info, None, can_ask=True)
    if row.decision.startswith("refuse"):  # DisablePostAuthorize, DisableRemoteAuthorization
        request = ChargingRequest(presentation.id_token, presentation.evse_id)
        yield request.refuse(refusal_of_row(row, info, None))
        return
    yield from _queue_authorize_request(
        ctx,
        presentation.id_token,
        evse_id=presentation.evse_id,
        stop_only=True,
        cacheable=presentation.cacheable,
        because="stop_only",
    )


# --- A request to charge -------------------------------------------------------------------------


def request_charging(
    ctx: Context,
    id_token: IdToken,
    *,
    evse_id: int | None,
    remote_start_id: int | None = None,
    group: IdToken | None = None,
    cacheable: bool = True,
) -> Iterator[Decision]:
    """Grant a request to charge, refuse it, or ask the CSMS. The order is in the module text."""
    request = ChargingRequest(id_token, evse_id, remote_start_id, group)
    refusal = local_refusal(ctx, make_claimant(ctx, id_token, group, asks_csms=True), evse_id)
    if refusal:
        yield request.refuse(refusal)
        return
    # Only the CSMS may know the group that a reservation is for: what decides without it refuses.
    reserved = local_refusal(ctx, make_claimant(ctx, id_token, group), evse_id)
    for decision in _decide_request(ctx, request, cacheable=cacheable):
        is_granted = isinstance(decision, AuthorizationGranted)
        yield request.refuse(reserved) if reserved and is_granted else decision


def _decide_request(
    ctx: Context, request: ChargingRequest, *, cacheable: bool
) -> Iterator[Decision]:
    """Decide a request that nothing local refuses: points 2 to 4 of the module text."""
    id_token, evse_id = request.id_token, request.evse_id
    info = find_local_info(ctx, id_token)
    if not ctx.variable_boolean(AUTHORIZATION_ENABLED, default=True):
        group = request.group or known_group(info)  # a reservation may be for it: H03.FR.07
        yield request._replace(group=group).grant("NotNeeded")
        return
    if not ctx.may_send_calls and not may_ask_soon(ctx, request, info):
        yield from decide_without_csms(ctx, request, info, "not_asked")
        return
    row = select_row(ctx, info, evse_id, can_ask=True)
    if row.decision == "grant":
        yield from grant_locally(ctx, request, info)
    elif row.decision != "ask":
        yield request.refuse(refusal_of_row(row, info, evse_id))
    elif not has_room_to_ask(ctx, id_token, evse_id):
        yield from decide_without_csms(ctx, request, info, "too_many_pending")
    else:
        yield from _queue_authorize_request(
            ctx,
            id_token,
            evse_id=evse_id,
            remote_start_id=request.remote_start_id,
            cacheable=cacheable,
            because=_code_of_authorize_request(info) if ctx.may_send_calls else CONNECTING,
        )


def _code_of_authorize_request(info: LocalInfo | None) -> str:
    if info is None:
        return "not_cached"
    if info.is_outdated:
        return "listed_outdated"
    return f"{CODES[info.source]}_{'accepted' if info.is_accepted else 'refused'}"


# --- The CSMS decides ----------------------------------------------------------------------------


def has_room_to_ask(ctx: Context, id_token: IdToken, evse_id: int | None) -> bool:
    """Whether the CSMS may be asked: fewer than PENDING_MAX wait, or the same idToken does. P6"""
    pending = ctx.state.authorizations.pending
    return len(pending) < PENDING_MAX or any(
        each.request.id_token == id_token and each.request.evse_id == evse_id for each in pending
    )


def _queue_authorize_request(
    ctx: Context,
    id_token: IdToken,
    *,
    evse_id: int | None,
    remote_start_id: int | None = None,
    stop_only: bool = False,
    cacheable: bool = True,
    because: str,
) -> Iterator[Decision]:
    """Queue an AuthorizeRequest, unless the same one is pending. C01.FR.02."""
    for pending in ctx.state.authorizations.pending:
        if pending.request.id_token == id_token and pending.request.evse_id == evse_id:
            return
    yield AuthorizationRequested(
        id_token=id_token,
        evse_id=evse_id,
        stop_only=stop_only,
        remote_start_id=remote_start_id,
        cacheable=cacheable,
        because=because,
    )
    request = AuthorizeRequest(id_token=id_token_for_message(id_token))
    yield CallQueued(lane="general", action="Authorize", payload=encode_raw(request))


def on_authorize_response(
    ctx: Context, call_seq: int, response: AuthorizeResponse | None
) -> Iterator[Decision]:
    """Grant or refuse as the CSMS answered; without an answer as offline. C01.FR.07, C09, C10."""
    pending = _pending_of_call(ctx, call_seq)
    if pending is None:
        return
    if response is None:
        yield from resolve_offline(ctx, pending, "no_answer")
        return
    request, info = pending.request, response.id_token_info
    yield from cache_id_token_info(ctx, request.id_token, info, cacheable=request.cacheable)
    group = id_token_from_message(info.group_id_token) if info.group_id_token else None
    accepted = info.status == "Accepted"
    if accepted and group is not None:
        for authorization in ctx.state.authorizations.active:
            if _is_same_group_on_evse(ctx, authorization, group, request.evse_id):
                if authorization.id_token != request.id_token or not is_just_accepted(
                    ctx, authorization
                ):
                    # C09.FR.03, C09.FR.11
                    yield end_by_id_token(authorization, request.id_token, "group_by_csms")
                return
    if request.stop_only or not accepted:
        refusal = (
            Refusal("NoEvseFree", "no_evse_free") if accepted else Refusal(info.status, "csms")
        )
        yield ChargingRequest(request.id_token, request.evse_id).refuse(refusal)
        return
    yield from _grant_by_csms(ctx, request, info, group)
    yield from receive_authorization_info(ctx, request.id_token, info)


def _pending_of_call(ctx: Context, call_seq: int) -> PendingAuthorization | None:
    for pending in ctx.state.authorizations.pending:
        if pending.call_seq == call_seq:
            return pending
    return None


def _is_same_group_on_evse(
    ctx: Context, authorization: Authorization, group: IdToken, evse_id: int | None
) -> bool:
    """Whether an authorization has this group and is on this EVSE; None: on any EVSE."""
    return (
        authorization.evse_id is not None
        and group_of_authorization(ctx, authorization) == group
        and evse_id in (None, authorization.evse_id)
    )


def _grant_by_csms(
    ctx: Context, request: AuthorizationRequested, info: IdTokenInfoType, group: IdToken | None
) -> Iterator[Decision]:
    """Grant what the CSMS accepted, unless its EVSE is taken by now or not allowed. C01.FR.21."""
    allowed_evse_ids = info.evse_id or ()
    claimant = make_claimant(ctx, request.id_token, group)
    evse_id = target_evse(ctx, request, claimant)
    refusal = refusal_at_target(ctx, claimant, evse_id)
    if (
        refusal is None
        and allowed_evse_ids
        and evse_id is not None
        and evse_id not in allowed_evse_ids
    ):
        refusal = Refusal("NotAllowedTypeEVSE", "other_evses_only")
    if refusal:
        yield ChargingRequest(request.id_token, evse_id).refuse(refusal)
        return
    yield grant_authorization(
        request.id_token,
        "CSMS",
        evse_id=evse_id,
        group=group,
        allowed_evse_ids=allowed_evse_ids,
        remote_start_id=request.remote_start_id,
    )


OBSERVED: Final[dict[type[Event], Rule]] = {
    EvTokenReported: on_ev_token_reported,
    IdTokenPresented: on_id_token_presented,
}
RESULTS: Final[dict[str, ResultHandler]] = {"Authorize": on_authorize_response}
REASONS: Final = AUTHORIZATION_REASONS
CALL_REASONS: Final = {"Authorize": Reason("the CSMS has to authorize an IdToken")}
DEADLINES: Final[tuple[Deadline, ...]] = (next_wait_due_ms,)
RULES: Final[tuple[Rule, ...]] = (resolve_pending_offline, end_wait_for_connection)
