"""What a presented idToken means: the authorization it ends, or the EVSE it is for.

Helper module of `c_authorization`, which has the rules. Nothing here yields a decision.

One reader serves all EVSEs and the EV driver does not choose one first (AQ-8). A presented idToken
means the first of these that fits:

1. the EVSE that came with it (an operator, a remote start or a test named one);
2. the authorization that this idToken has: presenting it again ends it (C01.FR.03 a, E07.FR.01),
   except within SECOND_TAP_MS of its grant, before energy flows, when it changes nothing;
3. the EVSE that a reservation for this idToken names; else the one that was plugged in last and has
   no authorization yet, if possible one that is not kept for others: a request to charge there;
4. an authorization of the same group: it ends (C01.FR.03 b, C09.FR.07);
5. the next EVSE that is plugged in within EVConnectionTimeOut.

If there is no EVSE left for a new EV driver, the idToken can only be meant to stop (C09.FR.05).

An EVSE that is kept for a reservation is no EVSE for others (`h_kept_evses`).

`local_refusal` lists what forbids to start whatever the CSMS would answer. It is checked when the
idToken is presented and again when the answer of the CSMS arrives, because the EVSE may be taken by
then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from journal.events import IdToken
from journal.observations import IdTokenPresented
from journal.projections.authorizations import Authorization
from station.core.blocks.c_local_authorization import LocalInfo, find_local_info
from station.core.blocks.evse_conditions import is_in_service, out_of_service_cause
from station.core.blocks.h_kept_evses import Claimant, find_kept_evses, find_obstacle
from station.core.context import Context

TX_BEFORE_ACCEPTED: Final = "TxCtrlr.TxBeforeAcceptedEnabled"
MASTER_PASS_GROUP_ID: Final = "AuthCtrlr.MasterPassGroupId"

# --- Authorizations ------------------------------------------------------------------------------


def authorization_of_token(ctx: Context, presentation: IdTokenPresented) -> Authorization | None:
    """The active authorization that this idToken has; on the EVSE that came with it, if any."""
    for authorization in ctx.state.authorizations.active:
        if authorization.id_token == presentation.id_token and presentation.evse_id in (
            None,
            authorization.evse_id,
        ):
            return authorization
    return None


def bound_authorizations(ctx: Context, presentation: IdTokenPresented) -> Iterator[Authorization]:
    """The active authorizations that have an EVSE; only that EVSE, if one came with the idToken."""
    for authorization in ctx.state.authorizations.active:
        if authorization.evse_id is not None and presentation.evse_id in (
            None,
            authorization.evse_id,
        ):
            yield authorization


def known_group(info: LocalInfo | None) -> IdToken | None:
    """The group of an idToken that is known as Accepted. C09.FR.11: no other status may stop."""
    return info.group_id_token if info and info.is_accepted else None


def group_of_authorization(ctx: Context, authorization: Authorization) -> IdToken | None:
    """The group of an authorization; some arrive with a TransactionEventResponse. C09.FR.12."""
    groups = (
        transaction.group_id_token
        for transaction in ctx.state.transactions.open
        if transaction.authorization_seq == authorization.seq
    )
    return authorization.granted.group_id_token or next(groups, None)


def authorization_allows_evse(authorization: Authorization, evse_id: int) -> bool:
    """Whether the CSMS allows the EVSE; it allows every one if it named none. C01.FR.21."""
    allowed_evse_ids = authorization.granted.allowed_evse_ids
    return not allowed_evse_ids or evse_id in allowed_evse_ids


# --- EVSEs ---------------------------------------------------------------------------------------


def find_evse_for(ctx: Context, claimant: Claimant) -> int | None:
    """The EVSE that is reserved for the claimant, else one that waits for an authorization."""
    kept = find_kept_evses(ctx)
    reserved = kept.evse_reserved_for(claimant) if kept else None
    return _find_waiting_evse(ctx, claimant) if reserved is None else reserved


def _find_waiting_evse(ctx: Context, claimant: Claimant) -> int | None:
    """The EVSE that was plugged in last and has no authorization.

    One that is kept for others only if there is no other one: its EV driver needs the reason.
    """
    waiting = [
        (
            find_obstacle(ctx, claimant, evse.evse_id) is None,
            evse.cable_reported_seq,
            evse.evse_id,
        )
        for evse in ctx.state.evses.all_evses
        if evse.is_plugged_in
        and ctx.state.authorizations.on_evse(evse.evse_id) is None
        and is_in_service(ctx, evse.evse_id)
        and not has_stopping_transaction(ctx, evse.evse_id)
    ]
    return max(waiting)[-1] if waiting else None


def has_stopping_transaction(ctx: Context, evse_id: int) -> bool:
    """Whether the EVSE has a transaction that is ordered to stop. C01.FR.23."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    return transaction is not None and transaction.stop_order is not None


def has_free_evse(ctx: Context, claimant: Claimant) -> bool:
    """Whether an EVSE is left for one more EV driver who is authorized before plugging in."""
    kept = find_kept_evses(ctx)
    if kept is not None:
        return kept.has_place(claimant)
    free = [
        evse.evse_id
        for evse in ctx.state.evses.all_evses
        if not evse.is_plugged_in
        and ctx.state.authorizations.on_evse(evse.evse_id) is None
        and is_in_service(ctx, evse.evse_id)
    ]
    return len(free) > len(ctx.state.authorizations.unbound)


# --- Refusals ------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """Status of AuthorizationRefused, and the code of its reason."""

    status: str
    because: str


def make_claimant(
    ctx: Context, id_token: IdToken, group: IdToken | None = None, *, asks_csms: bool = False
) -> Claimant:
    """An idToken with its group, for what is kept for reservations. H03.FR.07, H03.FR.08.

    Args:
        group: as the CSMS sent it with the idToken; None: it is looked up in list and cache.
        asks_csms: the CSMS can still be asked for the group if neither has the idToken.
    """
    if group is not None:
        return Claimant(id_token, group)
    info = find_local_info(ctx, id_token)
    is_group_known = not (asks_csms and ctx.may_send_calls and info is None)
    return Claimant(id_token, known_group(info), is_group_known)


def local_refusal(ctx: Context, claimant: Claimant, evse_id: int | None) -> Refusal | None:
    """What refuses an idToken whatever the CSMS would answer; None: nothing does."""
    id_token = claimant.id_token
    if evse_id is not None:
        refusal = _refusal_at_evse(ctx, claimant, evse_id)
        if refusal:
            return refusal
    info = find_local_info(ctx, id_token)
    group = info.group_id_token if info else None
    master_group = ctx.variable_text(MASTER_PASS_GROUP_ID)
    if master_group and group and group.ref == master_group:
        return Refusal("Invalid", "master_pass")  # C12.FR.09, C16.FR.03
    return None


def _refusal_at_evse(ctx: Context, claimant: Claimant, evse_id: int) -> Refusal | None:
    if evse_id not in ctx.state.lifecycle.evse_ids:
        return Refusal("UnknownEvse", "unknown_evse")
    out_of_service = out_of_service_cause(ctx, evse_id)
    if out_of_service:
        return Refusal("NotAtThisTime", out_of_service)
    if ctx.state.authorizations.on_evse(evse_id):
        return Refusal("ConcurrentTx", "evse_taken")
    obstacle = find_obstacle(ctx, claimant, evse_id)
    if obstacle:
        return Refusal("Reserved", obstacle)
    transaction = ctx.state.transactions.on_evse(evse_id)
    if transaction and transaction.id_token not in (None, claimant.id_token):
        return Refusal("NotAtThisTime", "other_transaction")  # C01.FR.23
    return None


def may_start_before_accepted(ctx: Context) -> bool:
    """Whether a transaction may start as far as the registration goes. B03.FR.01.

    Before the CSMS has accepted the station only TxBeforeAcceptedEnabled allows it. Without a link
    an acceptance in the past counts.
    """
    registration = ctx.state.registration
    if registration.is_accepted or ctx.variable_boolean(TX_BEFORE_ACCEPTED):
        return True
    return registration.status == "Unknown" and registration.ever_accepted
