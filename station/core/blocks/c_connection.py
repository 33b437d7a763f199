"""Authorizations and the cable: bound to an EVSE, granted without an idToken, expired. Block C.

    cable plugged in            bind_authorization_to_evse    an active one gets its EVSE
    no idToken needed           authorize_without_token       granted by the cable alone
    no cable in time            expire_authorizations         ended with EVConnectTimeout

`c_authorization` has what an idToken leads to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, IdToken
from journal.observations import StationStarted
from journal.projections.authorizations import (
    Authorization,
    AuthorizationBoundToEvse,
    AuthorizationEnded,
)
from station.core.blocks.c_authorization import AUTHORIZATION_ENABLED
from station.core.blocks.c_id_token import (
    authorization_allows_evse,
    group_of_authorization,
    may_start_before_accepted,
)
from station.core.blocks.c_without_csms import grant_authorization
from station.core.blocks.evse_conditions import is_in_service
from station.core.blocks.h_kept_evses import Claimant, find_obstacle
from station.core.context import Context, Deadline, Rule

NO_ID_TOKEN: Final = IdToken(ref="", type="NoAuthorization")
EV_CONNECTION_TIMEOUT: Final = "TxCtrlr.EVConnectionTimeOut"


def bind_authorization_to_evse(ctx: Context) -> Iterator[Decision]:
    """Give the EVSE that is plugged in to the authorization that has waited longest. AQ-8."""
    free = [
        evse
        for evse in ctx.state.evses.all_evses
        if evse.is_plugged_in and _is_unclaimed(ctx, evse.evse_id, evse.cable_reported_seq)
    ]
    for authorization in ctx.state.authorizations.unbound:
        claimant = Claimant(authorization.id_token, group_of_authorization(ctx, authorization))
        for evse in free:
            if (
                evse.cable_reported_seq > authorization.seq
                and authorization_allows_evse(authorization, evse.evse_id)
                and find_obstacle(ctx, claimant, evse.evse_id) is None
            ):
                yield AuthorizationBoundToEvse(authorization.seq, evse.evse_id)
                free.remove(evse)
                break


def _is_unclaimed(ctx: Context, evse_id: int, cable_reported_seq: int) -> bool:
    """Whether a connection has no authorization and has had no transaction yet."""
    return (
        ctx.state.authorizations.on_evse(evse_id) is None
        and ctx.state.transactions.on_evse(evse_id) is None
        and is_in_service(ctx, evse_id)
        and cable_reported_seq > ctx.state.transactions.last_end_seq(evse_id)
    )


def authorize_without_token(ctx: Context) -> Iterator[Decision]:
    """If AuthCtrlr.Enabled is false, grant an authorization for the cable alone. C01.FR.01, C06."""
    if ctx.variable_boolean(AUTHORIZATION_ENABLED, default=True) or not may_start_before_accepted(
        ctx
    ):
        return
    for evse in ctx.state.evses.all_evses:
        is_kept = find_obstacle(ctx, Claimant(NO_ID_TOKEN), evse.evse_id) is not None
        if (
            evse.is_plugged_in
            and not is_kept
            and _is_unclaimed(ctx, evse.evse_id, evse.cable_reported_seq)
        ):
            yield grant_authorization(NO_ID_TOKEN, "NotNeeded", evse_id=evse.evse_id)


def expire_authorizations(ctx: Context) -> Iterator[Decision]:
    """End authorizations without a cable after EVConnectionTimeOut. E03.FR.05, F02.FR.07.

    At a start of the program also those without a transaction: another EV driver may be there now.
    """
    started = isinstance(ctx.entry.event, StationStarted)
    in_transaction = {transaction.authorization_seq for transaction in ctx.state.transactions.open}
    for authorization in ctx.state.authorizations.active:
        due_ms = connection_due_ms(ctx, authorization)
        is_due = due_ms is not None and ctx.uptime_ms >= due_ms
        if (started and authorization.seq not in in_transaction) or is_due:
            yield AuthorizationEnded(
                authorization_seq=authorization.seq,
                evse_id=authorization.evse_id,
                trigger_reason="EVConnectTimeout",
                stopped_reason="Timeout",
                because=_code_of_expiry(ctx, authorization, is_due),
            )


def _code_of_expiry(ctx: Context, authorization: Authorization, is_due: bool) -> str:
    if not is_due:
        return "restarted"
    cable_reported_seq = ctx.state.evses.by_id(authorization.evse_id or 0).cable_reported_seq
    return "not_reconnected" if cable_reported_seq > authorization.seq else "not_connected"


def connection_due_ms(ctx: Context, authorization: Authorization) -> int | None:
    """Uptime by which a cable must be plugged in, or be back. E03.FR.05, E10.FR.02.

    None while one is plugged in, and while its state has not been reported since the start of the
    program.
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


DEADLINES: Final[tuple[Deadline, ...]] = (next_connection_due_ms,)
RULES: Final[tuple[Rule, ...]] = (
    expire_authorizations,
    bind_authorization_to_evse,
    authorize_without_token,
)
