"""Who may charge, and which EVSE does a card mean? (Block C)

One reader serves both EVSEs and nobody has to choose one first (AQ-8). A card means, in this order:

1. the EVSE it is said to mean (an operator, a remote start, a tester);
2. the EVSE where this very token may charge: it ends that;
3. the EVSE that was plugged in last and still waits for somebody;
4. the EVSE where a token of the same group may charge: it ends that;
5. the next EVSE that is plugged in, within EVConnectionTimeOut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from journal.events import Decision, Event, IdToken
from journal.observations import IdTokenPresented, LinkClosed, StationStarted
from journal.projections.auth_cache import (
    CachedIdToken,
)
from journal.projections.authorizations import (
    Authorization,
    AuthorizationBoundToEvse,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
    AuthorizedBy,
    PendingAuthorization,
)
from journal.projections.outbox import CallQueued
from station.core.blocks.c_authorization_cache import (
    cache_id_token_info,
    find_cache_entry,
    renew_cache_entry,
)
from station.core.blocks.evse_conditions import is_in_service
from station.core.context import (
    Context,
    Deadline,
    ResultHandler,
    Rule,
    encode_raw,
    id_token_for_message,
    id_token_from_message,
)
from station.ocpp.messages.c_authorization import (
    AuthorizeRequest,
    AuthorizeResponse,
)
from station.ocpp.messages.datatypes import IdTokenInfoType

NO_ID_TOKEN: Final = IdToken(ref="", type="NoAuthorization")

AUTHORIZATION_ENABLED: Final = "AuthCtrlr.Enabled"
LOCAL_AUTHORIZE_OFFLINE: Final = "AuthCtrlr.LocalAuthorizeOffline"
LOCAL_PRE_AUTHORIZE: Final = "AuthCtrlr.LocalPreAuthorize"
OFFLINE_TX_FOR_UNKNOWN_ID: Final = "AuthCtrlr.OfflineTxForUnknownIdEnabled"
DISABLE_REMOTE_AUTHORIZATION: Final = "AuthCtrlr.DisableRemoteAuthorization"
DISABLE_POST_AUTHORIZE: Final = "AuthCacheCtrlr.DisablePostAuthorize"
TX_BEFORE_ACCEPTED: Final = "TxCtrlr.TxBeforeAcceptedEnabled"
EV_CONNECTION_TIMEOUT: Final = "TxCtrlr.EVConnectionTimeOut"
MASTER_PASS_GROUP_ID: Final = "AuthCtrlr.MasterPassGroupId"


# --- A token is presented ------------------------------------------------------------------------


def on_id_token_presented(ctx: Context) -> Iterator[Decision]:
    """Someone held a card to the reader. C01, C09, C10, C12, C15, E07."""
    seen = ctx.entry.event
    assert isinstance(seen, IdTokenPresented)
    held = _authorization_of_token(ctx, seen)
    if held:
        yield end_by_id_token(held, seen.id_token)  # C01.FR.03 (a), E07.FR.01
        return
    evse_id = seen.evse_id or find_waiting_evse(ctx)
    if evse_id is None or ctx.state.authorizations.on_evse(evse_id):
        group = _cached_group(ctx, seen.id_token)
        for other in _bound_authorizations(ctx, seen):
            if group is not None and _group_of_authorization(ctx, other) == group:
                yield end_by_id_token(other, seen.id_token)  # C01.FR.03 (b), C09.FR.07
                return
    taken = evse_id is not None and ctx.state.authorizations.on_evse(evse_id) is not None
    if taken or (evse_id is None and not _has_free_evse(ctx)):
        yield from _request_stop(ctx, seen)
        return
    yield from request_charging(ctx, seen.id_token, evse_id=evse_id, cacheable=seen.cacheable)


def end_by_id_token(authorization: Authorization, id_token: IdToken) -> AuthorizationEnded:
    """A token ended what it, or one of its group, began. E07.FR.02."""
    return AuthorizationEnded(
        authorization_seq=authorization.seq,
        evse_id=authorization.evse_id,
        trigger_reason="StopAuthorized",
        stopped_reason="Local",
        ended_by_id_token=id_token,
    )


def _authorization_of_token(ctx: Context, presentation: IdTokenPresented) -> Authorization | None:
    """What this very token began; an EVSE that is meant narrows it down."""
    for held in ctx.state.authorizations.active:
        if held.id_token == presentation.id_token and presentation.evse_id in (None, held.evse_id):
            return held
    return None


def _bound_authorizations(ctx: Context, presentation: IdTokenPresented) -> Iterator[Authorization]:
    for held in ctx.state.authorizations.active:
        if held.evse_id is not None and presentation.evse_id in (None, held.evse_id):
            yield held


def _cached_group(ctx: Context, id_token: IdToken) -> IdToken | None:
    """The group of a token that is cached as valid. C09.FR.11: another status stops nothing."""
    known = find_cache_entry(ctx, id_token)
    return known.group_id_token if known and known.status == "Accepted" else None


def _group_of_authorization(ctx: Context, authorization: Authorization) -> IdToken | None:
    """The group of who may charge; some are told only with the transaction. C09.FR.12."""
    told = (
        one.group_id_token
        for one in ctx.state.transactions.open
        if one.authorization_seq == authorization.seq
    )
    return authorization.granted.group_id_token or next(told, None)


def find_waiting_evse(ctx: Context) -> int | None:
    """The EVSE plugged in last that nobody has claimed."""
    waiting = [
        (evse.cable_reported_seq, evse.evse_id)
        for evse in ctx.state.evses.all_evses
        if evse.is_plugged_in
        and ctx.state.authorizations.on_evse(evse.evse_id) is None
        and is_in_service(ctx, evse.evse_id)
        and not _has_stopping_transaction(ctx, evse.evse_id)
    ]
    return max(waiting)[1] if waiting else None


def _has_stopping_transaction(ctx: Context, evse_id: int) -> bool:
    """Whether an open transaction belongs to somebody whose right ended. C01.FR.23."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    return transaction is not None and transaction.stop_order is not None


def _has_free_evse(ctx: Context) -> bool:
    """Whether an EVSE is left for one more person who comes before the cable."""
    free = [
        evse.evse_id
        for evse in ctx.state.evses.all_evses
        if not evse.is_plugged_in
        and ctx.state.authorizations.on_evse(evse.evse_id) is None
        and is_in_service(ctx, evse.evse_id)
    ]
    return len(free) > len(ctx.state.authorizations.unbound)


def _request_stop(ctx: Context, presentation: IdTokenPresented) -> Iterator[Decision]:
    """Where it could start, somebody charges: the token can only mean to stop. C09.FR.05."""
    running = [
        held
        for held in _bound_authorizations(ctx, presentation)
        if _group_of_authorization(ctx, held) is not None
    ]
    if not running or not ctx.may_send_calls:
        yield AuthorizationRefused(id_token=presentation.id_token, status="NoEvseFree")
        return
    yield from _queue_authorize_request(
        ctx,
        presentation.id_token,
        evse_id=presentation.evse_id,
        to_stop=True,
        cacheable=presentation.cacheable,
    )


class AuthorizationFactory(Protocol):
    """A grant to whoever is being judged, by that means."""

    def __call__(
        self, how: AuthorizedBy, cache_entry: CachedIdToken | None = None
    ) -> AuthorizationGranted: ...


# --- Judging a wish ------------------------------------------------------------------------------


def request_charging(
    ctx: Context,
    id_token: IdToken,
    *,
    evse_id: int | None,
    remote_start_id: int | None = None,
    group: IdToken | None = None,
    cacheable: bool = True,
) -> Iterator[Decision]:
    """Somebody wants to charge: grant it, refuse it, or ask the CSMS."""
    refusal = _local_refusal(ctx, id_token, evse_id)
    if refusal:
        yield AuthorizationRefused(id_token=id_token, status=refusal, evse_id=evse_id)
        return

    def make_authorization(
        how: AuthorizedBy, cache_entry: CachedIdToken | None = None
    ) -> AuthorizationGranted:
        return grant_authorization(
            ctx,
            id_token,
            how,
            evse_id=evse_id,
            group=cache_entry.group_id_token if cache_entry else group,
            evse_ids=cache_entry.allowed_evse_ids if cache_entry else (),
            remote_start_id=remote_start_id,
        )

    if not ctx.variable_boolean(AUTHORIZATION_ENABLED, default=True):
        yield make_authorization("NotNeeded")
        return
    known = find_cache_entry(ctx, id_token)
    if not ctx.may_send_calls:
        yield from _authorize_offline(ctx, id_token, evse_id, known, make_authorization)
        return
    accepted = known and known.status == "Accepted"
    locally = ctx.variable_boolean(LOCAL_PRE_AUTHORIZE) or ctx.variable_boolean(
        DISABLE_REMOTE_AUTHORIZATION
    )
    if known and accepted and locally and _evse_allowed(known, evse_id):
        yield make_authorization("Cache", known)  # C12.FR.02, C12.FR.04
        yield from renew_cache_entry(ctx, id_token)
        return
    if ctx.variable_boolean(DISABLE_REMOTE_AUTHORIZATION) or (
        known and not accepted and ctx.variable_boolean(DISABLE_POST_AUTHORIZE)
    ):
        status = _cached_refusal(known) if known else "Unknown"
        yield AuthorizationRefused(id_token=id_token, status=status, evse_id=evse_id)
        return
    yield from _queue_authorize_request(
        ctx, id_token, evse_id=evse_id, remote_start_id=remote_start_id, cacheable=cacheable
    )  # C01.FR.02, C10.FR.03, C12.FR.05


def _authorize_offline(
    ctx: Context,
    id_token: IdToken,
    evse_id: int | None,
    cache_entry: CachedIdToken | None,
    make_authorization: AuthorizationFactory,
) -> Iterator[Decision]:
    """Nobody to ask: the cache, or OfflineTxForUnknownIdEnabled, decides. C12, C15.FR.08."""
    if not _may_start_before_accepted(ctx):
        yield AuthorizationRefused(id_token=id_token, status="CSNotAccepted", evse_id=evse_id)
    elif cache_entry and ctx.variable_boolean(LOCAL_AUTHORIZE_OFFLINE):
        if cache_entry.status == "Accepted" and _evse_allowed(cache_entry, evse_id):
            yield make_authorization("Cache", cache_entry)
            yield from renew_cache_entry(ctx, id_token)
        else:
            yield AuthorizationRefused(
                id_token=id_token, status=_cached_refusal(cache_entry), evse_id=evse_id
            )
    elif cache_entry is None and ctx.variable_boolean(OFFLINE_TX_FOR_UNKNOWN_ID):
        yield make_authorization("OfflineUnknownId")
    else:
        yield AuthorizationRefused(id_token=id_token, status="Offline", evse_id=evse_id)


def _may_start_before_accepted(ctx: Context) -> bool:
    """Before the CSMS accepted us, only TxBeforeAcceptedEnabled lets anybody begin. B03.FR.01.

    Accepted in the past counts where there is no link: an offline station is not an unknown one.
    """
    if ctx.state.registration.is_accepted or ctx.variable_boolean(TX_BEFORE_ACCEPTED):
        return True
    unanswered = ctx.state.registration.status == "Unknown"
    return unanswered and ctx.state.registration.ever_accepted


def _local_refusal(ctx: Context, id_token: IdToken, evse_id: int | None) -> str | None:
    """Why nobody, or not this token, may begin here, whatever the CSMS would say."""
    if evse_id is not None:
        if evse_id not in ctx.state.lifecycle.evse_ids:
            return "UnknownEvse"
        if not is_in_service(ctx, evse_id):
            return "NotAtThisTime"
        if ctx.state.authorizations.on_evse(evse_id):
            return "ConcurrentTx"
        open_one = ctx.state.transactions.on_evse(evse_id)
        if open_one and open_one.id_token not in (None, id_token):
            return "NotAtThisTime"  # C01.FR.23
    known = find_cache_entry(ctx, id_token)
    master = ctx.variable_text(MASTER_PASS_GROUP_ID)
    if master and known and known.group_id_token and known.group_id_token.ref == master:
        return "Invalid"  # C12.FR.09: a master pass starts nothing
    return None


def _evse_allowed(cache_entry: CachedIdToken, evse_id: int | None) -> bool:
    """C01.FR.21: only on the EVSEs the CSMS named, if it named any."""
    return (
        not cache_entry.allowed_evse_ids
        or evse_id is None
        or evse_id in cache_entry.allowed_evse_ids
    )


def _cached_refusal(cache_entry: CachedIdToken) -> str:
    """What the cache holds against a token: an accepted one may charge elsewhere. C01.FR.21."""
    return "NotAllowedTypeEVSE" if cache_entry.status == "Accepted" else cache_entry.status


def grant_authorization(
    ctx: Context,
    id_token: IdToken,
    how: AuthorizedBy,
    *,
    evse_id: int | None,
    group: IdToken | None = None,
    evse_ids: tuple[int, ...] = (),
    remote_start_id: int | None = None,
) -> AuthorizationGranted:
    """The right to charge."""
    return AuthorizationGranted(
        id_token=id_token,
        authorized_by=how,
        evse_id=evse_id,
        group_id_token=group,
        allowed_evse_ids=evse_ids,
        remote_start_id=remote_start_id,
    )


# --- Asking the CSMS -----------------------------------------------------------------------------


def _queue_authorize_request(
    ctx: Context,
    id_token: IdToken,
    *,
    evse_id: int | None,
    remote_start_id: int | None = None,
    to_stop: bool = False,
    cacheable: bool = True,
) -> Iterator[Decision]:
    """Queue an AuthorizeRequest, unless the same question is on its way. C01.FR.02."""
    for asked in ctx.state.authorizations.pending:
        if asked.request.id_token == id_token and asked.request.evse_id == evse_id:
            return
    yield AuthorizationRequested(
        id_token=id_token,
        evse_id=evse_id,
        stop_only=to_stop,
        remote_start_id=remote_start_id,
        cacheable=cacheable,
    )
    request = AuthorizeRequest(id_token=id_token_for_message(id_token))
    yield CallQueued(lane="general", action="Authorize", payload=encode_raw(request))


def on_authorize_response(
    ctx: Context, call: int, response: AuthorizeResponse | None
) -> Iterator[Decision]:
    """The CSMS judged a token. C01.FR.07, C09.FR.03, C10.FR.04."""
    asked = next((one for one in ctx.state.authorizations.pending if one.call_seq == call), None)
    if asked is None:
        return
    if response is None:
        yield from _resolve_offline(ctx, asked)
        return
    question, info = asked.request, response.id_token_info
    yield from cache_id_token_info(ctx, question.id_token, info, cacheable=question.cacheable)
    group = id_token_from_message(info.group_id_token) if info.group_id_token else None
    accepted = info.status == "Accepted"
    for held in ctx.state.authorizations.active:
        same = (
            group is not None
            and _group_of_authorization(ctx, held) == group
            and held.evse_id is not None
        )
        if accepted and same and question.evse_id in (None, held.evse_id):
            yield end_by_id_token(held, question.id_token)  # C09.FR.03, C09.FR.11
            return
    if question.stop_only or not accepted:
        status = "NoEvseFree" if accepted else info.status
        yield AuthorizationRefused(
            id_token=question.id_token, status=status, evse_id=question.evse_id
        )
        return
    yield from _grant_by_csms(ctx, question, info, group)


def _grant_by_csms(
    ctx: Context, request: AuthorizationRequested, info: IdTokenInfoType, group: IdToken | None
) -> Iterator[Decision]:
    """Accepted; but meanwhile the EVSE may be taken, or the CSMS allows only others. C01.FR.21."""
    evse_ids = info.evse_id or ()
    evse_id = _target_evse(ctx, request)
    refusal = _refusal_at_target(ctx, request, evse_id)
    if refusal is None and evse_ids and evse_id is not None and evse_id not in evse_ids:
        refusal = "NotAllowedTypeEVSE"
    if refusal:
        yield AuthorizationRefused(id_token=request.id_token, status=refusal, evse_id=evse_id)
        return
    yield grant_authorization(
        ctx,
        request.id_token,
        "CSMS",
        evse_id=evse_id,
        group=group,
        evse_ids=evse_ids,
        remote_start_id=request.remote_start_id,
    )


def _target_evse(ctx: Context, request: AuthorizationRequested) -> int | None:
    """The EVSE that was meant; who meant none may have plugged in meanwhile."""
    return request.evse_id if request.evse_id is not None else find_waiting_evse(ctx)


def _refusal_at_target(
    ctx: Context, request: AuthorizationRequested, evse_id: int | None
) -> str | None:
    """Why the person may not begin there any more."""
    refusal = _local_refusal(ctx, request.id_token, evse_id)
    if refusal is None and evse_id is None and not _has_free_evse(ctx):
        return "NoEvseFree"
    return refusal


def resolve_pending_offline(ctx: Context) -> Iterator[Decision]:
    """The link broke with questions open: judge as one does offline. C12, C15.

    Of several who asked for the same place the first gets it; the others may show their card again.
    """
    if not isinstance(ctx.entry.event, LinkClosed):
        return
    given: set[int | None] = set()
    for asked in ctx.state.authorizations.pending:
        place = _target_evse(ctx, asked.request)
        if place in given:
            yield AuthorizationRefused(id_token=asked.request.id_token, status="Offline")
            continue
        for decision in _resolve_offline(ctx, asked):
            if isinstance(decision, AuthorizationGranted):
                given.add(place)
            yield decision


def _resolve_offline(ctx: Context, pending: PendingAuthorization) -> Iterator[Decision]:
    """Nobody judged: the cache and the settings do, if there still is a place."""
    question, evse_id = pending.request, _target_evse(ctx, pending.request)
    known = find_cache_entry(ctx, question.id_token)

    def make_authorization(
        how: AuthorizedBy, cache_entry: CachedIdToken | None = None
    ) -> AuthorizationGranted:
        return grant_authorization(
            ctx,
            question.id_token,
            how,
            evse_id=evse_id,
            group=cache_entry.group_id_token if cache_entry else None,
            evse_ids=cache_entry.allowed_evse_ids if cache_entry else (),
            remote_start_id=question.remote_start_id,
        )

    refusal = "Offline" if question.stop_only else _refusal_at_target(ctx, question, evse_id)
    if refusal:
        yield AuthorizationRefused(id_token=question.id_token, status=refusal, evse_id=evse_id)
        return
    yield from _authorize_offline(ctx, question.id_token, evse_id, known, make_authorization)


# --- The right to charge and the cable -----------------------------------------------------------


def bind_authorization_to_evse(ctx: Context) -> Iterator[Decision]:
    """Whoever waits longest gets the EVSE that is plugged in. AQ-8."""
    free = [
        evse
        for evse in ctx.state.evses.all_evses
        if evse.is_plugged_in
        and ctx.state.authorizations.on_evse(evse.evse_id) is None
        and ctx.state.transactions.on_evse(evse.evse_id) is None
        and is_in_service(ctx, evse.evse_id)
        and evse.cable_reported_seq > ctx.state.transactions.last_end_seq(evse.evse_id)
    ]
    for held in ctx.state.authorizations.unbound:
        for evse in free:
            if evse.cable_reported_seq > held.seq and _authorization_allows_evse(
                held, evse.evse_id
            ):
                yield AuthorizationBoundToEvse(held.seq, evse.evse_id)
                free.remove(evse)
                break


def _authorization_allows_evse(authorization: Authorization, evse_id: int) -> bool:
    return (
        not authorization.granted.allowed_evse_ids
        or evse_id in authorization.granted.allowed_evse_ids
    )


def authorize_without_token(ctx: Context) -> Iterator[Decision]:
    """Where no authorization is needed, a cable is enough. C01.FR.01, C06."""
    if ctx.variable_boolean(AUTHORIZATION_ENABLED, default=True) or not _may_start_before_accepted(
        ctx
    ):
        return
    for evse in ctx.state.evses.all_evses:
        if (
            evse.is_plugged_in
            and is_in_service(ctx, evse.evse_id)
            and ctx.state.authorizations.on_evse(evse.evse_id) is None
            and ctx.state.transactions.on_evse(evse.evse_id) is None
            and evse.cable_reported_seq > ctx.state.transactions.last_end_seq(evse.evse_id)
        ):
            yield grant_authorization(ctx, NO_ID_TOKEN, "NotNeeded", evse_id=evse.evse_id)


def expire_authorizations(ctx: Context) -> Iterator[Decision]:
    """Nobody plugged in within EVConnectionTimeOut: the right is gone. E03.FR.05, F02.FR.07.

    Nor does a right that no transaction carries outlive the program: who knows who comes next.
    """
    started = isinstance(ctx.entry.event, StationStarted)
    carried = {transaction.authorization_seq for transaction in ctx.state.transactions.open}
    for held in ctx.state.authorizations.active:
        due = connection_due_ms(ctx, held)
        if (started and held.seq not in carried) or (due is not None and ctx.uptime_ms >= due):
            yield AuthorizationEnded(
                authorization_seq=held.seq,
                evse_id=held.evse_id,
                trigger_reason="EVConnectTimeout",
                stopped_reason="Timeout",
            )


def connection_due_ms(ctx: Context, authorization: Authorization) -> int | None:
    """Uptime by which a cable must come, or come back. E03.FR.05, E10.FR.02.

    None while there is one, or nobody has said yet since the start of the program.
    """
    timeout_ms = ctx.variable_integer(EV_CONNECTION_TIMEOUT) * 1000
    if not timeout_ms:
        return None
    if authorization.evse_id is None:
        return authorization.since_ms + timeout_ms
    evse = ctx.state.evses.by_id(authorization.evse_id)
    if evse.is_plugged_in or not evse.is_cable_known:
        return None
    return max(authorization.since_ms, evse.cable_reported_ms) + timeout_ms


def next_connection_due_ms(ctx: Context) -> int | None:
    """Uptime at which the next authorization expires."""
    due_times = (
        connection_due_ms(ctx, authorization) for authorization in ctx.state.authorizations.active
    )
    return min((due_ms for due_ms in due_times if due_ms is not None), default=None)


OBSERVED: Final[dict[type[Event], Rule]] = {IdTokenPresented: on_id_token_presented}
RESULTS: Final[dict[str, ResultHandler]] = {"Authorize": on_authorize_response}
DEADLINES: Final[tuple[Deadline, ...]] = (next_connection_due_ms,)
RULES: Final[tuple[Rule, ...]] = (
    resolve_pending_offline,
    expire_authorizations,
    bind_authorization_to_evse,
    authorize_without_token,
)
